"""Rank agreement of two evaluations: against scipy, hand-worked numbers, and the words of a verdict."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vlrepro.reporting.summary import claims_overview
from vlrepro.tables.agreement import agreement, interval_over_models, judge_agreement, spearman
from vlrepro.tables.cells import Cells, SetInfo
from vlrepro.tables.claim_rendering import claims_to_html, claims_to_json, claims_to_markdown
from vlrepro.tables.claims import AgreementTest
from vlrepro.tables.judging import judge_claims
from vlrepro.tables.statistics import Resampled, Scores, seed_weights
from vlrepro.tables.study import Study, load_study

STUDY = load_study(Path(__file__).parents[1] / "config/papers/language_guidance.yaml")
NAMES = ["simclr", "vis_simsiam", "swav", "random"]
RECIPES = ["simclr", "simsiam", "swav", "random"]
TEST = AgreementTest(kind="agreement", between=["saliency_agf_ap", "linear"], rows=NAMES)


def cell(value: float, key: int = 0, seeds: tuple[int, ...] = (0,), spread: float = 0.01) -> Resampled:
    draws = value + spread * np.random.default_rng(key).standard_normal((len(seeds), 500))
    return Resampled(seeds, np.full(len(seeds), value), draws)


def judged(first: list[float], second: list[float], test: AgreementTest = TEST, **more: object):
    found = {
        name: {
            (recipe, "s"): cell(value, number, **more)
            for number, (recipe, value) in enumerate(zip(RECIPES, values, strict=True))
        }
        for name, values in zip(test.between, (first, second), strict=True)
    }
    return judge_agreement(STUDY.table("table3"), test, found, {name: ["s"] for name in test.between})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=12))
def test_rho_is_scipys_ties_included(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, float).T
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert math.isnan(spearman(first[None], second[None])[0])
        return
    assert spearman(first[None], second[None])[0] == pytest.approx(stats.spearmanr(first, second).statistic)


def test_rho_by_hand() -> None:
    # Ranks 1 2 3 4 and 2 1 4 3: squared differences sum to 4, rho = 1 - 6 * 4 / (4 * 15) = 0.6.
    assert spearman(np.array([[1.0, 2, 3, 4]]), np.array([[20.0, 10, 40, 30]]))[0] == pytest.approx(0.6)


def test_the_interval_over_models_is_that_of_bonett_and_wright() -> None:
    # n = 12, rho = 0.6: z = 0.6931, s.e. = sqrt(1.18 / 9) = 0.3621, z -+ 1.96 s.e. = -0.0166 and 1.4028.
    low, high = interval_over_models(0.6, 12)
    assert (low, high) == (pytest.approx(math.tanh(-0.0166), abs=1e-3), pytest.approx(math.tanh(1.4028), abs=1e-3))
    assert interval_over_models(-0.6, 12) == (pytest.approx(-high), pytest.approx(-low))
    assert interval_over_models(0.9, 3) == (-1, 1)
    assert 0 < interval_over_models(1.0, 12)[0] < interval_over_models(1.0, 12)[1] < 1


@settings(max_examples=50, deadline=None)
@given(st.floats(-0.95, 0.95), st.integers(12, 40))
def test_the_interval_over_models_is_fishers_with_their_standard_error(rho: float, n: int) -> None:
    error = math.sqrt((1 + rho**2 / 2) / (n - 3))
    ends = [math.tanh(math.atanh(rho) + sign * 1.959964 * error) for sign in (-1, 1)]
    assert interval_over_models(rho, n) == pytest.approx(tuple(ends), abs=1e-6)


def test_no_order_is_surer_than_the_perfect_one() -> None:
    # One tie in an else perfect order lies between it and one exchange of neighbours.
    tied = stats.spearmanr(range(12), [0, 0, *range(2, 12)]).statistic
    assert 1 - 12 / (12**3 - 12) < tied < 1
    assert interval_over_models(tied, 12) == interval_over_models(1.0, 12)
    assert interval_over_models(-tied, 12) == interval_over_models(-1.0, 12)


def test_a_sure_order_of_noisy_scores_is_undecided() -> None:
    names = [row.id for row in STUDY.table("table3").rows if row.recipe and not row.probe]
    rows = [STUDY.table("table3").row(name).key for name in names]
    test = TEST.model_copy(update={"rows": names})

    def judged_with(spread: float) -> str:
        found = {
            name: {(row, "s"): cell(0.05 * i, 100 * j + i, spread=spread) for i, row in enumerate(rows)}
            for j, name in enumerate(test.between)
        }
        return judge_agreement(STUDY.table("table3"), test, found, {name: ["s"] for name in test.between}).outcome

    assert (judged_with(0.01), judged_with(10)) == ("supported", "undecided")


def test_a_score_is_its_mean_over_the_columns_and_all_must_be_there() -> None:
    first = dict(zip(RECIPES, (0.1, 0.2, 0.3, 0.4), strict=True))
    # By their means the second orders the models as 4 1 2 3, by either column alone otherwise.
    columns = {"a": (0.9, 0.1, 0.5, 0.3), "b": (0.5, 0.1, 0.1, 0.5)}
    found = {
        TEST.between[0]: {(recipe, "s"): cell(value, spread=0) for recipe, value in first.items()},
        TEST.between[1]: {
            (recipe, name): cell(value, spread=0)
            for name, values in columns.items()
            for recipe, value in zip(RECIPES, values, strict=True)
        },
    }
    sets = {TEST.between[0]: ["s"], TEST.between[1]: ["a", "b"]}
    rho = stats.spearmanr([1, 2, 3, 4], [4, 1, 2, 3]).statistic
    verdict = judge_agreement(STUDY.table("table3"), TEST, found, sets)
    assert f"rho {rho:.2f}".replace("-", "−") in verdict.reason
    del found[TEST.between[1]]["swav", "b"]
    assert judge_agreement(STUDY.table("table3"), TEST, found, sets).outcome == "pending"


def test_increasing_transforms_change_nothing() -> None:
    values, other = [0.1, 0.4, 0.2, 0.9], [0.3, 0.2, 0.25, 0.6]
    plain = agreement(*([cell(v, i, spread=0) for i, v in enumerate(found)] for found in (values, other)))
    bent = agreement(
        [cell(v**3, i, spread=0) for i, v in enumerate(values)], [cell(v, i, spread=0) for i, v in enumerate(other)]
    )
    assert plain == bent


def test_resampled_rho_weighs_seeds_as_intervals_do() -> None:
    seeds = (0, 1, 2)
    first = [cell(0.1 * i, i, seeds, 0.1) for i in range(5)]
    second = [cell(0.1 * i, 10 + i, seeds, 0.1) for i in range(5)]
    weights = seed_weights(seeds, 500)
    drawn = [
        stats.spearmanr(*([weights[b] @ one.draws[:, b] for one in found] for found in (first, second))).statistic
        for b in range(500)
    ]
    found = agreement(first, second)
    half = 1.959964 * math.sqrt(np.mean((np.array(drawn) - 1) ** 2))
    assert found.on_these == pytest.approx((1 - half, 1))
    assert (found.n, found.n_seeds, found.rho) == (5, 3, pytest.approx(1))


def test_outcomes() -> None:
    names = ["simclr", "vis_simsiam", "vis_nnclr", "swav", "lgsimclr_original", "lgsimsiam_original", "clip", "slip"]
    rows = [STUDY.table("table3").row(name).key for name in names]
    test = TEST.model_copy(update={"rows": names})

    def outcome(order: list[float], direction: str = "above") -> str:
        scores = [[0.1 * i for i in range(8)], order]
        found = {
            name: {(row, "s"): cell(value, i) for i, (row, value) in enumerate(zip(rows, values, strict=True))}
            for name, values in zip(test.between, scores, strict=True)
        }
        asked = test.model_copy(update={"direction": direction})
        return judge_agreement(STUDY.table("table3"), asked, found, {name: ["s"] for name in test.between}).wording

    rising = [0.1 * i for i in range(8)]
    assert outcome(rising) == outcome(rising[::-1], "below") == "supported by one seed"
    assert outcome(rising[::-1]) == outcome(rising, "below") == "contradicted by one seed"
    assert outcome([0.3, 0.1, 0.4, 0.2, 0.8, 0.6, 0.05, 0.7]) == "undecided"


def test_what_cannot_be_judged_says_why() -> None:
    constant = judged([0.2] * 4, [0.1, 0.2, 0.3, 0.4])
    assert (constant.outcome, "same score" in constant.reason) == ("undecided", True)
    missing = judge_agreement(STUDY.table("table3"), TEST, {}, {})
    assert missing.outcome == "pending"
    values = STUDY.model_dump(exclude_none=True)
    table = next(t for t in values["tables"] if t["name"] == "table3")
    next(row for row in table["rows"] if row["id"] == "swav").pop("recipe")
    assert judge_agreement(Study.model_validate(values).table("table3"), TEST, {}, {}).outcome == "not run"


def test_a_claim_of_agreement_is_judged_and_shown() -> None:
    generator = np.random.default_rng(0)
    claim = next(claim for claim in STUDY.claims if claim.id == "saliency_discriminates")
    recipes = [STUDY.table("table3").row(name).key for name in claim.test.rows]
    rates = {recipe: 0.1 + 0.06 * number for number, recipe in enumerate(recipes)}
    scores = {
        name: {
            (recipe, "s"): Scores((generator.random((2, 400)) < rate).astype(float), (0, 1))
            for recipe, rate in rates.items()
        }
        for name in claim.test.between
    }
    cells = Cells(scores, {name: [SetInfo("s", "S", 10, 400, 0.1)] for name in scores}, {})
    study = STUDY.model_copy(update={"claims": [claim]})
    (found,) = judge_claims(study, cells, "pocket", resamples=200)
    assert (found.ours.wording, found.reported.outcome) == ("supported", "not testable")
    assert all(words in found.ours.reason for words in ("12 models", "2 seeds"))
    for render in (claims_to_markdown, claims_to_html, claims_to_json):
        text = render([found], "pocket")
        assert "rho 0.9" in text or "rho 1.0" in text
        assert "interval over models" in text
    assert "rank agreement of AGF, AP and Linear probe" in claims_to_json([found], "pocket")
    page = claims_overview(study, json.loads(claims_to_json([found], "pocket")), "pocket")
    assert claim.statement in page

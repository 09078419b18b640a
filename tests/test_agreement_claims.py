"""Claims of rank agreement: ties, coverage of the interval over models, what a study may name, and how it is shown."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from vlrepro.errors import UserError
from vlrepro.reporting.summary import answer, claims_overview
from vlrepro.tables.agreement import agreement, interval_over_models, spearman
from vlrepro.tables.cells import Cells, SetInfo
from vlrepro.tables.claim_rendering import claims_to_html, claims_to_json, claims_to_markdown
from vlrepro.tables.judging import JudgedClaim, judge_claims
from vlrepro.tables.statistics import Resampled, Scores
from vlrepro.tables.study import Study, load_study
from vlrepro.tables.verdicts import Verdict, explain, two_decimals

STUDY_FILE = Path(__file__).parents[1] / "config/papers/language_guidance.yaml"
SETS = [SetInfo(name, name, 10, 200, 0.1) for name in ("one", "two")]
MODELS = [f"model{place}" for place in range(8)]
RATES = np.linspace(0.2, 0.9, len(MODELS))
BETWEEN = ["maps", "linear"]
LABEL = "rank agreement of Maps and Linear probe"


def values(direction: str = "above", not_run: str | None = None) -> dict:
    """A study of one claim: two tables that we add, one evaluation each."""
    rows = [{"id": f"row_{name}", "label": name, "recipe": None if name == not_run else name} for name in MODELS]
    text = {"examples": "test images", "shows": "Accuracy."}
    test = {"kind": "agreement", "direction": direction, "between": BETWEEN, "rows": [row["id"] for row in rows]}
    claim = {"id": "ranks", "kind": "claim", "quote": "It ranks.", "where": "summary", "statement": "Maps rank models."}
    return {
        "slug": "study",
        "title": "Study",
        "setup": "None.",
        "evaluations": {"maps": text | {"title": "Maps"}, "linear": text | {"title": "Linear probe"}},
        "tables": [
            {"name": "first", "title": "First", "evaluations": ["maps"], "rows": rows},
            {"name": "second", "title": "Second", "evaluations": ["linear"], "rows": rows[:1]},
        ],
        "claims": [claim | {"tables": ["first", "second"], "test": test}],
    }


def scores(rates: np.ndarray, seeds: tuple[int, ...], key: int = 0) -> dict[tuple[str, str], Scores]:
    generator = np.random.default_rng(key)
    return {
        (name, entry.name): Scores((generator.random((len(seeds), 200)) < rate).astype(float), seeds)
        for name, rate in zip(MODELS, rates, strict=True)
        for entry in SETS
    }


def judged(
    first: dict[tuple[str, str], Scores], second: dict[tuple[str, str], Scores], direction: str = "above", **more: str
) -> JudgedClaim:
    study = Study.model_validate(values(direction, **more))
    cells = Cells({"maps": first, "linear": second}, dict.fromkeys(BETWEEN, SETS), {})
    return judge_claims(study, cells, "pocket", resamples=300)[0]


def fixed(numbers: list[float] | np.ndarray, resamples: int = 5) -> list[Resampled]:
    """Models whose scores no resample moves."""
    return [Resampled((0,), np.array([number]), np.full((1, resamples), number)) for number in numbers]


def test_tied_ranks_by_hand() -> None:
    """Ranks 1.5 1.5 3 4 against 1 2 3 4, by Pearson's formula: 4.5 / sqrt(4.5 * 5)."""
    found = agreement(fixed([0.1, 0.1, 0.3, 0.4]), fixed([0.1, 0.2, 0.3, 0.4]))
    assert found.rho == pytest.approx(4.5 / math.sqrt(22.5))


def test_the_last_bits_of_a_mean_are_no_order() -> None:
    assert 0.1 + 0.2 != 0.3
    assert agreement(fixed([0.1 + 0.2, 0.3, 0.3, 0.3]), fixed([0.1, 0.2, 0.3, 0.4])) is None


def test_the_interval_over_models_covers_a_true_correlation() -> None:
    """Simulation: 13 models from a normal pair whose Spearman correlation is 0.6."""
    generator, true = np.random.default_rng(0), 0.6
    pearson = 2 * math.sin(math.pi * true / 6)
    drawn = generator.multivariate_normal([0, 0], [[1, pearson], [pearson, 1]], size=(2000, 13))
    ends = [interval_over_models(rho, 13) for rho in spearman(drawn[..., 0], drawn[..., 1])]
    assert 0.93 < np.mean([low < true < high for low, high in ends]) < 0.98


@pytest.mark.parametrize(
    ("rates", "direction", "outcome"),
    [
        (RATES, "above", "supported"),
        (RATES, "below", "contradicted"),
        (RATES[::-1], "above", "contradicted"),
        (RATES[::-1], "below", "supported"),
        (RATES[[3, 6, 1, 4, 7, 0, 2, 5]], "above", "undecided"),
    ],
)
def test_outcomes_of_both_directions(rates: np.ndarray, direction: str, outcome: str) -> None:
    found = judged(scores(RATES, (0, 1)), scores(rates, (0, 1), key=1), direction)
    assert (found.ours.outcome, found.ours.wording) == (outcome, outcome)
    assert found.ours.difference is None
    assert found.comparisons == (LABEL,)
    assert found.reported.outcome == "not testable"
    assert found.reported.reason == "The paper does not print these scores."


def test_one_seed_is_said() -> None:
    ours = judged(scores(RATES, (0,)), scores(RATES, (0, 1), key=1)).ours
    assert ours.wording == "supported by one seed"
    assert ours.reason.endswith("; 1 seed")
    assert "and seeds" not in ours.reason


def test_constant_scores_are_undecided_with_a_reason() -> None:
    constant = {key: Scores(np.full((2, 200), 0.5), (0, 1)) for key in scores(RATES, (0, 1))}
    ours = judged(constant, scores(RATES, (0, 1))).ours
    assert (ours.outcome, ours.agreement) == ("undecided", None)
    assert "the same score" in explain(ours, None, "")


def test_a_missing_score_is_pending_and_a_row_without_recipe_is_not_run() -> None:
    full = scores(RATES, (0, 1))
    partial = {key: cell for key, cell in full.items() if key != (MODELS[2], "two")}
    assert judged(full, partial).ours == Verdict("pending")
    assert judged(full, {}).ours == Verdict("pending")
    assert judged(full, full, not_run=MODELS[4]).ours == Verdict("not run")


def changed(claim: dict, test: dict, row: dict) -> dict:
    study = values()
    study["tables"][0] |= {"rows": [study["tables"][0]["rows"][0] | row, *study["tables"][0]["rows"][1:]]}
    study["claims"][0] |= claim
    if study["claims"][0].get("test"):
        study["claims"][0]["test"] = study["claims"][0]["test"] | test
    return study


@pytest.mark.parametrize(
    ("claim", "test", "row", "words"),
    [
        (
            {},
            {"rows": ["row_model0", "row_model1", "row_model2", "moco"]},
            {},
            "'moco', which is not a row of table 'f",
        ),
        (
            {},
            {"rows": ["row_model0", "row_model1", "row_model2"]},
            {},
            r"claims\.0\.test\.agreement\.rows: .*at least 4",
        ),
        (
            {},
            {"rows": [f"row_{name}" for name in (*MODELS, MODELS[0])]},
            {},
            "row 'row_model0' is given twice",
        ),
        ({}, {}, {"recipe": "model1"}, "'ranks': recipe 'model1' is given twice"),
        ({}, {"between": ["maps", "few_shot"]}, {}, "'few_shot', no evaluation of its tables"),
        ({}, {"between": ["maps", "maps"]}, {}, "'ranks': evaluation 'maps' is given twice"),
        ({}, {"between": ["maps"]}, {}, r"claims\.0\.test\.agreement\.between: .*at least 2"),
        ({}, {"direction": "equal"}, {}, r"claims\.0\.test\.agreement\.direction"),
        ({}, {"margin": 1.0}, {}, r"claims\.0\.test\.agreement\.margin"),
        ({"tables": ["first"]}, {}, {}, "'linear', no evaluation of its tables"),
        ({"tables": ["first", "third"]}, {}, {}, "'ranks' names table 'third'"),
        ({"tables": []}, {}, {}, "'ranks': a test of scores needs tables"),
        ({"untestable": "No."}, {}, {}, "'ranks': give either test or untestable"),
    ],
)
def test_a_wrong_test_is_one_line_that_names_the_key(
    tmp_path: Path, claim: dict, test: dict, row: dict, words: str
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(changed(claim, test, row)), encoding="utf-8")
    with pytest.raises(UserError, match=words) as error:
        load_study(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("row", ["ceiling", "simclr_shuffled"])
def test_priors_and_control_probes_are_not_ranked(tmp_path: Path, row: str) -> None:
    study = yaml.safe_load(STUDY_FILE.read_text(encoding="utf-8"))
    claim = next(claim for claim in study["claims"] if (claim.get("test") or {}).get("kind") == "agreement")
    claim["test"]["rows"] = [*claim["test"]["rows"], row]
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    with pytest.raises(UserError, match=f"row '{row}' is a prior or a control probe"):
        load_study(path)


def test_every_rendering_shows_rho_and_its_intervals() -> None:
    claim = judged(scores(RATES, (0,)), scores(RATES, (0,), key=1))
    over, on = claim.ours.agreement.over_models, claim.ours.agreement.on_these
    ends = [f"[{low:.2f}, {high:.2f}]" for low, high in (over, on)]
    rho = f"{claim.ours.agreement.rho:.2f}"
    for text in (claims_to_markdown([claim], "pocket"), claims_to_html([claim], "pocket")):
        plain = text.replace("\\", "").replace("&#x27;", "'").replace("&#39;", "'")
        assert f"Spearman's rho {rho} over 8 models; interval over models {ends[0]}" in plain
        assert f"on these models, with other test examples, {ends[1]}; 1 seed" in plain
        assert "supported by one seed" in plain
    entries = json.loads(claims_to_json([claim], "pocket"))
    assert entries[0]["comparisons"] == [LABEL]
    assert entries[0]["ours"]["agreement"] == {
        "rho": claim.ours.agreement.rho,
        "over_models": list(over),
        "on_these": list(on),
        "n": 8,
        "n_seeds": 1,
    }
    assert entries[0]["ours"]["difference"] is None
    page = claims_overview(Study.model_validate(values()), entries, "pocket")
    assert f"rank correlation {rho}, over models {ends[0]}, on these {ends[1]}" in page
    assert "may not hold for another seed" in answer(entries, "pocket")


@pytest.mark.parametrize(("number", "text"), [(-0.004, "0.00"), (0.004, "0.00"), (-0.996, "−1.00"), (0.125, "0.12")])
def test_a_zero_has_no_sign_and_others_a_true_minus(number: float, text: str) -> None:
    assert two_decimals(number) == text

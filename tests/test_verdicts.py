"""Verdicts against hand-worked numbers, the definition of the tests, and simulated nulls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vlrepro.tables.layout import SetInfo
from vlrepro.tables.statistics import Interval, Resampled, Scores, interval
from vlrepro.tables.study import ClaimTest, PaperTable, Study, load_study
from vlrepro.tables.verdicts import (
    Verdict,
    explain,
    judge,
    judge_claims,
    judge_count,
    judge_every,
    judge_most,
    judge_reported,
    signed_points,
)

STUDY = load_study(Path(__file__).parents[1] / "config/papers/language_guidance.yaml")
SETS = [SetInfo(name, name, 10, 200, 0.1) for name in ("one", "two", "three")]

# Rows that the paper prints, copied from its text: model, then ten data sets.
PRINTED = {
    1: """SimCLR 61.2 77.5 53.0 27.3 36.0 61.9 66.4 85.1 94.2 78.7
VisSimSiam 56.0 72.0 46.1 21.1 27.9 58.6 55.9 85.2 92.3 72.4
VisNNCLR 52.7 69.9 45.4 17.3 25.7 59.2 56.8 83.6 91.8 71.8
LGSimCLR 59.3 72.4 48.3 24.1 26 56.4 64.1 86.7 90.9 73.2""",
    2: """SimCLR 67.8 52.9 59.5 54.7 41.5 74.6 73.6 73.9 82.0 77.5
VisSimSiam 61.2 51.4 56.6 43.6 33.5 72.1 62.9 73.1 75.2 68.6
VisNNCLR 64.0 50.9 56.4 45.1 33.8 70.7 71.0 74.8 75.2 69.3
LGSimCLR 77.9 57.5 65.9 64.2 39.2 71.3 78.2 80.6 80.5 76.3""",
}


def printed(number: int) -> dict[str, list[float]]:
    lines = [line.split() for line in PRINTED[number].splitlines()]
    return {line[0]: [float(value) for value in line[1:]] for line in lines}


def one_seed(estimates: list[float] | np.ndarray, key: int = 0) -> list[Resampled]:
    """Columns of one seed whose bootstrap has standard deviation 1."""
    noise = np.random.default_rng(key).standard_normal((len(estimates), 400))
    noise /= np.sqrt(np.mean(noise**2, axis=1, keepdims=True))
    return [Resampled((0,), np.array([e]), e + n[None]) for e, n in zip(estimates, noise, strict=True)]


def scores(rates: dict[str, float], seeds: tuple[int, ...] = (0, 1, 2)) -> dict[tuple[str, str], Scores]:
    generator = np.random.default_rng(len(rates))
    return {
        (recipe, entry.name): Scores((generator.random((len(seeds), 200)) < rate).astype(float), seeds)
        for recipe, rate in rates.items()
        for entry in SETS
    }


def judged(tables: dict[int, dict[tuple[str, str], Scores]], study: Study = STUDY) -> dict[str, Verdict]:
    claims = judge_claims(study, tables, dict.fromkeys(tables, SETS), 300)
    return {entry.claim.id: entry.ours for entry in claims}


@pytest.mark.parametrize(
    ("low", "high", "above", "below"),
    [
        (0.1, 0.3, "supported", "contradicted"),
        (-0.3, -0.1, "contradicted", "supported"),
        (-0.1, 0.3, "undecided", "undecided"),
        (0.0, 0.3, "undecided", "undecided"),
        (0.0, 0.0, "undecided", "undecided"),
    ],
)
def test_judge_asks_for_the_whole_interval(low: float, high: float, above: str, below: str) -> None:
    found = Interval((low + high) / 2, low, high, 3, "seeds and examples")
    assert (judge(found, "above"), judge(found, "below")) == (above, below)


def test_no_interval_is_pending() -> None:
    assert judge(None, "above") == "pending"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-6, 6), min_size=1, max_size=9), st.data())
def test_counts_are_the_partial_conjunction_test(estimates: list[float], data: st.DataObject) -> None:
    """Oracle: (n - m + 1) times the m-th smallest p-value of the right sign is at most 0.05."""
    n = len(estimates)
    needed = data.draw(st.integers(1, n))
    values = np.array(estimates)
    both_sided = 2 * stats.norm.sf(np.abs(values))
    for_it, against = (np.sort(np.where(side, both_sided, 1.0)) for side in (values > 0, values < 0))
    if np.any(np.abs(np.array([(n - needed + 1) * for_it[needed - 1], needed * against[n - needed]]) - 0.05) < 1e-6):
        return
    expected = "undecided"
    if (n - needed + 1) * for_it[needed - 1] < 0.05:
        expected = "supported"
    elif needed * against[n - needed] < 0.05:
        expected = "contradicted"
    outcome, counts = judge_count(one_seed(estimates), "above", needed)
    assert outcome == expected
    assert counts.signed == sum(value > 0 for value in estimates)
    mirrored, _ = judge_count(one_seed([-value for value in estimates]), "below", needed)
    assert mirrored == outcome


def test_most_is_more_than_half_and_every_is_all() -> None:
    assert judge_most(one_seed([9, 9, 9, -9]), "above")[0] == "supported"
    assert judge_most(one_seed([9, 9, -9, -9]), "above")[0] == "contradicted"
    assert judge_most(one_seed([9, 9, 0.1, -9]), "above")[0] == "undecided"
    assert judge_every(one_seed([9, 9, 9]), "above")[0] == "supported"
    assert judge_every(one_seed([9, 9, -9]), "above")[0] == "contradicted"
    assert judge_every(one_seed([9, 9, 0.1]), "above")[0] == "undecided"


def test_one_bad_column_among_many_must_be_clear_for_all_that_were_looked_at() -> None:
    """One in ten: p = 0.028 is undecided, because ten columns were looked at; p = 0.0027 is not."""
    assert judge_every(one_seed([9.0] * 9 + [-2.2]), "above")[0] == "undecided"
    assert judge_every(one_seed([9.0] * 9 + [-3.0]), "above")[0] == "contradicted"


def test_most_is_seldom_supported_where_half_is_the_truth() -> None:
    """Five columns far above 0 and five at 0: one lucky column must not make a majority."""
    generator = np.random.default_rng(1)
    truth = np.array([9.0] * 5 + [0.0] * 5)
    wrong = sum(
        judge_most(one_seed(truth + generator.standard_normal(10), key), "above")[0] == "supported"
        for key in range(200)
    )
    assert wrong / 200 <= 0.06


@pytest.mark.parametrize("number", [1, 2])
def test_the_yaml_holds_what_the_paper_prints(number: int) -> None:
    table = STUDY.table(number)
    names = ["Food101", "CIFAR10", "CIFAR100", "Cub2011", "Aircraft", "DTD", "Pets", "STL10", "Eurosat", "Resisc45"]
    assert [column.title for column in table.columns] == [*names, "Avg"]
    filled = [row for row in table.rows if row.reported and row.reported[0] is not None]
    assert {row.label: row.reported for row in filled} == {k: [*v, None] for k, v in printed(number).items()}
    assert [row.full_label() for row in table.rows if row.reported == [None] * 11] == [
        "SWAV",
        "LGSimCLR (Banani et al.)",
        "LGSimSiam (Banani et al.)",
        "LGSimSiam (Ours)",
    ]
    assert table.row("lgsimclr_refined").block == "Ours"


@pytest.mark.parametrize("number", [1, 2])
def test_reported_interval_is_a_paired_t_test_over_data_sets(number: int) -> None:
    cells = printed(number)
    oracle = stats.ttest_rel(cells["LGSimCLR"], cells["SimCLR"]).confidence_interval(0.95)
    test = ClaimTest(over="average", direction="above", row_a="lgsimclr_refined", row_b="simclr")
    found = judge_reported(STUDY.table(number), test)
    assert (100 * found.difference.low, 100 * found.difference.high) == pytest.approx((oracle.low, oracle.high))
    assert found.difference.covers == "data sets"


def test_reported_verdicts_follow_the_printed_cells() -> None:
    found = {entry.claim.id: entry.reported for entry in judge_claims(STUDY, {}, {})}
    assert (found["few_shot_most"].outcome, found["few_shot_most"].counts.signed) == ("supported", 6)
    assert (found["linear_probe_most"].outcome, found["linear_probe_most"].counts.signed) == ("contradicted", 1)
    assert found["linear_probe_lower"].outcome == "supported"
    assert found["few_shot_average"].outcome == "undecided"
    assert found["original_claim_few_shot"].outcome == "contradicted"
    assert found["refined_captions_linear_probe"].outcome == "not testable"
    assert found["sampling_few_shot"].outcome == "not testable"


def test_equal_cells_do_not_count_for_most() -> None:
    table = small_table([[50.0, 50.0, 60.0, 60.0], [50.0, 50.0, 50.0, 50.0]])
    test = ClaimTest(over="most", direction="above", row_a="a", row_b="b")
    assert judge_reported(table, test).outcome == "contradicted"
    every = test.model_copy(update={"over": "every"})
    assert judge_reported(table, every).outcome == "contradicted"


def test_reported_uses_the_cells_that_both_rows_have() -> None:
    table = small_table([[50.0, None, 60.0, 70.0], [40.0, 10.0, None, 50.0]])
    test = ClaimTest(over="every", direction="above", row_a="a", row_b="b")
    found = judge_reported(table, test)
    assert (found.outcome, found.counts.columns) == ("supported", 2)
    assert found.difference.value == pytest.approx(0.15)
    single = small_table([[50.0, None, None, None], [40.0, 10.0, 20.0, 30.0]])
    assert judge_reported(single, test).outcome == "not testable"


def small_table(rows: list[list[float | None]]) -> PaperTable:
    values = STUDY.table(1).model_dump() | {
        "columns": [{"name": f"c{i}", "title": f"c{i}"} for i in range(4)],
        "rows": [{"id": name, "label": name, "reported": row} for name, row in zip("ab", rows, strict=True)],
        "baseline": "b",
    }
    return PaperTable.model_validate(values)


def test_claims_on_scores() -> None:
    probe = scores(
        {"simclr": 0.6, "lgsimclr": 0.3, "lgsimclr_simclr_augmentation": 0.9, "random": 0.1}, tuple(range(5))
    )
    shots = scores({"simclr": 0.3, "lgsimclr": 0.8, "random": 0.3}, tuple(range(5)))
    found = {name: verdict.outcome for name, verdict in judged({1: probe, 2: shots}).items()}
    assert found["few_shot_most"] == found["few_shot_average"] == "supported"
    assert found["original_claim_few_shot"] == "supported"
    assert found["linear_probe_most"] == found["original_claim_linear_probe"] == "contradicted"
    assert found["linear_probe_lower"] == found["sampling_linear_probe"] == "supported"
    assert found["weak_augmentation_linear_probe"] == "supported"
    assert found["learned_linear_probe"] == "supported"
    assert found["learned_few_shot"] == "undecided"
    assert found["sampling_few_shot"] == "pending"
    assert found["refined_captions_linear_probe"] == "not run"


def test_a_missing_set_leaves_a_claim_pending() -> None:
    shots = scores({"simclr": 0.3, "lgsimclr": 0.8})
    del shots["lgsimclr", "two"]
    assert judged({2: shots})["few_shot_most"].outcome == "pending"
    assert judged({})["few_shot_most"].outcome == "pending"


def test_the_mean_difference_is_over_common_seeds_and_columns() -> None:
    shots = scores({"simclr": 0.3, "lgsimclr": 0.8})
    for name in ("one", "two"):
        cell = shots["simclr", name]
        shots["simclr", name] = Scores(cell.values[1:], cell.seeds[1:])
    found = judged({2: shots})["few_shot_average"].difference
    expected = [shots["lgsimclr", s.name].values[1:].mean() - shots["simclr", s.name].values[-2:].mean() for s in SETS]
    assert found.value == pytest.approx(np.mean(expected))
    assert found.n_seeds == 2


def test_explanations_give_the_deciding_numbers() -> None:
    entries = {
        e.claim.id: e for e in judge_claims(STUDY, {2: scores({"simclr": 0.3, "lgsimclr": 0.8}, (0,))}, {2: SETS})
    }
    most = entries["few_shot_most"]
    text = explain(most.ours, most.claim.test, most.example)
    assert f"Mean difference {signed_points(most.ours.difference.value)} points" in text
    assert "3 of 3 data sets above 0" in text
    assert "one seed, so the interval covers episodes only" in text
    assert most.ours.wording == "supported by one seed"
    assert most.reported.wording == "supported"
    assert "6 of 10 data sets above 0" in explain(most.reported, most.claim.test, most.example)
    refined = entries["refined_captions_few_shot"]
    assert "no recipe" in explain(refined.ours, refined.claim.test, "episode")
    assert "does not print" in explain(refined.reported, refined.claim.test, "episode")
    assert "missing" in explain(Verdict("pending"), most.claim.test, "episode")


def test_signed_points() -> None:
    assert [signed_points(x) for x in (0.0342, -0.0342, 0.0, -0.0001)] == ["+3.4", "−3.4", "0.0", "0.0"]


def test_one_seed_helper_has_unit_spread() -> None:
    found = interval(one_seed([0.0])[0], lowest=-9, highest=9)
    assert found.high == pytest.approx(stats.norm.ppf(0.975))

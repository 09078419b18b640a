"""Verdicts against hand-worked numbers, the definition of the tests, and simulated nulls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vlrepro.errors import UserError
from vlrepro.tables.cells import Cells, SetInfo
from vlrepro.tables.claims import PurityTest, ScoreTest
from vlrepro.tables.facts import check_fact, resnet_parameters
from vlrepro.tables.judging import judge_claims, judge_purity, newcombe
from vlrepro.tables.reported import judge_reported
from vlrepro.tables.statistics import Interval, Resampled, Scores, interval
from vlrepro.tables.study import PaperTable, Study, load_study
from vlrepro.tables.verdicts import (
    Verdict,
    explain,
    judge,
    judge_count,
    judge_every,
    judge_most,
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


def cells(scored: dict[str, dict[tuple[str, str], Scores]]) -> Cells:
    return Cells(scored, dict.fromkeys(scored, SETS), {})


def judged(
    scored: dict[str, dict[tuple[str, str], Scores]], study: Study = STUDY, scale: str = "pocket"
) -> dict[str, Verdict]:
    return {entry.claim.id: entry.ours for entry in judge_claims(study, cells(scored), scale, resamples=300)}


def score_test(direction: str = "above", pairs: object = (("a", "b"),), **more: object) -> ScoreTest:
    pairs = [list(pair) for pair in pairs]
    return ScoreTest.model_validate({"kind": "scores", "direction": direction, "pairs": pairs} | more)


def study_with(table: PaperTable) -> Study:
    return STUDY.model_copy(update={"tables": [table]})


def on_print(table: PaperTable, test: ScoreTest) -> Verdict:
    return judge_reported(study_with(table), [table.name], test)


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
    table = STUDY.table(f"table{number}")
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
    test = score_test(pairs=[("lgsimclr_refined", "simclr")])
    found = judge_reported(STUDY, [f"table{number}"], test)
    assert (100 * found.difference.low, 100 * found.difference.high) == pytest.approx((oracle.low, oracle.high))
    assert found.difference.covers == "data sets"


def test_reported_verdicts_follow_the_printed_cells() -> None:
    found = {entry.claim.id: entry.reported for entry in judge_claims(STUDY, cells({}), "pocket")}
    assert (found["few_shot_most"].outcome, found["few_shot_most"].counts.signed) == ("supported", 6)
    assert (found["linear_probe_most"].outcome, found["linear_probe_most"].counts.signed) == ("contradicted", 1)
    assert (found["most_cases"].outcome, found["most_cases"].counts.signed) == ("contradicted", 7)
    assert "2 of 4 comparisons are printed" in found["most_cases"].reason
    assert found["linear_probe_lower"].outcome == "supported"
    assert found["few_shot_average"].outcome == "undecided"
    assert found["original_claim_few_shot"].outcome == "contradicted"
    assert found["refined_captions"].outcome == found["gain_of_five"].outcome == "not testable"
    assert found["sampling_few_shot"].outcome == found["subreddits"].outcome == "not testable"
    assert found["diverse_frameworks"].outcome == found["all_datasets"].outcome == "contradicted"


def test_equal_cells_do_not_count_for_most() -> None:
    table = small_table([[50.0, 50.0, 60.0, 60.0], [50.0, 50.0, 50.0, 50.0]])
    assert on_print(table, score_test(over="most")).outcome == "contradicted"
    assert on_print(table, score_test(over="every")).outcome == "contradicted"


def test_reported_uses_the_cells_that_both_rows_have() -> None:
    table = small_table([[50.0, None, 60.0, 70.0], [40.0, 10.0, None, 50.0]])
    found = on_print(table, score_test(over="every"))
    assert (found.outcome, found.counts.columns) == ("supported", 2)
    assert found.difference.value == pytest.approx(0.15)
    single = small_table([[50.0, None, None, None], [40.0, 10.0, 20.0, 30.0]])
    assert on_print(single, score_test()).outcome == "not testable"


def test_all_printed_comparisons_must_hold_and_blank_ones_leave_it_open() -> None:
    high, low, middle, blank = [90.0, 91.0, 90.0, 91.0], [10.0, 11.0, 10.0, 11.0], [50.0, 51.0, 51.0, 50.0], [None] * 4
    table = small_table([high, low, middle, blank])
    assert on_print(table, score_test(pairs=["ac", "cb"])).outcome == "supported"
    assert on_print(table, score_test(pairs=["ac", "bc"])).outcome == "contradicted"
    assert on_print(table, score_test(pairs=["bc", "cd"])).outcome == "contradicted"
    part = on_print(table, score_test(pairs=["ac", "cd"]))
    assert (part.outcome, part.reason) == ("not testable", "Only 1 of 2 comparisons are printed.")
    assert on_print(table, score_test(over="most", pairs=["ac", "cd"])).outcome == "supported"


def test_margins_and_interactions_on_printed_cells() -> None:
    table = small_table([[62.0, 61.0, 60.0, 61.5], [50.0] * 4, [70.0, 72.0, 71.0, 71.0], [55.0] * 4])
    assert on_print(table, score_test(margin=8.0)).outcome == "supported"
    assert on_print(table, score_test(margin=15.0)).outcome == "contradicted"
    assert on_print(table, score_test("equal", margin=11.1, tolerance=5.0)).outcome == "supported"
    assert on_print(table, score_test("equal", margin=11.1, tolerance=0.1)).outcome == "undecided"
    assert on_print(table, score_test("equal", margin=20.0, tolerance=0.1)).outcome == "contradicted"
    interaction = on_print(table, score_test("below", minus=["c", "d"]))
    differences = np.subtract([12.0, 11.0, 10.0, 11.5], [15.0, 17.0, 16.0, 16.0])
    assert interaction.difference.value == pytest.approx(differences.mean() / 100)
    assert (interaction.outcome, interaction.counts.signed) == ("supported", 4)


def small_table(rows: list[list[float | None]]) -> PaperTable:
    values = STUDY.table("table1").model_dump() | {
        "columns": [{"name": f"c{i}", "title": f"c{i}"} for i in range(4)],
        "rows": [{"id": name, "label": name, "reported": row} for name, row in zip("abcd", rows, strict=False)],
        "baseline": "b",
    }
    return PaperTable.model_validate(values)


def test_claims_on_scores() -> None:
    five = tuple(range(5))
    probe = scores({"simclr": 0.6, "lgsimclr": 0.3, "lgsimclr_simclr_augmentation": 0.9, "random": 0.1}, five)
    shots = scores({"simclr": 0.3, "lgsimclr": 0.8, "random": 0.3}, five)
    found = {name: verdict.outcome for name, verdict in judged({"linear": probe, "few_shot": shots}).items()}
    assert found["few_shot_most"] == found["few_shot_average"] == "supported"
    assert found["original_claim_few_shot"] == "supported"
    assert found["linear_probe_most"] == found["original_claim_linear_probe"] == "contradicted"
    assert found["linear_probe_lower"] == found["sampling_linear_probe"] == "supported"
    assert found["weak_augmentation_linear_probe"] == "supported"
    assert found["not_when_unfaithful"] == "contradicted"
    assert found["learned_linear_probe"] == found["sampling_few_shot"] == found["most_cases"] == "pending"


def test_all_frameworks_and_tables_must_gain() -> None:
    names = ("lgsimclr", "lgsimclr_refined", "lgsimsiam", "lgsimsiam_refined")
    gain = scores(dict(zip(names, (0.3, 0.8, 0.3, 0.8), strict=True)))
    half = scores(dict(zip(names, (0.3, 0.8, 0.8, 0.3), strict=True)))
    both = judged({"linear": gain, "few_shot": gain})["refined_captions"]
    assert (both.outcome, both.counts.unit, both.counts.columns) == ("supported", "comparisons", 4)
    assert len(both.comparisons) == 4
    mean = np.mean([found.value for _, found in both.comparisons])
    assert both.difference.value == pytest.approx(mean)
    one = judged({"linear": gain, "few_shot": half})["refined_captions"]
    assert (one.outcome, one.counts.signed) == ("contradicted", 3)
    assert judged({"linear": gain})["refined_captions"].outcome == "pending"


def test_most_cases_are_counted_over_pairs_tables_and_sets() -> None:
    names = ("simclr", "lgsimclr", "simsiam", "lgsimsiam")
    up, mixed = (scores(dict(zip(names, rates, strict=True))) for rates in ((0.2, 0.9, 0.2, 0.9), (0.2, 0.9, 0.9, 0.2)))
    found = judged({"linear": up, "few_shot": mixed})["most_cases"]
    assert (found.outcome, found.counts.columns, found.counts.signed, found.counts.unit) == (
        "supported",
        12,
        9,
        "cases",
    )
    assert judged({"linear": mixed, "few_shot": mixed})["most_cases"].outcome != "supported"


def test_an_interaction_is_a_difference_of_paired_differences() -> None:
    rates = {"simclr": 0.3, "lgsimclr": 0.4, "simclr_projected": 0.3, "lgsimclr_projected": 0.8}
    probe = scores(rates)
    found = judged({"linear": probe, "few_shot": probe})["width_explains"]
    means = {name: np.mean([probe[name, entry.name].values.mean() for entry in SETS]) for name in rates}
    expected = means["lgsimclr_projected"] - means["simclr_projected"] - means["lgsimclr"] + means["simclr"]
    assert found.difference.value == pytest.approx(expected)
    assert found.outcome == "supported"
    mirrored = probe | {("lgsimclr", s.name): probe["lgsimclr_projected", s.name] for s in SETS}
    mirrored |= {("simclr", s.name): probe["simclr_projected", s.name] for s in SETS}
    none = judged({"linear": mirrored, "few_shot": mirrored})["width_explains"]
    assert (none.outcome, none.difference.value) == ("undecided", 0)


def test_a_stated_gain_is_compared_with_the_interval_at_scale_paper_alone() -> None:
    far = {"linear": scores({"lgsimclr": 0.3, "lgsimclr_refined": 0.8, "lgsimclr_generated": 0.8})}
    found = judged(far, scale="paper")
    assert (found["gain_of_five"].outcome, found["gain_at_least_five"].outcome) == ("contradicted", "supported")
    close = {"linear": scores({"lgsimclr": 0.30, "lgsimclr_refined": 0.352})}
    assert judged(close, scale="paper")["gain_of_five"].outcome == "undecided"
    for scored, word in ((far, "excludes"), (close, "contains")):
        small = judged(scored)["gain_of_five"]
        assert small.outcome == "not testable"
        assert f"the interval {word} +5.2 points" in small.reason
        assert small.difference == judged(scored, scale="paper")["gain_of_five"].difference


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(5.16, 5.24, "supported"), (5.0, 5.4, "undecided"), (5.3, 5.9, "contradicted"), (-1.0, 5.1, "contradicted")],
)
def test_equality_is_within_the_tolerance(low: float, high: float, outcome: str) -> None:
    found = Interval((low + high) / 200, low / 100, high / 100, 3, "seeds and examples")
    assert judge(found, "equal", 0.052, 0.0005) == outcome


def test_a_row_without_a_recipe_is_not_run() -> None:
    study = STUDY.model_copy(deep=True)
    rows = [row.model_copy(update={"recipe": None}) if row.id == "swav" else row for row in study.tables[0].rows]
    tables = [study.tables[0].model_copy(update={"rows": rows}), *study.tables[1:]]
    found = judged({}, study.model_copy(update={"tables": tables}))
    assert found["learned_linear_probe"].outcome == "not run"
    assert found["learned_few_shot"].outcome == "pending"


def test_a_missing_set_leaves_a_claim_pending() -> None:
    shots = scores({"simclr": 0.3, "lgsimclr": 0.8})
    del shots["lgsimclr", "two"]
    assert judged({"few_shot": shots})["few_shot_most"].outcome == "pending"
    assert judged({})["few_shot_most"].outcome == "pending"


def test_the_mean_difference_is_over_common_seeds_and_columns() -> None:
    shots = scores({"simclr": 0.3, "lgsimclr": 0.8})
    for name in ("one", "two"):
        cell = shots["simclr", name]
        shots["simclr", name] = Scores(cell.values[1:], cell.seeds[1:])
    found = judged({"few_shot": shots})["few_shot_average"].difference
    expected = [shots["lgsimclr", s.name].values[1:].mean() - shots["simclr", s.name].values[-2:].mean() for s in SETS]
    assert found.value == pytest.approx(np.mean(expected))
    assert found.n_seeds == 2


def purities(**shares: float) -> dict[str, dict]:
    result = {}
    for name, share in shares.items():
        low, high = stats.binomtest(round(share * 400), 400).proportion_ci(method="wilson")
        result[name] = {"purity": {"concept": {"share": share, "low": low, "high": high}}}
    return result


def test_the_difference_of_two_shares_is_newcombes() -> None:
    """Newcombe 1998, table II, case (a), method 10: 56/70 minus 48/80 is 0.2 [0.0524, 0.3339]."""
    a, b = (stats.binomtest(k, n).proportion_ci(method="wilson") for k, n in ((56, 70), (48, 80)))
    found = newcombe({"share": 0.8, "low": a.low, "high": a.high}, {"share": 0.6, "low": b.low, "high": b.high})
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_purity_claims() -> None:
    test = PurityTest(kind="purity", direction="above", criterion="concept", pairs=[["x", "y"]])
    assert judge_purity(test, purities(x=0.6, y=0.4)).outcome == "supported"
    assert judge_purity(test, purities(x=0.4, y=0.6)).outcome == "contradicted"
    undecided = judge_purity(test, purities(x=0.5, y=0.49))
    assert undecided.outcome == "undecided"
    assert "x 50.0 %, y 49.0 %" in explain(undecided, test, "")
    missing = judge_purity(test, purities(x=0.5))
    assert (missing.outcome, "pairs y is missing" in missing.reason) == ("pending", True)
    several = test.model_copy(update={"pairs": [["x", "y"], ["x", "z"]]})
    assert judge_purity(several, purities(x=0.6, y=0.4, z=0.8)).outcome == "contradicted"
    assert judge_purity(several, purities(x=0.6, y=0.4, z=0.59)).outcome == "undecided"


@pytest.mark.parametrize("classes", [0, 1000])
@pytest.mark.parametrize("network", ["resnet34", "resnet50"])
def test_parameters_are_those_of_torchvision(network: str, classes: int) -> None:
    torch, models = pytest.importorskip("torch"), pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        built = models.get_model(network, weights=None)
    counted = sum(p.numel() for name, p in built.named_parameters() if classes or not name.startswith("fc."))
    assert resnet_parameters(network, classes) == counted


def test_facts() -> None:
    found = {entry.claim.id: entry for entry in judge_claims(STUDY, cells({}), "pocket")}
    assert found["parameters"].ours.outcome == found["feature_widths"].ours.outcome == "supported"
    assert "21,797,672" in found["parameters"].ours.reason
    assert "PatchCamelyon" in found["all_datasets"].reported.reason
    assert found["all_datasets"].ours.outcome == "not testable"
    wrong = check_fact(STUDY, "resnet_parameters", {"stated": {"resnet34": 22.79}, "units": {"resnet34": 0.01}})
    assert not wrong.holds
    with pytest.raises(UserError, match=r"fact resnet_width: .*mend the claim's arguments"):
        check_fact(STUDY, "resnet_width", {"network": "resnet34"})


def test_what_cannot_be_tested_is_listed_with_its_reason() -> None:
    found = {entry.claim.id: entry for entry in judge_claims(STUDY, cells({}), "pocket")}
    assert len(found) == len(STUDY.claims)
    placeholder = found["search_time"]
    assert placeholder.ours == placeholder.reported
    assert (placeholder.ours.outcome, placeholder.ours.reason) == ("not testable", "The number is a placeholder.")


def test_explanations_give_the_deciding_numbers() -> None:
    scored = cells({"few_shot": scores({"simclr": 0.3, "lgsimclr": 0.8}, (0,))})
    entries = {entry.claim.id: entry for entry in judge_claims(STUDY, scored, "pocket")}
    most = entries["few_shot_most"]
    text = explain(most.ours, most.claim.test, most.examples)
    assert f"Mean difference {signed_points(most.ours.difference.value)} points" in text
    assert "3 of 3 data sets above 0" in text
    assert "one seed, so the interval covers episodes only" in text
    assert most.ours.wording == "supported by one seed"
    assert most.reported.wording == "supported"
    assert "6 of 10 data sets above 0" in explain(most.reported, most.claim.test, most.examples)
    refined = entries["refined_captions_few_shot"]
    assert "missing" in explain(refined.ours, refined.claim.test, "episodes")
    assert "does not print" in explain(refined.reported, refined.claim.test, "episodes")
    assert "no recipe" in explain(Verdict("not run"), most.claim.test, "episodes")


def test_signed_points() -> None:
    assert [signed_points(x) for x in (0.0342, -0.0342, 0.0, -0.0001)] == ["+3.4", "−3.4", "0.0", "0.0"]


def test_one_seed_helper_has_unit_spread() -> None:
    found = interval(one_seed([0.0])[0], lowest=-9, highest=9)
    assert found.high == pytest.approx(stats.norm.ppf(0.975))

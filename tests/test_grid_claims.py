"""Claims on grids: which comparisons they make, means over all cases, chance, and cost."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import run_script
from grid_tables import SETS, VARIANTS, cells, claim, scores, study, values
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from test_failed_runs import metrics

from vlrepro.errors import UserError
from vlrepro.files import write_text
from vlrepro.tables.cells import Cells, collect_cells
from vlrepro.tables.claims import ScoreTest
from vlrepro.tables.comparisons import comparisons_of
from vlrepro.tables.costs import mean_ratio
from vlrepro.tables.judging import JudgedClaim, judge_claims
from vlrepro.tables.statistics import Scores
from vlrepro.tables.verdicts import Verdict, explain

SCORES = {"kind": "scores", "direction": "above", "pairs": [["noisy", "base"]]}
LEVELS = {"base_small": 0.2, "noisy_small": 0.8, "base_large": 0.2, "noisy_large": 0.8, "partial_small": 0.8}


def judged(test: dict, table: str = "table1", found: Cells | None = None, **more: object) -> JudgedClaim:
    entry = study(claims=[claim(test, [table])])
    [result] = judge_claims(entry, found or cells(LEVELS), more.pop("scale", "pocket"), resamples=200, **more)
    return result


def difference(recipes: tuple[str, str], evaluation: str, name: str, levels: dict[str, float] | None = None) -> float:
    found = scores(levels or LEVELS)[evaluation]
    return float(found[recipes[0], name].values.mean() - found[recipes[1], name].values.mean())


def labels(test: dict) -> list[str]:
    found = comparisons_of(study(), ["table1"], ScoreTest.model_validate(test), test["pairs"])
    return [f"{comparison.label()} / {comparison.evaluation}" for comparison in found]


def test_a_pair_is_made_in_every_variant_under_every_evaluation() -> None:
    every = [f"Noisy minus Base, {v} / {e}" for e in ("top1", "top5") for v in VARIANTS.values()]
    assert labels(SCORES) == every
    assert labels(SCORES | {"variants": ["large"], "evaluations": ["top5"]}) == [every[-1]]


def test_rows_that_name_their_variants_are_compared_once() -> None:
    test = SCORES | {"pairs": [["noisy@large", "noisy@small"], ["noisy@large", "base@small"]], "evaluations": ["top1"]}
    assert labels(test) == ["Noisy, Large net minus Small net / top1", "Noisy, Large net minus Base, Small net / top1"]
    single = judged(test | {"pairs": [["noisy@large", "noisy@small"]]}).ours
    assert single.difference.value == pytest.approx(difference(("noisy_large", "noisy_small"), "top1", "all"))


def test_scores_are_those_of_the_columns_set_alone() -> None:
    one = judged(SCORES | {"variants": ["small"], "evaluations": ["top1"]}).ours
    assert one.difference.value == pytest.approx(difference(("noisy_small", "base_small"), "top1", "all"))
    sets = judged(SCORES | {"evaluations": ["top1"]}, "table2").ours
    assert sets.difference.value == pytest.approx(difference(("noisy_small", "base_small"), "top1", "line"))
    extra = judged(SCORES | {"evaluations": ["top1"], "sets": ["all"]}, "table2").ours
    assert extra.difference.value == pytest.approx(difference(("noisy_small", "base_small"), "top1", "all"))


def test_an_interaction_is_within_the_variant() -> None:
    test = SCORES | {"minus": ["partial", "base"], "variants": ["small"], "evaluations": ["top1"]}
    expected = difference(("noisy_small", "partial_small"), "top1", "all")
    assert judged(test).ours.difference.value == pytest.approx(expected)


def test_a_row_is_not_compared_where_it_is_blank() -> None:
    found = judged(SCORES | {"pairs": [["partial", "base"]], "evaluations": ["top1"]}).ours
    assert found.comparisons == ()
    assert found.difference.value == pytest.approx(difference(("partial_small", "base_small"), "top1", "all"))
    assert judged(SCORES | {"pairs": [["partial", "base"]], "variants": ["large"]}).ours.outcome == "not run"


def test_a_missing_score_is_pending() -> None:
    assert judged(SCORES, found=cells({"base_small": 0.5, "noisy_small": 0.5})).ours.outcome == "pending"


def test_the_mean_over_all_cases_can_hold_where_not_every_case_does() -> None:
    mixed = LEVELS | {"noisy_large": 0.1}
    found = judged(SCORES | {"over": "mean"}, found=cells(mixed)).ours
    cases = [difference((f"noisy_{v}", f"base_{v}"), e, "all", mixed) for v in VARIANTS for e in ("top1", "top5")]
    assert found.difference.value == pytest.approx(np.mean(cases))
    assert (found.outcome, found.counts.signed, found.counts.columns) == ("supported", 2, 4)
    by_variant = {label: interval.value for label, interval in found.comparisons}
    assert by_variant["Large net"] == pytest.approx(np.mean(cases[2:]))
    assert judged(SCORES | {"over": "average"}, found=cells(mixed)).ours.outcome != "supported"


def test_a_mean_of_paired_cases_has_the_spread_of_their_mean() -> None:
    """The same outcomes in both variants: the mean's interval is that of either, not narrower."""
    both = scores(LEVELS)
    for entries in both.values():
        for row in ("base", "noisy"):
            entries[f"{row}_large", "all"] = entries[f"{row}_small", "all"]
    found = Cells(both, dict.fromkeys(both, SETS), {})
    one = judged(SCORES | {"variants": ["small"], "evaluations": ["top1"]}, found=found).ours.difference
    two = judged(SCORES | {"over": "mean", "evaluations": ["top1"]}, found=found).ours.difference
    assert (two.value, two.low, two.high) == pytest.approx((one.value, one.low, one.high))


def test_a_stated_mean_is_judged_at_scale_paper_alone() -> None:
    test = SCORES | {"over": "mean", "direction": "equal", "margin": 60.0, "tolerance": 30.0}
    assert judged(test, scale="paper").ours.outcome == "supported"
    assert judged(test | {"margin": 2.5, "tolerance": 0.5}, scale="paper").ours.outcome == "contradicted"
    assert judged(test).ours.outcome == "not testable"


def printed(test: dict, rows: list[list[float | None]]) -> Verdict:
    tables = values()["tables"]
    for row, reported in zip(tables[0]["rows"], rows, strict=False):
        row["reported"] = reported
    [found] = judge_claims(study(tables=tables, claims=[claim(test, ["table1"])]), Cells({}, {}, {}), "pocket")
    return found.reported


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9).map(float), min_size=4, max_size=4), min_size=2, max_size=2))
def test_printed_cells_of_a_grid_are_counted_and_averaged_by_plain_loops(rows: list[list[float]]) -> None:
    base, noisy = rows
    gains = [b - a for a, b in zip(base, noisy, strict=True)]
    every, most, mean = (printed(SCORES | {"over": over}, rows) for over in ("every", "most", "mean"))
    assert (every.counts.signed, every.counts.columns) == (sum(gain > 0 for gain in gains), 4)
    assert (every.outcome == "supported") == all(gain > 0 for gain in gains)
    assert (most.outcome == "supported") == (sum(gain > 0 for gain in gains) > 2)
    assert (mean.outcome == "supported") == (math.fsum(gains) > 0)
    assert every.comparisons == ()
    assert every.difference is None
    single = printed(SCORES | {"over": "every", "variants": ["small"], "evaluations": ["top1"]}, rows)
    assert (single.outcome == "supported") == (gains[0] > 0)


def test_what_a_grid_does_not_print_stays_open() -> None:
    rows = [[10.0, 20.0, None, None], [11.0, 21.0, None, None]]
    assert printed(SCORES | {"variants": ["large"]}, rows).outcome == "not testable"
    assert printed(SCORES | {"over": "every"}, rows).counts.columns == 2
    several = SCORES | {"over": "mean", "pairs": [["noisy", "base"], ["partial", "base"]]}
    assert printed(several, rows).reason == "Only 1 of 2 comparisons are printed."


def test_the_cells_that_speak_against_it_are_named() -> None:
    found = printed(SCORES | {"over": "every"}, [[10.0, 20.0, 30.0, 40.0], [11.0, 19.5, 31.0, 40.0]])
    assert found.reason == "not so: Noisy minus Base, Small net Top5 −0.5, Noisy minus Base, Large net Top5 0.0"


CHANCE = {"kind": "chance", "rows": ["noisy"], "evaluations": ["top1"], "variants": ["small"]}


@pytest.mark.parametrize(
    ("hits", "tolerance", "at", "above"),
    [
        (0, 0.0, "supported", "contradicted"),
        (40, 1.0, "contradicted", "supported"),
        (3, 1.0, "undecided", "undecided"),
        (3, 20.0, "supported", "contradicted"),
    ],
)
def test_chance_is_judged_by_the_whole_interval(hits: int, tolerance: float, at: str, above: str) -> None:
    outcomes = np.zeros((1, 80))
    outcomes[0, :hits] = 1
    found = Cells({"top1": {("noisy_small", "all"): Scores(outcomes, (0,))}}, {"top1": SETS}, {})
    test = CHANCE | {"tolerance": tolerance}
    one = judged(test, found=found).ours
    assert one.outcome == at
    assert one.wording == (f"{at} by one seed" if at != "undecided" else at)
    assert judged(test | {"direction": "above"}, found=found).ours.outcome == above


def test_every_cell_must_be_at_chance() -> None:
    low = LEVELS | {"noisy_small": 0.0}
    test = {"kind": "chance", "rows": ["noisy"], "tolerance": 5.0}
    both = judged(test, found=cells(low)).ours
    assert both.outcome == "contradicted"
    assert both.reason.startswith("2 of 4 cells are no more than 5 points above chance; Noisy, Large net, Top1: 8")
    assert judged(test | {"variants": ["small"]}, found=cells(low)).ours.outcome == "supported"
    assert judged(test, found=cells({"noisy_small": 0.0})).ours.outcome == "pending"
    assert judged(test | {"rows": ["partial"]}, found=cells({"partial_small": 0.0})).ours.outcome == "supported"


def test_chance_on_print_allows_for_rounding() -> None:
    rows = [[10.0, 30.0, 12.5, 31.0], [0.1, 0.5, 0.15, 0.6]]
    found = [printed({"kind": "chance", "rows": [f"noisy@{v}"], "evaluations": ["top1"]}, rows) for v in VARIANTS]
    assert [verdict.outcome for verdict in found] == ["supported", "contradicted"]
    room = {"kind": "chance", "rows": ["noisy"], "tolerance": 0.1}
    assert printed(room, rows).outcome == "supported"
    above = {"kind": "chance", "rows": ["base"], "direction": "above", "tolerance": 1.0}
    assert printed(above, rows).outcome == "supported"
    assert printed(above | {"rows": ["partial"]}, rows).outcome == "not testable"


COST = {"kind": "cost", "pairs": [["noisy", "base"], ["partial", "base"]]}
times = st.lists(st.integers(10, 9999).map(lambda ms: ms / 1000), min_size=2, max_size=5, unique=True)


@settings(max_examples=60, deadline=None)
@given(times, times)
def test_the_ratio_of_two_recipes_is_students_test_on_logarithms(first: list[float], second: list[float]) -> None:
    oracle = stats.ttest_ind(np.log(first), np.log(second))
    ends = oracle.confidence_interval(0.95)
    found = mean_ratio([("a", "b")], {"a": first, "b": second})
    assert found.value == pytest.approx(stats.gmean(first) / stats.gmean(second))
    assert (found.low, found.high) == pytest.approx((math.exp(ends.low), math.exp(ends.high)))
    assert found.runs == len(first) + len(second)


@settings(max_examples=40, deadline=None)
@given(st.lists(times, min_size=3, max_size=3))
def test_the_mean_ratio_is_a_contrast_of_a_one_way_layout(runs: list[list[float]]) -> None:
    """Oracle: least squares on one indicator a recipe, and the covariance of its coefficients."""
    names = ["base", "one", "two"]
    design = np.array(
        [[name == other for other in names] for name, entry in zip(names, runs, strict=True) for _ in entry]
    )
    logs = np.log(np.concatenate(runs))
    coefficients, *_ = np.linalg.lstsq(design.astype(float), logs, rcond=None)
    free = len(logs) - 3
    variance = float(((logs - design @ coefficients) ** 2).sum()) / free
    contrast = np.array([-1.0, 0.5, 0.5])
    spread = math.sqrt(variance * float(contrast @ np.linalg.inv(design.T.astype(float) @ design) @ contrast))
    half = stats.t.ppf(0.975, free) * spread
    found = mean_ratio([("one", "base"), ("two", "base")], dict(zip(names, runs, strict=True)))
    assert math.log(found.value) == pytest.approx(contrast @ coefficients, abs=1e-9)
    assert math.log(found.high / found.low) / 2 == pytest.approx(half, abs=1e-9)


def timings(ratio: float, runs: int = 3, spread: float = 0.001) -> dict[str, list[float]]:
    recipes = {
        f"{row}_{v}": (1.0 if row == "base" else ratio) for row in ("base", "noisy", "partial") for v in VARIANTS
    }
    return {name: [level * (1 + spread * i) for i in range(runs)] for name, level in recipes.items()}


def test_cost_is_judged_by_the_interval_of_the_mean_ratio() -> None:
    assert judged(COST, timings=timings(1.0)).ours.outcome == "supported"
    assert judged(COST, timings=timings(1.2)).ours.outcome == "contradicted"
    assert judged(COST | {"ratio": 1.3}, timings=timings(1.2)).ours.outcome == "supported"
    assert judged(COST, timings=timings(1.0, spread=0.2)).ours.outcome == "undecided"
    found = judged(COST, timings=timings(1.2))
    assert "1.200 [1.19" in found.ours.reason
    assert "in the mean over 3 of 3 comparisons" in found.ours.reason  # one row has no large net
    assert found.reported.reason == "The paper prints no times."


def test_cost_without_times_or_with_one_run_each_is_not_testable() -> None:
    none, single = judged(COST).ours, judged(COST, timings=timings(1.2, runs=1)).ours
    assert (none.outcome, none.reason) == ("not testable", "No times of these trainings were recorded.")
    assert single.outcome == "not testable"
    assert "1.200 times as long" in explain(single, None, "")
    part = {name: entry for name, entry in timings(1.0).items() if "large" not in name}
    assert "over 2 of 3 comparisons" in judged(COST, timings=part).ours.reason


@pytest.mark.parametrize("wrong", [[0.0, 1.0], [-1.0, 1.0], [math.nan, 1.0], [[1.0], [2.0]]])
def test_times_that_cannot_be_are_refused_by_recipe(wrong: list) -> None:
    with pytest.raises(UserError, match=r"times of noisy_small: not a list of positive numbers.*measure them again"):
        judged(COST, timings=timings(1.0) | {"noisy_small": wrong})


def test_the_script_reads_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(values() | {"claims": [claim(COST, ["table1"])]}))
    runs = {f"{name}-seed{n}-0123abcd": spent for name, found in timings(1.0).items() for n, spent in enumerate(found)}
    for run, spent in runs.items():
        write_text(tmp_path / f"times/{run}.tsv", f"s\th:m:s\tmax_rss\n{spent}\t0:00:01\tNA\n")
    collect_cells([metrics(tmp_path, 0, failed=False)], tmp_path / "cells.parquet")
    options = {"study": tmp_path / "study.yaml", "cells": tmp_path / "cells.parquet", "scale": "pocket"}
    options |= {"sets": '{"all": ["All", "it"]}', "output": tmp_path / "claims.json"}
    run_script("judge_claims.py", monkeypatch, runs=list(runs), benchmarks=tmp_path / "times", **options)
    assert json.loads((tmp_path / "claims.json").read_text())[0]["ours"]["outcome"] == "supported"
    run_script("judge_claims.py", monkeypatch, **options)
    assert json.loads((tmp_path / "claims.json").read_text())[0]["ours"]["outcome"] == "not testable"

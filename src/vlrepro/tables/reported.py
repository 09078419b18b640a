"""Verdicts on the cells that a paper prints, which have neither seeds nor spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from vlrepro.tables.claims import ScoreTest
from vlrepro.tables.comparisons import PRECISION, Comparison, comparisons_of, labels_of, printed_differences
from vlrepro.tables.statistics import LEVEL, Interval
from vlrepro.tables.study import Study
from vlrepro.tables.verdicts import Counts, Outcome, Unit, Verdict, judge, needed_for, signed, signed_points

_NAMED = 6
"""Cells that a reason names one by one."""


class Group(NamedTuple):
    """A comparison with what is printed of it: the label of each difference, and the differences (shares)."""

    comparison: Comparison
    labels: list[str]
    differences: list[float]

    def enough(self, test: ScoreTest) -> bool:
        """Whether there is something to judge: counting needs one cell of a grid, an interval needs two."""
        fewest = 1 if self.comparison.table.grid and test.over != "average" else 2
        return len(self.differences) >= fewest


def judge_reported(study: Study, tables: Sequence[str], test: ScoreTest) -> Verdict:
    """Judge a claim on the paper's own cells.

    Differences are paired over the data sets that both rows have; an interval is Student's, with the data sets as
    the sample, since the cells have no spread of their own. In a grid the sample are its columns: data sets, variants
    and evaluations. A claim about most or every cell is settled by counting, one about the mean of all by that mean:
    see `_judge_mean`. Comparisons with fewer than two data sets printed in both rows cannot be tested (in a grid one
    cell can be counted): a claim about all of several comparisons is then contradicted by one that is printed, but
    never supported.
    """
    wanted = _groups(study, tables, test)
    found = [group for group in wanted if group.enough(test)]
    if not found:
        return Verdict("not testable")
    if test.over == "mean":
        return _judge_mean(found, wanted, test)
    cases = [value - test.counted_from() for group in found for value in group.differences]
    grid = any(group.comparison.table.grid for group in found)
    unit: Unit = "cells" if grid else "data sets" if len(found) == 1 else "cases"
    outcome, counts = _reported_outcome(test, [group.differences for group in found], cases, unit)
    reason = None
    if len(found) < len(wanted):
        reason = f"{len(found)} of {len(wanted)} comparisons are printed"
        if test.over != "most" and outcome != "contradicted":
            return Verdict("not testable", reason=f"Only {reason}.")
    if grid:
        reason = "; ".join(text for text in (reason, _against(found, test)) if text) or None
        if test.over != "average":  # two or three columns have no interval worth reading, and none was asked for
            return Verdict(outcome, None, counts, reason=reason)
    if len(found) == 1:
        return Verdict(outcome, _interval(found[0]), counts, reason=reason)
    labels = labels_of(study, [group.comparison for group in found])
    parts = tuple((label, _interval(group)) for label, group in zip(labels, found, strict=True))
    return Verdict(outcome, None, counts, parts, reason)


def _groups(study: Study, tables: Sequence[str], test: ScoreTest) -> list[Group]:
    """The comparisons on printed tables; those of one pair of a grid are one, whatever its variants and evaluations."""
    groups: dict[tuple[str, ...], Group] = {}
    for comparison in comparisons_of(study, tables, test, test.reported_pairs()):
        table = comparison.table
        if not table.printed:
            continue
        key = (table.name, *comparison.pair) if table.grid else (table.name, *comparison.pair, comparison.evaluation)
        found = printed_differences(comparison, test.sets)
        place = comparison.members()[0].variant
        labels = [_cell_label(comparison, place, name) for name in found]
        whole = comparison._replace(variant=None) if table.grid else comparison
        group = groups.setdefault(key, Group(whole, [], []))
        group.labels.extend(labels)
        group.differences.extend(found.values())
    return list(groups.values())


def _cell_label(comparison: Comparison, variant: str | None, name: str) -> str:
    """A column of a grid in words; a data set's key otherwise."""
    wanted = (comparison.evaluation, variant, name)
    columns = [c for c in comparison.table.columns if (c.evaluation, c.variant, c.set or c.name) == wanted]
    if not columns:
        return name
    named = "@" in comparison.pair[0]  # then the comparison's own label has the variants
    return columns[0].title if named else comparison.table.column_label(columns[0])


def _against(found: Sequence[Group], test: ScoreTest) -> str:
    """The cells without the claimed sign, by pair."""
    texts = [
        f"{group.comparison.label()}, {label} {signed_points(value)}"
        for group in found
        for label, value in zip(group.labels, group.differences, strict=True)
        if not signed([value - test.counted_from()], test.direction)
    ]
    if not texts:
        return ""
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return f"not so: {', '.join(texts[:_NAMED])}{more}"


def _judge_mean(found: Sequence[Group], wanted: Sequence[Group], test: ScoreTest) -> Verdict:
    """The mean over all printed differences, which a sentence about the average describes: it needs no interval."""
    if len(found) < len(wanted):
        return Verdict("not testable", reason=f"Only {len(found)} of {len(wanted)} comparisons are printed.")
    cases = [value for group in found for value in group.differences]
    mean = round(math.fsum(cases) / len(cases), PRECISION)
    outcome = judge(Interval(mean, mean, mean, 0, "cells"), test.direction, test.bound(), test.reach())
    by_column: dict[str, list[float]] = {}
    for group in found:
        for label, value in zip(group.labels, group.differences, strict=True):
            by_column.setdefault(label, []).append(value)
    if len(cases) == 1:
        reason = f"The printed difference is {_points(cases)} points ({', '.join(by_column)})."
        return Verdict("contradicted" if outcome == "undecided" else outcome, reason=reason)
    parts = ", ".join(f"{label} {_points(values)}" for label, values in by_column.items())
    rows = ", ".join(f"{group.comparison.label()} {_points(group.differences)}" for group in found)
    several = f"; by comparison: {rows}" if len(found) > 1 else ""
    reason = f"The mean of {len(cases)} printed differences is {_points(cases)} points; by column: {parts}{several}."
    return Verdict("contradicted" if outcome == "undecided" else outcome, reason=reason)


def _points(values: Sequence[float]) -> str:
    text = f"{100 * math.fsum(values) / len(values):+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def _reported_outcome(
    test: ScoreTest, found: Sequence[Sequence[float]], cases: Sequence[float], unit: Unit
) -> tuple[Outcome, Counts]:
    count, signs = needed_for(test.over, len(cases)), signed(cases, test.direction)
    counts = Counts(len(cases), count, signs, unit=unit)
    if test.over != "average":
        return ("supported" if signs >= count else "contradicted"), counts
    several = 1 - (1 - LEVEL) / len(found)
    judged = [judge(student_interval(d), test.direction, test.bound(), test.reach()) for d in found]
    surely = [judge(student_interval(d, several), test.direction, test.bound(), test.reach()) for d in found]
    if "contradicted" in surely:
        return "contradicted", counts
    return ("supported" if set(judged) == {"supported"} else "undecided"), counts


def _interval(group: Group) -> Interval:
    return student_interval(group.differences, covers="columns" if group.comparison.table.grid else "data sets")


def student_interval(differences: Sequence[float], level: float = LEVEL, covers: str = "data sets") -> Interval:
    """Student's interval of the mean, with the data sets (or a grid's columns) as the sample."""
    n = len(differences)
    mean = float(np.mean(differences))
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * float(np.std(differences, ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, 0, covers)

"""Verdicts on the cells that a paper prints, which have neither seeds nor spread."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from vlrepro.tables.claims import ScoreTest
from vlrepro.tables.comparisons import comparisons_of, labels_of, printed_differences
from vlrepro.tables.statistics import LEVEL, Interval
from vlrepro.tables.study import Study
from vlrepro.tables.verdicts import Counts, Outcome, Verdict, judge, needed_for, signed


def judge_reported(study: Study, tables: Sequence[str], test: ScoreTest) -> Verdict:
    """Judge a claim on the paper's own cells.

    Differences are paired over the data sets that both rows have; an interval is Student's, with the data sets as
    the sample, since the cells have no spread of their own. A claim about most or every data set is settled by
    counting. Comparisons with fewer than two data sets printed in both rows cannot be tested: a claim about all of
    several comparisons is then contradicted by one that is printed, but never supported.
    """
    wanted = [c for c in comparisons_of(study, tables, test, test.reported_pairs()) if c.table.printed]
    found = [(c, differences) for c in wanted if len(differences := printed_differences(c)) >= 2]
    if not found:
        return Verdict("not testable")
    cases = [value - test.counted_from() for _, differences in found for value in differences]
    outcome, counts = _reported_outcome(test, [differences for _, differences in found], cases)
    reason = None
    if len(found) < len(wanted):
        reason = f"{len(found)} of {len(wanted)} comparisons are printed"
        if test.over != "most" and outcome != "contradicted":
            return Verdict("not testable", reason=f"Only {reason}.")
    if len(found) == 1:
        return Verdict(outcome, student_interval(found[0][1]), counts, reason=reason)
    labels = labels_of(study, [comparison for comparison, _ in found])
    parts = tuple((label, student_interval(entry[1])) for label, entry in zip(labels, found, strict=True))
    return Verdict(outcome, None, counts, parts, reason)


def _reported_outcome(
    test: ScoreTest, found: Sequence[Sequence[float]], cases: Sequence[float]
) -> tuple[Outcome, Counts]:
    count, signs = needed_for(test.over, len(cases)), signed(cases, test.direction)
    counts = Counts(len(cases), count, signs, unit="data sets" if len(found) == 1 else "cases")
    if test.over != "average":
        return ("supported" if signs >= count else "contradicted"), counts
    several = 1 - (1 - LEVEL) / len(found)
    judged = [judge(student_interval(d), test.direction, test.bound(), test.reach()) for d in found]
    surely = [judge(student_interval(d, several), test.direction, test.bound(), test.reach()) for d in found]
    if "contradicted" in surely:
        return "contradicted", counts
    return ("supported" if set(judged) == {"supported"} else "undecided"), counts


def student_interval(differences: Sequence[float], level: float = LEVEL) -> Interval:
    """Student's interval of the mean, with the data sets as the sample."""
    n = len(differences)
    mean = float(np.mean(differences))
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * float(np.std(differences, ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, 0, "data sets")

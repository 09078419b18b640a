"""Verdicts on claims: supported, contradicted or undecided, with the numbers that decide.

Every claim is judged twice: on our scores, and on the cells that the paper prints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import stdtrit

from vlrepro.tables.statistics import (
    LEVEL,
    RESAMPLES,
    Interval,
    Resampled,
    Scores,
    average_over_columns,
    interval,
    paired_difference,
    resample_table,
)
from vlrepro.tables.study import ClaimTest, Direction, PaperClaim, PaperTable, Quantifier, Study

if TYPE_CHECKING:
    from vlrepro.tables.layout import SetInfo

Outcome = Literal["supported", "contradicted", "undecided", "pending", "not run", "not testable"]


@dataclass(frozen=True)
class Counts:
    """How many of `columns` differences have the claimed sign, and how many are clear of 0 on either side.

    `needed` columns with the claimed sign make the claim true. `clear_for` and `clear_against` count intervals at
    `level_for` and `level_against` (see `judge_count`); None for printed cells, which have no intervals.
    """

    columns: int
    needed: int
    signed: int
    clear_for: int | None = None
    clear_against: int | None = None
    level_for: float | None = None
    level_against: float | None = None


@dataclass(frozen=True)
class Verdict:
    """An outcome and what decided it: the mean difference over the columns, and counts of columns."""

    outcome: Outcome
    difference: Interval | None = None
    counts: Counts | None = None

    @property
    def wording(self) -> str:
        """The outcome as it is shown: what rests on one training is called so, for it may not hold for another."""
        one = self.difference is not None and self.difference.n_seeds == 1
        return f"{self.outcome} by one seed" if one and self.outcome in ("supported", "contradicted") else self.outcome


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with the verdict on our scores and on the paper's cells; `row_a` and `row_b` are row labels."""

    claim: PaperClaim
    row_a: str
    row_b: str
    example: str
    ours: Verdict
    reported: Verdict


def judge(difference: Interval | None, direction: Direction) -> Outcome:
    """Supported where the whole interval lies on the claimed side of 0, contradicted where on the other."""
    if difference is None:
        return "pending"
    sign = 1 if direction == "above" else -1
    low, high = sorted((sign * difference.low, sign * difference.high))
    return "supported" if low > 0 else "contradicted" if high < 0 else "undecided"


def judge_most(differences: Sequence[Resampled], direction: Direction) -> tuple[Outcome, Counts]:
    """Judge "in most cases": more than half of the columns have the claimed sign."""
    return judge_count(differences, direction, _needed("most", len(differences)))


def judge_every(differences: Sequence[Resampled], direction: Direction) -> tuple[Outcome, Counts]:
    """Judge "on every data set"."""
    return judge_count(differences, direction, len(differences))


def judge_count(differences: Sequence[Resampled], direction: Direction, needed: int) -> tuple[Outcome, Counts]:
    """Judge that at least `needed` of n columns have the claimed sign.

    Supported where `needed` intervals are clear of 0 on the claimed side; contradicted where n - needed + 1 are on
    the other, so that too few remain. That m of n intervals are clear shows m true signs at 95 % only when each is
    taken at 1 - 0.05 / (n - m + 1): the partial conjunction test with Bonferroni's bound, valid however the columns
    depend on each other (Benjamini and Heller, "Screening for partial conjunction hypotheses", Biometrics 2008).
    """
    n = len(differences)
    against = n - needed + 1
    level_for, level_against = 1 - (1 - LEVEL) / against, 1 - (1 - LEVEL) / needed
    other: Direction = "below" if direction == "above" else "above"
    clear_for = sum(judge(interval(cell, level_for), direction) == "supported" for cell in differences)
    clear_against = sum(judge(interval(cell, level_against), other) == "supported" for cell in differences)
    signed = _signed([float(cell.means.mean()) for cell in differences], direction)
    counts = Counts(n, needed, signed, clear_for, clear_against, level_for, level_against)
    outcome: Outcome = "undecided"
    if clear_for >= needed:
        outcome = "supported"
    elif clear_against >= against:
        outcome = "contradicted"
    return outcome, counts


def judge_reported(table: PaperTable, test: ClaimTest) -> Verdict:
    """Judge a claim on the paper's own cells.

    The difference is paired over the data sets that both rows have; its interval is Student's, with the data sets
    as the sample, since the cells have no spread of their own. A claim about most or every data set is settled by
    counting. Not testable where fewer than two data sets are printed in both rows.
    """
    first, second = (table.reported(name) for name in test.reported_rows())
    differences = [(first[name] - second[name]) / 100 for name in first if name in second]
    if len(differences) < 2:
        return Verdict("not testable")
    mean = _student_interval(differences)
    needed = _needed(test.over, len(differences))
    signed = _signed(differences, test.direction)
    counted: Outcome = "supported" if signed >= needed else "contradicted"
    outcome = judge(mean, test.direction) if test.over == "average" else counted
    return Verdict(outcome, mean, Counts(len(differences), needed, signed))


def judge_claims(
    study: Study,
    tables: Mapping[int, Mapping[tuple[str, str], Scores]],
    sets: Mapping[int, Sequence[SetInfo]],
    resamples: int = RESAMPLES,
) -> list[JudgedClaim]:
    """Judge every claim of a study.

    `tables` maps a table's number to scores keyed by (recipe, set name), `sets` to the columns of that table. The
    verdict on ours is "not run" where a row has no recipe and "pending" where a score is missing.
    Raises `UserError` for scores that cannot be.
    """
    names = {number: [entry.name for entry in entries] for number, entries in sets.items()}
    cells = {number: resample_table(scores, names[number], resamples) for number, scores in tables.items()}
    judged = []
    for claim in study.claims:
        table, test = study.table(claim.table), claim.test
        ours = judge_scores(table, test, cells.get(table.number, {}), names.get(table.number, []))
        labels = [table.row(name).full_label() for name in (test.row_a, test.row_b)]
        judged.append(JudgedClaim(claim, labels[0], labels[1], table.example, ours, judge_reported(table, test)))
    return judged


def judge_scores(
    table: PaperTable, test: ClaimTest, cells: Mapping[tuple[str, str], Resampled], columns: Sequence[str]
) -> Verdict:
    """Judge a claim on our resampled `cells`, keyed by (recipe, column)."""
    first, second = table.row(test.row_a).recipe, table.row(test.row_b).recipe
    if first is None or second is None:
        return Verdict("not run")
    found = [paired_difference(cells.get((first, name)), cells.get((second, name))) for name in columns]
    differences = [cell for cell in found if cell is not None]
    average = average_over_columns(found)
    if average is None:
        return Verdict("pending")
    outcome, counts = judge_count(differences, test.direction, _needed(test.over, len(differences)))
    mean = interval(average)
    return Verdict(judge(mean, test.direction) if test.over == "average" else outcome, mean, counts)


def explain(verdict: Verdict, test: ClaimTest, example: str) -> str:
    """The numbers behind a verdict as one sentence; differences in percentage points."""
    if verdict.difference is None or verdict.counts is None:
        return {
            "not run": "A row of this comparison has no recipe yet.",
            "pending": "Scores of this comparison are missing.",
        }.get(verdict.outcome, "The paper does not print these cells.")
    mean, counts = verdict.difference, verdict.counts
    text = f"Mean difference {signed_points(mean.value)} points [{signed_points(mean.low)}, {signed_points(mean.high)}]"
    text += f", {counts.signed} of {counts.columns} data sets {test.direction} 0"
    if test.over != "average" and counts.clear_for is not None:
        text += (
            f"; clear of 0: {counts.clear_for} {test.direction} (level {100 * counts.level_for:.1f} %),"
            f" {counts.clear_against} opposite (level {100 * counts.level_against:.1f} %); {counts.needed} needed"
        )
    return f"{text}; {_coverage(mean, example)}."


def signed_points(share: float) -> str:
    """A difference of shares in percentage points, one decimal, with its sign (a true minus); 0.0 has none."""
    text = f"{100 * share:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def _coverage(mean: Interval, example: str) -> str:
    if mean.covers == "data sets":
        return "the interval is over the paper's data sets, the only sample that is printed"
    if mean.n_seeds == 1:
        return f"one seed, so the interval covers {example}s only, not another training"
    return f"{mean.n_seeds} seeds, the interval covers seeds and {example}s"


def _student_interval(differences: Sequence[float]) -> Interval:
    n = len(differences)
    mean = float(np.mean(differences))
    half = float(stdtrit(n - 1, 0.5 + LEVEL / 2)) * float(np.std(differences, ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, 0, "data sets")


def _needed(over: Quantifier, columns: int) -> int:
    """Columns with the claimed sign that make a claim true; for a claim about the average, as for most."""
    return columns if over == "every" else columns // 2 + 1


def _signed(differences: Sequence[float], direction: Direction) -> int:
    return sum(value > 0 if direction == "above" else value < 0 for value in differences)

"""Verdicts: supported, contradicted or undecided, and the numbers that decide.

What a claim is judged on, our scores or the paper's cells, is gathered in `vlrepro.tables.judging`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vlrepro.tables.claims import Direction, Quantifier, ScoreTest
from vlrepro.tables.statistics import LEVEL, Interval, Resampled, interval

Outcome = Literal["supported", "contradicted", "undecided", "pending", "not run", "not testable"]
NAMED = 9
"""Comparisons that an explanation names one by one; a claims file has them all."""
Unit = Literal["data sets", "comparisons", "cases", "cells"]


@dataclass(frozen=True)
class Counts:
    """How many of `columns` differences have the claimed sign, and how many are clear of 0 on either side.

    `unit` says what is counted: data sets, comparisons (averages of row pairs), cases (data sets of comparisons), or
    printed cells of a grid.
    `needed` of them with the claimed sign make the claim true. `clear_for` and `clear_against` count intervals at
    `level_for` and `level_against` (see `judge_count`); None for printed cells, which have no intervals.
    """

    columns: int
    needed: int
    signed: int
    clear_for: int | None = None
    clear_against: int | None = None
    level_for: float | None = None
    level_against: float | None = None
    unit: Unit = "data sets"


@dataclass(frozen=True)
class Agreement:
    """Spearman's rho of two scores of `n` models; its ends over models, and on these models under resampling."""

    rho: float
    over_models: tuple[float, float]
    on_these: tuple[float, float]
    n: int
    n_seeds: int


@dataclass(frozen=True)
class Verdict:
    """An outcome and what decided it: the mean difference, counts, single comparisons, or a reason in words.

    `agreement` is what decided a test of that kind, which is not in points. `n_seeds` is given where the verdict rests
    on scores without being about their difference.
    """

    outcome: Outcome
    difference: Interval | None = None
    counts: Counts | None = None
    comparisons: tuple[tuple[str, Interval], ...] = ()
    reason: str | None = None
    agreement: Agreement | None = None
    n_seeds: int | None = None

    @property
    def wording(self) -> str:
        """The outcome as it is shown: what rests on one training is called so, for it may not hold for another."""
        found = self.difference or self.agreement
        one = (self.n_seeds if found is None else found.n_seeds) == 1
        return f"{self.outcome} by one seed" if one and self.outcome in ("supported", "contradicted") else self.outcome


def judge(
    difference: Interval | None, direction: Direction, margin: float = 0.0, tolerance: float | None = None
) -> Outcome:
    """Supported where the whole interval lies on the claimed side of `margin`, contradicted where on the other.

    Direction `equal`: supported within `margin` give or take `tolerance`, contradicted where wholly outside.
    """
    if difference is None:
        return "pending"
    low, high = difference.low - margin, difference.high - margin
    if direction == "equal":
        reach = tolerance or 0.0
        return "supported" if -reach <= low and high <= reach else _outside(low > reach or high < -reach)
    low, high = (low, high) if direction == "above" else (-high, -low)
    return "supported" if low > 0 else _outside(high < 0)


def judge_most(differences: Sequence[Resampled], direction: Direction) -> tuple[Outcome, Counts]:
    """Judge "in most cases": more than half of the differences have the claimed sign."""
    return judge_count(differences, direction, needed_for("most", len(differences)))


def judge_every(differences: Sequence[Resampled], direction: Direction) -> tuple[Outcome, Counts]:
    """Judge "on every data set"."""
    return judge_count(differences, direction, len(differences))


def judge_count(
    differences: Sequence[Resampled], direction: Direction, needed: int, unit: Unit = "data sets"
) -> tuple[Outcome, Counts]:
    """Judge that at least `needed` of n differences have the claimed sign.

    Supported where `needed` intervals are clear of 0 on the claimed side; contradicted where n - needed + 1 are on
    the other, so that too few remain. That m of n intervals are clear shows m true signs at 95 % only when each is
    taken at 1 - 0.05 / (n - m + 1): the partial conjunction test with Bonferroni's bound, valid however the
    differences depend on each other (Benjamini and Heller, "Screening for partial conjunction hypotheses",
    Biometrics 2008).
    """
    n = len(differences)
    against = n - needed + 1
    level_for, level_against = 1 - (1 - LEVEL) / against, 1 - (1 - LEVEL) / needed
    other: Direction = "below" if direction == "above" else "above"
    clear_for = sum(judge(interval(cell, level_for), direction) == "supported" for cell in differences)
    clear_against = sum(judge(interval(cell, level_against), other) == "supported" for cell in differences)
    signs = signed([float(cell.means.mean()) for cell in differences], direction)
    counts = Counts(n, needed, signs, clear_for, clear_against, level_for, level_against, unit)
    outcome: Outcome = "undecided"
    if clear_for >= needed:
        outcome = "supported"
    elif clear_against >= against:
        outcome = "contradicted"
    return outcome, counts


def needed_for(over: Quantifier, columns: int) -> int:
    """Columns with the claimed sign that make a claim true; for a claim about the average, as for most."""
    return columns if over == "every" else columns // 2 + 1


def signed(differences: Sequence[float], direction: Direction) -> int:
    """How many differences have the claimed sign."""
    return sum(value < 0 if direction == "below" else value > 0 for value in differences)


def explain(verdict: Verdict, test: object, examples: str) -> str:
    """The numbers behind a verdict as one sentence; differences in percentage points."""
    if verdict.difference is None and verdict.counts is None:
        return verdict.reason or {
            "not run": "A row of this comparison has no recipe yet.",
            "pending": "Scores of this comparison are missing.",
        }.get(verdict.outcome, "The paper does not print these cells.")
    words = []
    if verdict.difference is not None:
        words.append(f"Mean difference {points(verdict.difference)}")
    if verdict.counts is not None and verdict.counts.columns > 1 and isinstance(test, ScoreTest):
        words.append(_counted(verdict.counts, test))
    words += [f"{label}: {points(found)}" for label, found in verdict.comparisons[:NAMED]]
    if len(verdict.comparisons) > NAMED:
        words.append(f"and {len(verdict.comparisons) - NAMED} more comparisons")
    if verdict.reason:
        words.append(verdict.reason)
    covered = verdict.difference or (verdict.comparisons[0][1] if verdict.comparisons else None)
    if covered is not None:
        words.append(_coverage(covered, examples))
    text = "; ".join(word.rstrip(".") for word in words)
    return f"{text}."


def points(found: Interval) -> str:
    """An interval of a difference in percentage points."""
    return f"{signed_points(found.value)} points [{signed_points(found.low)}, {signed_points(found.high)}]"


def signed_points(share: float) -> str:
    """A difference of shares in percentage points, one decimal, with its sign (a true minus); 0.0 has none."""
    text = f"{100 * share:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def two_decimals(number: float) -> str:
    """A correlation (a true minus); 0.00 has no sign."""
    return f"{round(number, 2) + 0.0:.2f}".replace("-", "−")


def between(ends: tuple[float, float]) -> str:
    """An interval of a correlation."""
    return f"[{two_decimals(ends[0])}, {two_decimals(ends[1])}]"


def all_of(outcomes: Sequence[Outcome]) -> Outcome:
    """That all hold: contradicted where one is."""
    if "contradicted" in outcomes:
        return "contradicted"
    return "supported" if set(outcomes) == {"supported"} else "undecided"


def _outside(certain: bool) -> Outcome:
    return "contradicted" if certain else "undecided"


def _counted(counts: Counts, test: ScoreTest) -> str:
    bound = signed_points(test.counted_from()) if test.counted_from() else "0"
    side = "above" if test.direction == "equal" else test.direction
    text = f"{counts.signed} of {counts.columns} {counts.unit} {side} {bound}"
    if counts.clear_for is None or test.over == "mean" or (test.over == "average" and counts.unit == "data sets"):
        return text
    return (
        f"{text}; clear of it: {counts.clear_for} {side} (level {100 * counts.level_for:.1f} %),"
        f" {counts.clear_against} opposite (level {100 * counts.level_against:.1f} %); {counts.needed} needed"
    )


def _coverage(mean: Interval, examples: str) -> str:
    if mean.covers == "data sets":
        return "the interval is over the paper's data sets, the only sample that is printed"
    if mean.covers == "columns":
        return "the interval is over the table's columns, the only sample that is printed"
    if mean.covers == "pairs":
        return "the interval is over mined pairs"
    if mean.n_seeds == 1:
        return f"one seed, so the interval covers {examples} only, not another training"
    return f"{mean.n_seeds} seeds, the interval covers seeds and {examples}"

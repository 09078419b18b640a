"""Whether training costs more: seconds a step of some rows against others, from the times that runs took.

Times multiply, so their logarithms are compared. A recipe's runs are a group of a one-way layout with one spread, that
of runs of the same recipe, and the mean log ratio over all pairs is a contrast of the groups' means, whose interval is
Student's with the pooled spread (Scheffe, "The Analysis of Variance", 1959, section 3.1). A baseline that many
pairs share is thereby counted once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from vlrepro.errors import UserError
from vlrepro.tables.claims import CostTest
from vlrepro.tables.comparisons import member_of, variants_of
from vlrepro.tables.statistics import LEVEL
from vlrepro.tables.study import Study
from vlrepro.tables.verdicts import Outcome, Verdict

Timings = Mapping[str, Sequence[float]]
"""Recipe -> seconds of each of its runs, of a step or of trainings that have as many steps in all recipes compared."""


@dataclass(frozen=True)
class Ratio:
    """A geometric mean of ratios of times with its interval; no ends where no recipe has two runs."""

    value: float
    low: float | None
    high: float | None
    runs: int


def judge_cost(study: Study, tables: Sequence[str], test: CostTest, timings: Timings) -> Verdict:
    """Supported where the interval of the mean ratio ends below `test.ratio`, contradicted where it begins above.

    Pairs without times are left out; "not testable" where no pair is left or no recipe has two runs. Raises
    `UserError` for a time that is not a positive number.
    """
    wanted = _pairs(study, tables, test)
    pairs = {label: pair for label, pair in wanted.items() if all(timings.get(name) for name in pair)}
    if not pairs:
        return Verdict("not testable", reason="No times of these trainings were recorded.")
    found = mean_ratio(list(pairs.values()), timings)
    if found.low is None or found.high is None:
        text = f"{found.value:.3f} times as long in the mean over {len(pairs)} comparisons"
        return Verdict("not testable", reason=f"{text}; one run a recipe has no spread.")
    outcome: Outcome = "undecided"
    if found.high <= test.ratio:
        outcome = "supported"
    elif found.low > test.ratio:
        outcome = "contradicted"
    single = {label: mean_ratio([pair], timings).value for label, pair in pairs.items()}
    slowest = max(single, key=lambda label: single[label])
    reason = (
        f"A step takes {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] times as long in the mean over"
        f" {len(pairs)} of {len(wanted)} comparisons, {test.ratio:g} allowed; the longest is {slowest} with"
        f" {single[slowest]:.3f}; {found.runs} runs, the interval is over runs of one recipe on this machine."
    )
    return Verdict(outcome, reason=reason)


def mean_ratio(pairs: Sequence[tuple[str, str]], timings: Timings) -> Ratio:
    """The geometric mean over the pairs (a, b) of time of a / time of b, each the geometric mean over its runs."""
    shares: dict[str, float] = defaultdict(float)
    for first, second in pairs:
        shares[first] += 1 / len(pairs)
        shares[second] -= 1 / len(pairs)
    logs = {name: np.log(_checked(name, timings[name])) for name in shares}
    value = math.fsum(share * float(logs[name].mean()) for name, share in shares.items())
    runs = sum(len(entry) for entry in logs.values())
    free = runs - len(logs)
    if free == 0:
        return Ratio(math.exp(value), None, None, runs)
    spread = math.fsum(float(((entry - entry.mean()) ** 2).sum()) for entry in logs.values()) / free
    variance = spread * math.fsum(share**2 / len(logs[name]) for name, share in shares.items())
    half = float(stdtrit(free, 0.5 + LEVEL / 2)) * math.sqrt(variance)
    return Ratio(math.exp(value), math.exp(value - half), math.exp(value + half), runs)


def _pairs(study: Study, tables: Sequence[str], test: CostTest) -> dict[str, tuple[str, str]]:
    """Label -> recipes of each pair in each variant; what a row is blank in is left out."""
    found = {}
    for table in map(study.table, tables):
        for pair in test.pairs:
            for variant in variants_of(table, test):
                first, second = (member_of(table, name, variant) for name in pair)
                if first.key and second.key:
                    title = table.variants.get(first.variant or "", "")
                    label = f"{first.row.minus(second.row).replace(' minus ', ' against ')}"
                    found[f"{label}, {title}" if title else label] = (first.key, second.key)
    return found


def _checked(name: str, seconds: Sequence[float]) -> np.ndarray:
    values = np.asarray(seconds, dtype=np.float64)
    if values.ndim != 1 or not np.all(np.isfinite(values) & (values > 0)):
        raise UserError(f"times of {name}: not a list of positive numbers of seconds: measure them again")
    return values

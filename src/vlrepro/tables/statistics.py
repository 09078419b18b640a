"""Means, paired differences and averages over data sets, each with a bootstrap interval.

A cell is a matrix of scores, seeds x test examples (test images, or episodes in few-shot). Both seeds and
examples are samples, and the two are crossed: every seed meets every example. So seeds and examples are resampled
independently of each other and a resample weighs the score of seed s on example e by u[s] * v[e]: the pigeonhole
bootstrap (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007).

Example weights are keyed by the column alone and seed weights by the seeds alone. All rows of a column therefore
share their resamples and all columns share their seed weights, which makes a difference of rows paired and an
average of columns a plain mean of resamples: both are again a `Resampled`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from vlrepro.errors import UserError
from vlrepro.randomness import numpy_generator
from vlrepro.tables.study import AVERAGE

Array = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95
_CHUNK_NUMBERS = 1 << 21
"""Weights held at a time: 16 MB of float64."""


@dataclass(frozen=True)
class Scores:
    """The scores of one cell: `values` (n_seeds, n_examples) in [0, 1], one row for each of `seeds`.

    `weights` (n_examples,) sum to 1 and replace 1/n_examples, for instance 1 / (classes * images of the class) for a
    mean over classes.
    """

    values: Array
    seeds: tuple[int, ...]
    weights: Array | None = None


@dataclass(frozen=True)
class Resampled:
    """A statistic that is linear in seeds: for each seed its value and its value under each example resample.

    `means` (n_seeds,) and `draws` (n_seeds, n_resamples), seeds ascending.
    """

    seeds: tuple[int, ...]
    means: Array
    draws: Array

    def of(self, seeds: Sequence[int]) -> Resampled:
        """The same statistic for some of its seeds."""
        rows = [self.seeds.index(seed) for seed in sorted(seeds)]
        return Resampled(tuple(sorted(seeds)), self.means[rows], self.draws[rows])


@dataclass(frozen=True)
class Interval:
    """A mean (a share, or a difference of shares) with its interval, and what the interval covers."""

    value: float
    low: float
    high: float
    n_seeds: int
    covers: str


def resample_table(
    scores: Mapping[tuple[str, str], Scores], columns: Sequence[str], resamples: int = RESAMPLES
) -> dict[tuple[str, str], Resampled]:
    """Resample all cells of a table and add the average over `columns` under the column name `avg`.

    `scores` is keyed by (row, column). A row has an average only when it has every column and a seed that all of
    its columns share. Raises `UserError` for scores that cannot be: see `resample_column`.
    """
    result: dict[tuple[str, str], Resampled] = {}
    for column in columns:
        rows = {row: cell for (row, name), cell in scores.items() if name == column and cell.seeds}
        result |= {(row, column): cell for row, cell in resample_column(rows, column, resamples).items()}
    return with_averages(result, columns)


def with_averages(
    cells: Mapping[tuple[str, str], Resampled], columns: Sequence[str]
) -> dict[tuple[str, str], Resampled]:
    """The cells by (row, column), and under the column name `avg` the average of each row that has every column."""
    result = dict(cells)
    for row in dict.fromkeys(row for row, _ in cells):
        average = average_over_columns([cells.get((row, column)) for column in columns])
        if average is not None:
            result[row, AVERAGE] = average
    return result


def resample_column(
    rows: Mapping[Hashable, Scores], column: str, resamples: int = RESAMPLES
) -> dict[Hashable, Resampled]:
    """Resample the test examples of one column, with the same weights in every row.

    A row's result depends on its own scores and the column's name and size, not on the other rows. With `weights` a
    resample is normalised to sum 1 (a Hajek mean), which leaves in the spread between classes that a resampling
    within classes would take out: such an interval is too wide rather than too narrow.
    Raises `UserError` where shapes, seeds, ranges or weights do not fit or rows differ in their examples.
    """
    if not rows:
        return {}
    weights = _common_weights(rows, column)
    ordered = {name: _by_seed(cell) for name, cell in rows.items()}
    draws = {name: np.empty((len(cell.seeds), resamples)) for name, cell in ordered.items()}
    for span, drawn in example_weights(column, weights, resamples):
        for name, cell in ordered.items():
            draws[name][:, span] = cell.values @ drawn.T
    return {name: Resampled(cell.seeds, cell.values @ weights, draws[name]) for name, cell in ordered.items()}


def average_over_columns(columns: Sequence[Resampled | None]) -> Resampled | None:
    """The mean of columns with the same seed weights and independent example weights.

    The data sets are fixed: the interval covers seeds and test examples, not the choice of data sets. None where a
    column is missing or no seed is common to all.
    """
    present = [column for column in columns if column is not None]
    if not present or len(present) < len(columns):
        return None
    seeds = set.intersection(*(set(column.seeds) for column in present))
    if not seeds:
        return None
    parts = [column.of(tuple(seeds)) for column in present]
    return Resampled(
        parts[0].seeds, np.mean([part.means for part in parts], axis=0), np.mean([part.draws for part in parts], axis=0)
    )


def paired_difference(a: Resampled | None, b: Resampled | None) -> Resampled | None:
    """Row `a` minus row `b` of one column (or of the average), on the seeds that both have.

    None where a row is missing or no seed is common.
    """
    if a is None or b is None:
        return None
    common = tuple(seed for seed in a.seeds if seed in b.seeds)
    if not common:
        return None
    first, second = a.of(common), b.of(common)
    return Resampled(first.seeds, first.means - second.means, first.draws - second.draws)


def shifted(cell: Resampled, by: float) -> Resampled:
    """The same statistic minus a constant."""
    return Resampled(cell.seeds, cell.means - by, cell.draws - by)


def interval(cell: Resampled, level: float = LEVEL, lowest: float = -1.0, highest: float = 1.0) -> Interval:
    """Mean over seeds, plus or minus z times the standard deviation of the pigeonhole bootstrap.

    z is the two-sided normal quantile of `level`. With n seeds, the seed weights' deviations from 1/n are scaled by
    sqrt(n / (n - 1)) * t / z, t being Student's quantile with n - 1 degrees of freedom: where seeds are all that
    varies, the interval is Student's. Percentiles of the resamples are not used, because two or three seeds have
    too few resamples for them. One seed says nothing of other seeds: the interval then covers test examples only
    and says so. Ends are cut at `lowest` and `highest`, the range of the statistic.
    """
    n = len(cell.seeds)
    quantile = float(ndtri(0.5 + level / 2))
    weights = seed_weights(cell.seeds, cell.draws.shape[1], level)
    estimate = float(cell.means.mean())
    resampled = np.einsum("bs,sb->b", weights, cell.draws)
    half = quantile * math.sqrt(float(np.mean((resampled - estimate) ** 2)))
    low, high = (min(max(end, lowest), highest) for end in (estimate - half, estimate + half))
    return Interval(estimate, low, high, n, "examples" if n == 1 else "seeds and examples")


def mean_interval(cell: Resampled, level: float = LEVEL) -> Interval:
    """`interval` of a share, cut to [0, 1]."""
    return interval(cell, level, lowest=0.0)


def seed_weights(seeds: Sequence[int], resamples: int, level: float = LEVEL) -> Array:
    """Weights (resamples, n_seeds), each row summing to 1; single weights may be negative. See `interval`."""
    n = len(seeds)
    if n == 1:
        return np.ones((resamples, 1))
    generator = numpy_generator("pigeonhole", "seeds", ",".join(map(str, seeds)))
    counts = generator.multinomial(n, np.full(n, 1 / n), size=resamples)
    widening = math.sqrt(n / (n - 1)) * float(stdtrit(n - 1, 0.5 + level / 2) / ndtri(0.5 + level / 2))
    return 1 / n + widening * (counts / n - 1 / n)


def example_weights(column: str, weights: Array, resamples: int) -> Iterator[tuple[slice, Array]]:
    """Blocks of resamples: (which resamples, weights (block, n_examples) whose rows sum to 1).

    `weights` (n_examples,) are the weights before resampling. The draws depend on the column and n_examples only.
    """
    n = len(weights)
    generator = numpy_generator("pigeonhole", "examples", column, n)
    block = max(1, _CHUNK_NUMBERS // n)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = generator.integers(0, n, size=(size, n)) + np.arange(size)[:, None] * n
        weighted = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n) * weights
        yield slice(start, start + size), weighted / weighted.sum(axis=1, keepdims=True)


def _by_seed(cell: Scores) -> Scores:
    order = np.argsort(cell.seeds)
    return Scores(np.asarray(cell.values, dtype=np.float64)[order], tuple(sorted(cell.seeds)), cell.weights)


def _common_weights(rows: Mapping[Hashable, Scores], column: str) -> Array:
    """The example weights that all rows share, after checking every row."""
    for name, cell in rows.items():
        _check(cell, f"{name} on {column}")
    first = _weights_of(next(iter(rows.values())))
    for name, cell in rows.items():
        if not np.array_equal(_weights_of(cell), first):
            raise UserError(f"{name} on {column}: other test examples than the other rows: evaluate all rows alike")
    return first


def _weights_of(cell: Scores) -> Array:
    n = cell.values.shape[1]
    return np.full(n, 1 / n) if cell.weights is None else np.asarray(cell.weights, dtype=np.float64)


def _check(cell: Scores, name: str) -> None:
    shape = np.shape(cell.values)
    problem = None
    if len(shape) != 2 or shape[0] != len(cell.seeds) or shape[1] == 0:
        problem = f"scores of shape {shape} for {len(cell.seeds)} seeds"
    elif len(set(cell.seeds)) < len(cell.seeds):
        problem = "a seed is given twice"
    elif not np.all((np.asarray(cell.values) >= 0) & (np.asarray(cell.values) <= 1)):
        problem = "scores that are not numbers in [0, 1]"
    elif cell.weights is not None and np.shape(cell.weights) != shape[1:]:
        problem = f"weights of shape {np.shape(cell.weights)} for {shape[1]} examples"
    elif cell.weights is not None and (np.min(cell.weights) < 0 or abs(np.sum(cell.weights) - 1) > 1e-6):
        problem = "weights that are negative or do not sum to 1"
    if problem:
        raise UserError(f"{name}: {problem}: remove the metrics file and evaluate again")

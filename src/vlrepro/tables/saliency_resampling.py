"""Set scores under the tables' resamples of test images, so that their differences are paired like all others."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from vlrepro.errors import UserError
from vlrepro.saliency.statistics import Statistic
from vlrepro.tables.statistics import RESAMPLES, Resampled, example_weights, with_averages


def resample_statistics(
    rows: Mapping[Hashable, Mapping[int, Statistic]], column: str, resamples: int = RESAMPLES
) -> dict[Hashable, Resampled]:
    """Resample the images of one column, with the same weights in every row: row -> its score by seed and resample.

    `rows` maps a row to the statistic of each of its seeds. The weights are those of
    `vlrepro.tables.statistics.resample_column` for the same column name and number of images: a score that is a mean
    over images gets the same draws from both, and differences to other scores of the column are paired. A score that is
    a ratio of sums is computed anew in every resample, which a mean of resampled per-image ratios would not be.
    Raises `UserError` where a row has no seed or rows differ in their number of images.
    """
    counts = {name: {statistic.n for statistic in seeds.values()} for name, seeds in rows.items()}
    n = _common(counts, column)
    ordered = {name: [seeds[seed] for seed in sorted(seeds)] for name, seeds in rows.items()}
    draws = {name: np.empty((len(seeds), resamples)) for name, seeds in ordered.items()}
    for span, weights in example_weights(column, np.full(n, 1 / n), resamples):
        for name, seeds in ordered.items():
            draws[name][:, span] = [statistic.under(weights) for statistic in seeds]
    even = np.full((1, n), 1 / n)
    means = {name: np.array([statistic.under(even)[0] for statistic in seeds]) for name, seeds in ordered.items()}
    return {name: Resampled(tuple(sorted(rows[name])), means[name], draws[name]) for name in rows}


def _common(counts: Mapping[Hashable, set[int]], column: str) -> int:
    found = set().union(*counts.values())
    if len(found) != 1 or not all(counts.values()) or 0 in found:
        sizes = ", ".join(f"{name}: {sorted(of)}" for name, of in counts.items())
        raise UserError(f"{column}: rows differ in their images or have none ({sizes}): evaluate all rows alike")
    return found.pop()


def resample_statistic_table(
    statistics: Mapping[tuple[str, str], Mapping[int, Statistic]], columns: Sequence[str], resamples: int = RESAMPLES
) -> dict[tuple[str, str], Resampled]:
    """As `vlrepro.tables.statistics.resample_table`, for scores that are computed anew in every resample."""
    result: dict[tuple[str, str], Resampled] = {}
    for column in columns:
        rows = {row: seeds for (row, name), seeds in statistics.items() if name == column}
        if rows:
            result |= {(row, column): cell for row, cell in resample_statistics(rows, column, resamples).items()}
    return with_averages(result, columns)

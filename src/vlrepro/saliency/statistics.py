"""Scores of a set of images that can be computed again under any weights of the images.

A bootstrap over images draws weights; a mean of per-image values is linear in them, but an IoU accumulated over the set
is a ratio of sums and a precision-recall curve over the set is neither. So a score keeps what each image contributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlrepro.errors import UserError
from vlrepro.saliency.canvas import Array


class Statistic(Protocol):
    """A score of `n` images."""

    @property
    def n(self) -> int:
        """How many images are scored."""

    @property
    def value(self) -> float:
        """The score of the set."""

    def under(self, weights: Array) -> Array:
        """The score, (r,), under each row of image weights (r, n): non-negative, of any positive sum."""

    def of(self, chosen: NDArray) -> Statistic:
        """The score of some of the images, by position or flag."""


@dataclass(frozen=True)
class Ratio:
    """The mean over k parts of a sum over images divided by another: `numerators` and `denominators` are (n, k).

    Where a part's denominator is 0 its ratio is 1: neither prediction nor mask has what the part counts, so they agree.
    """

    numerators: Array
    denominators: Array

    @property
    def n(self) -> int:
        """How many images are scored."""
        return len(self.numerators)

    @property
    def value(self) -> float:
        """The score of the set."""
        return float(self.under(np.ones((1, self.n)))[0])

    @property
    def images(self) -> Array:
        """The score of each image on its own, (n,)."""
        return _quotients(self.numerators, self.denominators)

    def under(self, weights: Array) -> Array:
        """The score under each row of image weights: (r, n) to (r,)."""
        return _quotients(weights @ self.numerators, weights @ self.denominators)

    def of(self, chosen: NDArray) -> Ratio:
        """The score of some of the images, by position or flag."""
        return Ratio(self.numerators[chosen], self.denominators[chosen])

    def per_image(self) -> Ratio:
        """The mean over images of each image's own score, every image weighing the same."""
        return mean_of(self.images)


def mean_of(values: ArrayLike) -> Ratio:
    """A plain mean over images of `values` (n,)."""
    column = np.asarray(values, dtype=np.float64)[:, None]
    return Ratio(column, np.ones_like(column))


def _quotients(numerators: Array, denominators: Array) -> Array:
    there = denominators > 0
    return np.where(there, numerators / np.where(there, denominators, 1), 1.0).mean(axis=-1)


@dataclass(frozen=True)
class PooledPrecision:
    """Average precision over the pixels of all images together, at fixed levels of the map.

    `positives` and `totals` (n, levels): object pixels and all valid pixels of each image at each level, ascending.
    """

    positives: Array
    totals: Array

    @property
    def n(self) -> int:
        """How many images are scored."""
        return len(self.totals)

    @property
    def value(self) -> float:
        """The score of the set."""
        return float(self.under(np.ones((1, self.n)))[0])

    def under(self, weights: Array) -> Array:
        """The score under each row of image weights: (r, n) to (r,)."""
        positives = (weights @ self.positives)[:, ::-1]
        found = np.cumsum(positives, axis=1)
        called = np.cumsum((weights @ self.totals)[:, ::-1], axis=1)
        precision = found / np.where(called > 0, called, 1)
        return (positives * precision).sum(axis=1) / found[:, -1]

    def of(self, chosen: NDArray) -> PooledPrecision:
        """The score of some of the images, by position or flag."""
        return PooledPrecision(self.positives[chosen], self.totals[chosen])


_KINDS = {"ratio": Ratio, "pooled_precision": PooledPrecision}


def to_plain(statistic: Statistic) -> dict[str, Any]:
    """What a metrics file holds of a statistic: its kind and lists of numbers, exact."""
    kind = next(name for name, of in _KINDS.items() if isinstance(statistic, of))
    arrays = {field.name: getattr(statistic, field.name) for field in fields(statistic)}
    whole = {name: np.array_equal(values, np.rint(values)) for name, values in arrays.items()}
    return {"kind": kind} | {
        name: (values.astype(np.int64) if whole[name] else values).tolist() for name, values in arrays.items()
    }


def from_plain(plain: Mapping[str, Any]) -> Statistic:
    """The statistic that `to_plain` wrote. Raises `UserError` for what it did not write."""
    kind = _KINDS.get(plain.get("kind", ""))
    if kind is None or set(plain) != {"kind", *(field.name for field in fields(kind))}:
        raise UserError(f"no statistic in the keys {', '.join(plain)}: remove the metrics file and evaluate again")
    return kind(**{name: np.array(values, np.float64) for name, values in plain.items() if name != "kind"})

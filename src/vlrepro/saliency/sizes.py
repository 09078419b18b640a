"""Results by what the object is like: its size and how far from the centre it lies.

A map that looks at no picture does well on large, centred objects; small and distant ones tell models apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from vlrepro.errors import UserError
from vlrepro.saliency.canvas import IGNORE, OBJECT, Array, Masks
from vlrepro.saliency.statistics import Statistic

SIZE_EDGES = (0.05, 0.25, 0.5)
"""Between object sizes, as in Gao et al., "Large-scale Unsupervised Semantic Segmentation" (TPAMI 2022)."""


def object_shares(masks: Masks) -> Array:
    """The object's share of each image's valid pixels, (n,)."""
    return (masks == OBJECT).sum(axis=(1, 2)) / (masks != IGNORE).sum(axis=(1, 2))


def centre_distances(masks: Masks) -> Array:
    """From each object's centre of mass to the centre of the canvas, (n,), 1 being the distance of a corner."""
    height, width = masks.shape[1:]
    flags = masks == OBJECT
    size = flags.sum(axis=(1, 2))
    y = flags.sum(axis=2) @ (np.arange(height) + 0.5) / size
    x = flags.sum(axis=1) @ (np.arange(width) + 0.5) / size
    return np.hypot(y - height / 2, x - width / 2) / np.hypot(height / 2, width / 2)


def bin_names(edges: Sequence[float] = SIZE_EDGES) -> tuple[str, ...]:
    """Names of the bins between ascending `edges` in percent, such as `0-5%`."""
    ends = [f"{round(100 * edge, 1):g}" for edge in (0, *edges, 1)]
    return tuple(f"{low}-{high}%" for low, high in itertools.pairwise(ends))


def by_bin(statistic: Statistic, shares: Array, edges: Sequence[float] = SIZE_EDGES) -> dict[str, Statistic]:
    """A score on the images of each bin of `shares` (n,): bin name -> statistic; its `n` is the bin's size.

    A value on an edge belongs to the lower bin. Bins without images are left out.
    Raises `UserError` where `shares` are not those of the statistic's images.
    """
    if shares.shape != (statistic.n,):
        raise UserError(f"{shares.shape} shares for {statistic.n} images: pass one share an image")
    bins = np.searchsorted(edges, shares, side="left")
    names = bin_names(edges)
    return {names[number]: statistic.of(bins == number) for number in np.unique(bins).tolist()}

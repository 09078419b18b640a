"""What maps and masks are, and what all scores do with them first.

A map is (H, W) floats: how much each pixel speaks for the object. A mask is (H, W) uint8: `BACKGROUND`, `OBJECT`, or
`IGNORE` for pixels that nobody labelled. Everywhere here an ignored pixel is treated as if the picture did not have
it: it enters no count, no mean and no maximum, so no score can depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vlrepro.errors import UserError

BACKGROUND, OBJECT, IGNORE = 0, 1, 255
Maps = NDArray[np.floating]  # (n, H, W)
Masks = NDArray[np.uint8]  # (n, H, W)
Flags = NDArray[np.bool_]
Array = NDArray[np.float64]

_BLOCK_PIXELS = 1 << 20
"""Pixels handled at a time: a score's temporaries then take some 50 MB, however large the set."""


def check(maps: NDArray, masks: Masks) -> None:
    """Raise `UserError` where maps and masks do not fit each other or hold what they must not.

    Every mask needs an object pixel: of an empty one no score of the object is defined.
    """
    if maps.ndim != 3 or maps.shape != masks.shape or not maps.size:
        raise UserError(f"maps of shape {maps.shape} and masks of shape {masks.shape}: pass (n, H, W) of both, n >= 1")
    if masks.dtype != np.uint8 or not np.isin(np.unique(masks), (BACKGROUND, OBJECT, IGNORE)).all():
        found = ", ".join(map(str, np.unique(masks)[:5]))
        raise UserError(f"masks of {masks.dtype} with the values {found}: pass uint8 of 0, 1 and {IGNORE} (ignore)")
    if empty := np.flatnonzero(~(masks == OBJECT).any(axis=(1, 2))).tolist():
        raise UserError(f"mask {empty[0]} has no object pixel ({len(empty)} such): leave such pictures out")
    if maps.dtype != np.bool_ and (bad := np.flatnonzero(~np.isfinite(maps).all(axis=(1, 2))).tolist()):
        raise UserError(f"map {bad[0]} has a value that is no finite number ({len(bad)} such): mend what makes the map")


def blocks(maps: NDArray) -> Iterator[slice]:
    """Slices of the first axis of `maps` (n, H, W) that hold about `_BLOCK_PIXELS` pixels each."""
    size = max(1, _BLOCK_PIXELS // max(1, maps[0].size))
    for start in range(0, len(maps), size):
        yield slice(start, start + size)


def rows(maps: NDArray) -> NDArray:
    """Maps (n, H, W) as one row of pixels an image, (n, H * W)."""
    return maps.reshape(len(maps), -1)


def extremes(maps: Maps, masks: Masks) -> tuple[Array, Array]:
    """The lowest and highest value of each map, both (n, 1, 1) float64."""
    valid = masks != IGNORE
    low = np.min(maps, axis=(1, 2), where=valid, initial=np.inf, keepdims=True)
    high = np.max(maps, axis=(1, 2), where=valid, initial=-np.inf, keepdims=True)
    return low.astype(np.float64), high.astype(np.float64)


def rescaled(maps: Maps, masks: Masks) -> Array:
    """Each map shifted and scaled to lowest value 0 and highest 1, (n, H, W) float64.

    A constant map says nothing, so it becomes 1/2 everywhere.
    """
    low, high = extremes(maps, masks)
    span = high - low
    scaled = np.clip((maps - low) / np.where(span > 0, span, 1), 0, 1)
    return np.where(span > 0, scaled, 0.5)

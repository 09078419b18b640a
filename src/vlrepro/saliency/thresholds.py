"""From a map to a prediction: which pixels are called object.

No threshold sees the masks of the images that are scored; `best_threshold` is fitted on training masks and passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlrepro.errors import UserError
from vlrepro.saliency.canvas import IGNORE, OBJECT, Array, Flags, Maps, Masks, blocks, check, extremes, rescaled, rows

LEVELS = 1024  # steps of a rescaled map; a power of two, so that scaling by it is exact
_RULES = ("mean", "quantile", "value", "level")


@dataclass(frozen=True)
class Threshold:
    """Pixels strictly above it are called object; a constant map is all background unless the rule is `value`.

    `mean`: above the map's mean, as for non-negative maps in the scripts of Gur, Ali and Wolf, "Visualization of
    Supervised and Self-Supervised Neural Networks via Attribution Guided Factorization" (AAAI 2021), and in Chefer, Gur
    and Wolf, "Transformer Interpretability Beyond Attention Visualization" (CVPR 2021).
    `quantile`: above the map's own quantile `at`, so that at most a share of 1 - `at` is object.
    `value`: above the number `at`; 0 is Gur et al.'s rule for signed maps.
    `level`: above `at` after each map is rescaled to [0, 1] (`best_threshold`).
    """

    rule: Literal["mean", "quantile", "value", "level"]
    at: float = 0.0

    def __post_init__(self) -> None:
        if self.rule not in _RULES or (self.rule in ("quantile", "level") and not 0 <= self.at <= 1):
            shares = "quantile and level take a share"
            raise UserError(f"threshold {self.rule} at {self.at}: choose {', '.join(_RULES)}; {shares} from 0 to 1")


MEAN = Threshold("mean")
ZERO = Threshold("value", 0.0)


def binarise(maps: Maps, masks: Masks, threshold: Threshold) -> Flags:
    """Predictions (n, H, W) of maps (n, H, W); of `masks` only `IGNORE` is read.

    What is predicted at ignored pixels means nothing. Raises `UserError` as `check` does.
    """
    check(maps, masks)
    result = np.empty(maps.shape, bool)
    for block in blocks(maps):
        result[block] = _binarised(maps[block], masks[block], threshold)
    return result


def _binarised(maps: Maps, masks: Masks, threshold: Threshold) -> Flags:
    if threshold.rule == "value":
        return maps > threshold.at
    low, high = extremes(maps, masks)
    if threshold.rule == "level":
        above = rescaled(maps, masks) > threshold.at
    elif threshold.rule == "mean":
        above = maps > np.mean(maps, axis=(1, 2), where=masks != IGNORE, keepdims=True, dtype=np.float64)
    else:
        above = maps > _quantiles(maps, masks, threshold.at)
    return above & (high > low)  # the mean of equal numbers may fall below them by rounding


def _quantiles(maps: Maps, masks: Masks, share: float) -> Array:
    """The value of each map at position floor(share * (pixels - 1)) of its sorted valid pixels, (n, 1, 1)."""
    valid = rows(masks != IGNORE)
    values = np.sort(np.where(valid, rows(maps), np.inf), axis=1)  # ignored pixels go to the end
    places = np.floor(share * (valid.sum(axis=1, keepdims=True) - 1)).astype(np.int64)
    return np.take_along_axis(values, places, axis=1)[:, :, None]


def level_counts(maps: Maps, masks: Masks) -> tuple[Array, Array]:
    """Object pixels and valid pixels of each image at each level of its rescaled map: both (n, LEVELS + 1).

    A pixel of rescaled value s is at level ceil(s * LEVELS), so s > k / LEVELS exactly where its level is above k.
    Raises `UserError` as `check` does.
    """
    check(maps, masks)
    width = LEVELS + 1
    positives, totals = np.empty((len(maps), width)), np.empty((len(maps), width))
    for block in blocks(maps):
        levels = np.ceil(rescaled(maps[block], masks[block]) * LEVELS).astype(np.int64)
        places = levels + np.arange(len(levels))[:, None, None] * width
        shape = (len(levels), width)
        for counts, wanted in ((positives, masks[block] == OBJECT), (totals, masks[block] != IGNORE)):
            counts[block] = np.bincount(places[wanted], minlength=len(levels) * width).reshape(shape)
    return positives, totals


def best_threshold(maps: Maps, masks: Masks) -> Threshold:
    """The level with the best mean of background and object IoU, accumulated over training maps (n, H, W).

    All multiples of 1 / LEVELS are tried; the lowest of the best is taken. Choosing the threshold on the scored images
    would favour whoever needs it most (Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right",
    CVPR 2020), so pass images that are not scored. Raises `UserError` as `check` does.
    """
    positives, totals = (counts.sum(axis=0) for counts in level_counts(maps, masks))
    found = positives.sum() - np.cumsum(positives)  # object pixels above level k, for each k
    called = totals.sum() - np.cumsum(totals)
    wrong = (called - found) + (positives.sum() - found)
    right = totals.sum() - found - wrong
    background = right / np.maximum(right + wrong, 1)
    best = int(np.argmax(found / (found + wrong) + background))
    return Threshold("level", best / LEVELS)

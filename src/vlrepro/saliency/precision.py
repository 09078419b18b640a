"""Average precision of maps, in the variants that are all called mAP. None needs a threshold.

All are step sums over the distinct values of the map, highest first: AP = sum_k (R_k - R_(k-1)) P_k, as in
scikit-learn's `average_precision_score`; tied pixels enter together. A constant map therefore has the share of positive
entries as its AP: the object's share of the valid pixels, or 1/2 where both classes are ranked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vlrepro.saliency.canvas import BACKGROUND, IGNORE, OBJECT, Array, Flags, Maps, Masks, blocks, check, rescaled, rows
from vlrepro.saliency.statistics import PooledPrecision, Ratio, mean_of
from vlrepro.saliency.thresholds import level_counts


def average_precision(maps: Maps, masks: Masks) -> Ratio:
    """AP of the object's pixels ranked by the map, in each image; the mean over images.

    Chance is the object's share. Invariant under increasing transforms of each map. Raises `UserError` as
    `vlrepro.saliency.canvas.check` does.
    """
    check(maps, masks)
    parts = [
        _precision(rows(maps[block]), rows(masks[block] == OBJECT), rows(masks[block] != IGNORE))
        for block in blocks(maps)
    ]
    return mean_of(np.concatenate(parts))


def two_class_average_precision(maps: Maps, masks: Masks) -> Ratio:
    """AP of one list with every pixel twice, as object with the rescaled map s and as background with 1 - s.

    The mAP of Chefer, Gur and Wolf, "Transformer Interpretability Beyond Attention Visualization" (CVPR 2021): both
    classes in one list (micro average), each image's list on its own, the mean over images. Half of the entries are
    positive, so chance is 1/2, not the object's share. Unlike `average_precision` it depends on the map's values, not
    only on their order: object and background pixels are compared through s and 1 - s.
    Raises `UserError` as `vlrepro.saliency.canvas.check` does.
    """
    check(maps, masks)
    parts = []
    for block in blocks(maps):
        scores, valid = rows(rescaled(maps[block], masks[block])), rows(masks[block] != IGNORE)
        labels = np.hstack([rows(masks[block] == BACKGROUND), rows(masks[block] == OBJECT)])
        parts.append(_precision(np.hstack([1 - scores, scores]), labels, np.hstack([valid, valid])))
    return mean_of(np.concatenate(parts))


def pooled_average_precision(maps: Maps, masks: Masks) -> PooledPrecision:
    """AP of the object's pixels of all images in one list, each map rescaled to [0, 1] and rounded up to 1/1024.

    The PxAP of Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right" (CVPR 2020): one threshold
    for all images at each point of the curve, so maps must be comparable between images too. Fixed levels make it
    computable under resampled images from counts alone. Raises `UserError` as `vlrepro.saliency.canvas.check` does.
    """
    return PooledPrecision(*level_counts(maps, masks))


def _precision(scores: NDArray[np.floating], labels: Flags, valid: Flags) -> Array:
    """AP of each row of (m, N): `labels` marks positive entries, those not `valid` are skipped."""
    order = np.argsort(-scores, axis=1)
    ranked = np.take_along_axis(scores, order, axis=1)
    found = np.cumsum(np.take_along_axis(labels, order, axis=1), axis=1, dtype=np.int32)
    called = np.cumsum(np.take_along_axis(valid, order, axis=1), axis=1, dtype=np.int32)
    last = np.ones(ranked.shape, bool)  # of its group of ties
    np.not_equal(ranked[:, 1:], ranked[:, :-1], out=last[:, :-1])
    # What was found up to the end of the group before: the largest count among earlier ends.
    before = np.zeros_like(found)
    before[:, 1:] = np.maximum.accumulate(np.where(last, found, 0), axis=1)[:, :-1]
    steps = np.where(last, found - before, 0)
    return (steps * (found / np.maximum(called, 1))).sum(axis=1) / found[:, -1]

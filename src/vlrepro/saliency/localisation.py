"""Scores that ask where a map points, not how well it outlines: pointing game, energy share, rank accuracy."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from vlrepro.saliency.canvas import IGNORE, OBJECT, Array, Flags, Maps, Masks, blocks, check, rescaled, rows
from vlrepro.saliency.statistics import Ratio, mean_of

TOLERANCE = 15 / 500
"""The pointing game's 15 pixels on pictures about 500 wide, as a share of the longer side."""


def pointing_game(maps: Maps, masks: Masks, tolerance: float | None = None) -> Ratio:
    """The share of images whose highest pixel lies on the object or at most `tolerance` pixels from it.

    Zhang et al., "Top-Down Neural Attention by Excitation Backprop" (ECCV 2016), section 4.1, allow 15 pixels; here the
    default is `TOLERANCE` of the longer side, so that the rule means the same on every canvas. Distances are Euclidean,
    between pixel centres. Of tied maxima the share that hits counts, so a constant map hits as often as a random
    pixel. The paper's mean over classes is the mean of the classes' own values (`Ratio.of`).
    Raises `UserError` as `vlrepro.saliency.canvas.check` does.
    """
    check(maps, masks)
    reach = TOLERANCE * max(maps.shape[1:]) if tolerance is None else tolerance
    return mean_of([_hit(one, mask, reach) for one, mask in zip(maps, masks, strict=True)])


def _hit(one: Maps, mask: Masks, reach: float) -> float:
    values = np.where(mask == IGNORE, -np.inf, one)
    highest = values == values.max()
    if (mask[highest] == OBJECT).all():
        return 1.0
    return float((distance_transform_edt(mask != OBJECT)[highest] <= reach).mean())


def energy_share(maps: Maps, masks: Masks) -> Ratio:
    """The share of the rescaled map's sum that lies on the object; the mean over images.

    The energy-based pointing game of Wang et al., "Score-CAM" (CVPR Workshops 2020), section 4.3, with the mask instead
    of a box. A constant map has the object's share. Raises `UserError` as `vlrepro.saliency.canvas.check` does.
    """
    check(maps, masks)
    shares = []
    for block in blocks(maps):
        scaled = rescaled(maps[block], masks[block])
        total = scaled.sum(axis=(1, 2), where=masks[block] != IGNORE)  # over 0: some pixel is 1, or all are 1/2
        shares.append(scaled.sum(axis=(1, 2), where=masks[block] == OBJECT) / total)
    return mean_of(np.concatenate(shares))


def rank_accuracy(maps: Maps, masks: Masks) -> Ratio:
    """The object's share among the K highest pixels, K being its size; the mean over images.

    The relevance rank accuracy of Arras, Osman and Samek, "CLEVR-XAI" (Information Fusion 2022). Of pixels that tie for
    the last places the expected share counts, so a constant map has the object's share.
    Raises `UserError` as `vlrepro.saliency.canvas.check` does.
    """
    check(maps, masks)
    parts = [
        _rank(rows(maps[block]), rows(masks[block] == OBJECT), rows(masks[block] != IGNORE)) for block in blocks(maps)
    ]
    return mean_of(np.concatenate(parts))


def _rank(scores: Maps, labels: Flags, valid: Flags) -> Array:
    size = labels.sum(axis=1, keepdims=True)
    ranked = np.sort(np.where(valid, scores, -np.inf), axis=1)
    limit = np.take_along_axis(ranked, ranked.shape[1] - size, axis=1)  # the K-th highest value
    above, tied = valid & (scores > limit), valid & (scores == limit)
    places = size[:, 0] - above.sum(axis=1)
    expected = places * (tied & labels).sum(axis=1) / tied.sum(axis=1)
    return ((above & labels).sum(axis=1) + expected) / size[:, 0]

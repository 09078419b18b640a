"""The scores that tables and metrics files name, from maps and masks.

Short names are those of `vlrepro.tables.saliency_columns.SCORES`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlrepro.saliency.canvas import Maps, Masks
from vlrepro.saliency.overlap import count, mean_iou, object_iou
from vlrepro.saliency.precision import average_precision
from vlrepro.saliency.scores import score_maps
from vlrepro.saliency.sizes import bin_names, by_bin, object_shares
from vlrepro.saliency.statistics import Statistic
from vlrepro.saliency.thresholds import Threshold, binarise

_NAMES = {
    "iou": "object_iou_at_published",
    "miou": "mean_iou_at_published",
    "ap": "average_precision",
    "ap_two_class": "two_class_average_precision",
    "pixel_accuracy": "pixel_accuracy_at_published",
    "hard_ap": "hard_label_precision_at_published",
    "iou_image": "object_iou_per_image_at_published",
    "miou_image": "mean_iou_per_image_at_published",
    "iou_tuned": "object_iou_at_tuned",
    "miou_tuned": "mean_iou_at_tuned",
    "pointing": "pointing_game",
    "energy": "energy_share",
    "rank": "rank_accuracy",
}
_SIZES = dict(zip(bin_names(), ("ap_to_5", "ap_to_25", "ap_to_50", "ap_over_50"), strict=True))


@dataclass(frozen=True)
class NamedScores:
    """Scores that can be resampled, by short name, and others of which only the value is kept."""

    statistics: dict[str, Statistic]
    values: dict[str, float]


def brief_scores(maps: Maps, masks: Masks, published: Threshold) -> NamedScores:
    """IoU and mIoU at the published threshold and average precision alone, of maps and masks (n, H, W).

    Raises `UserError` as `vlrepro.saliency.canvas.check` does.
    """
    counts = count(binarise(maps, masks, published), masks)
    return NamedScores({"iou": object_iou(counts), "miou": mean_iou(counts), "ap": average_precision(maps, masks)}, {})


def named_scores(maps: Maps, masks: Masks, published: Threshold, tuned: Threshold) -> NamedScores:
    """All scores of maps (n, H, W) against masks (n, H, W) at two thresholds.

    The average precision of each size of object (`ap_to_5`: up to 5 % of the picture) is there where the set has such.
    That of all pixels together is a value alone: what an image adds to it is a curve.
    Raises `UserError` as `vlrepro.saliency.canvas.check` does.
    """
    found = score_maps(np.asarray(maps), masks, {"published": published, "tuned": tuned})
    statistics = {name: found[long] for name, long in _NAMES.items()}
    sizes = by_bin(found["average_precision"], object_shares(masks))
    statistics |= {_SIZES[name]: statistic for name, statistic in sizes.items()}
    return NamedScores(statistics, {"ap_pooled": found["pooled_average_precision"].value})

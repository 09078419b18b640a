"""All scores of a set of maps at once, by name.

| name | what it is |
|---|---|
| `average_precision` | per image, by the map's order; chance is the object's share |
| `two_class_average_precision` | per image, both classes in one list; chance 1/2 |
| `pooled_average_precision` | one list for the whole set |
| `pointing_game`, `energy_share`, `rank_accuracy` | see `localisation` |
| `object_iou_at_<t>`, `mean_iou_at_<t>` | sums over the set, binarised by threshold `<t>` |
| `object_iou_per_image_at_<t>`, `mean_iou_per_image_at_<t>` | means over images |
| `pixel_accuracy_at_<t>` | over the set's pixels |
| `hard_label_precision_at_<t>` | a function of each image's pixel accuracy that a released script calls AP |
"""

from __future__ import annotations

from collections.abc import Mapping

from vlrepro.saliency.canvas import Maps, Masks
from vlrepro.saliency.localisation import energy_share, pointing_game, rank_accuracy
from vlrepro.saliency.overlap import Counts, count, hard_label_precision, mean_iou, object_iou, pixel_accuracy
from vlrepro.saliency.precision import average_precision, pooled_average_precision, two_class_average_precision
from vlrepro.saliency.statistics import Statistic
from vlrepro.saliency.thresholds import Threshold, binarise

THRESHOLD_FREE = {
    function.__name__: function
    for function in (
        average_precision,
        two_class_average_precision,
        pooled_average_precision,
        pointing_game,
        energy_share,
        rank_accuracy,
    )
}


def score_maps(maps: Maps, masks: Masks, thresholds: Mapping[str, Threshold]) -> dict[str, Statistic]:
    """Every score of maps (n, H, W) against masks (n, H, W), with each of the named thresholds.

    Raises `UserError` as `vlrepro.saliency.canvas.check` does.
    """
    scores: dict[str, Statistic] = {name: function(maps, masks) for name, function in THRESHOLD_FREE.items()}
    for name, threshold in thresholds.items():
        found = overlap_scores(count(binarise(maps, masks, threshold), masks))
        scores |= {f"{score}_at_{name}": statistic for score, statistic in found.items()}
    return scores


def overlap_scores(counts: Counts) -> dict[str, Statistic]:
    """The scores of one prediction."""
    return {
        "object_iou": object_iou(counts),
        "mean_iou": mean_iou(counts),
        "object_iou_per_image": object_iou(counts).per_image(),
        "mean_iou_per_image": mean_iou(counts).per_image(),
        "pixel_accuracy": pixel_accuracy(counts),
        "hard_label_precision": hard_label_precision(counts),
    }

"""Scores of a prediction against masks: IoU in its variants, pixel accuracy, and the precision of hard labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlrepro.saliency.canvas import BACKGROUND, OBJECT, Array, Flags, Masks, check
from vlrepro.saliency.statistics import Ratio, mean_of


@dataclass(frozen=True)
class Counts:
    """Pixels of each image, each (n,) float64: object called object and so on; ignored pixels are in none."""

    true_object: Array
    false_object: Array
    false_background: Array
    true_background: Array


def count(predictions: Flags, masks: Masks) -> Counts:
    """Compare predictions (n, H, W) with masks (n, H, W).

    Raises `UserError` as `vlrepro.saliency.canvas.check` does.
    """
    check(predictions, masks)
    pairs = [(value, called) for value in (OBJECT, BACKGROUND) for called in (predictions, ~predictions)]
    found = [np.count_nonzero((masks == value) & called, axis=(1, 2)).astype(np.float64) for value, called in pairs]
    return Counts(found[0], found[2], found[1], found[3])


def object_iou(counts: Counts) -> Ratio:
    """IoU of the object, intersections and unions summed over the set: |called and object| / |called or object|.

    Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective" (IJCV 2015), section 4.2.
    """
    union = counts.true_object + counts.false_object + counts.false_background
    return Ratio(counts.true_object[:, None], union[:, None])


def background_iou(counts: Counts) -> Ratio:
    """IoU of the background, summed over the set as `object_iou` is."""
    union = counts.true_background + counts.false_object + counts.false_background
    return Ratio(counts.true_background[:, None], union[:, None])


def mean_iou(counts: Counts) -> Ratio:
    """The mean of the background's and the object's IoU, each summed over the set.

    This is the mIoU of Chefer, Gur and Wolf, "Transformer Interpretability Beyond Attention Visualization" (CVPR 2021),
    section 4: two classes, whatever the pictures show. ImageNet-S's official mIoU, a mean over its classes, is another.
    """
    parts = background_iou(counts), object_iou(counts)
    return Ratio(
        np.hstack([part.numerators for part in parts]),
        np.hstack([part.denominators for part in parts]),
    )


def pixel_accuracy(counts: Counts) -> Ratio:
    """The share of the set's valid pixels that are called right."""
    right = counts.true_object + counts.true_background
    return Ratio(right[:, None], (right + counts.false_object + counts.false_background)[:, None])


def hard_label_precision(counts: Counts) -> Ratio:
    """The "AP" that the script released with Gur, Ali and Wolf (AAAI 2021) computes: the mean of a^2 + (1 - a) / 2.

    The script ranks both classes of every pixel in one list (see `two_class_average_precision`) by 0 or 1, the binary
    prediction, not by the map. Such a list has two steps: half of its entries score 1 and a share a of them is right
    (precision a, recall a); then comes all the rest (precision 1/2). So the number is a function of a, the image's
    pixel accuracy, and measures no ranking. Chance is 1/2.
    """
    accuracy = pixel_accuracy(counts).images
    return mean_of(accuracy**2 + (1 - accuracy) / 2)

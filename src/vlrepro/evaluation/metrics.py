"""Classification scores of predicted labels: accuracy and mean per-class accuracy."""

from __future__ import annotations

import torch
from torch import Tensor

from vlrepro.errors import UserError


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """The share of examples whose predicted label is the true one, in [0, 1].

    `predictions` and `labels` are (n,) integers, n >= 1. Raises `UserError` when they disagree in length or are empty.
    """
    _check(predictions, labels)
    return (predictions == labels).double().mean().item()


def per_class_accuracy(predictions: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """The accuracy over the examples of each class: (n_classes,) float64, NaN for a class without an example.

    Raises `UserError` as `accuracy` does, and for labels outside 0 .. n_classes - 1.
    """
    _check(predictions, labels)
    if labels.min() < 0 or labels.max() >= n_classes:
        raise UserError(f"labels run from {labels.min()} to {labels.max()}: number them 0 to {n_classes - 1}")
    totals = torch.bincount(labels, minlength=n_classes)
    right = torch.bincount(labels[predictions == labels], minlength=n_classes)
    return right.double() / totals.double()


def mean_per_class_accuracy(predictions: Tensor, labels: Tensor, n_classes: int) -> float:
    """The mean of the per-class accuracies, every class weighing the same, in [0, 1].

    Classes without an example do not enter the mean (scikit-learn's balanced accuracy does the same). This is the score
    that Kornblith et al., "Do Better ImageNet Models Transfer Better?" (CVPR 2019), section 3, use for Aircraft, Pets,
    Caltech-101 and Flowers. Raises `UserError` as `per_class_accuracy` does.
    """
    return per_class_accuracy(predictions, labels, n_classes).nanmean().item()


def _check(predictions: Tensor, labels: Tensor) -> None:
    if predictions.shape != labels.shape or labels.dim() != 1:
        shapes = f"{tuple(predictions.shape)} predictions and {tuple(labels.shape)} labels"
        raise UserError(f"{shapes} cannot be compared: pass two vectors of the same length")
    if labels.numel() == 0:
        raise UserError("no example to score: pass at least one prediction")

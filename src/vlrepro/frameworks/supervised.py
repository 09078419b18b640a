"""Supervised training on the pictures' classes, the control that knows the labels.

A backbone, one linear classifier on its features and cross entropy: how ResNets are trained (He et al. 2016, "Deep
Residual Learning for Image Recognition", section 3.4), with the augmentation and optimiser of the recipe in place of
theirs, so that the loss alone parts it from its neighbours in a table. Only the backbone is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn import functional

from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, Step

REVISION = 1
VIEWS = 1
TEXTS = False
LABELS = True


@dataclass(frozen=True)
class Options:
    """How many classes the training pack has, and how much of the target all of them share (none by default).

    Raises `UserError` for a number of classes below 2 or a smoothing outside [0, 1).
    """

    classes: int
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what could only fail, or train to nothing, later."""
        if not isinstance(self.classes, int) or self.classes < 2:
            raise UserError(f"framework 'supervised': classes is {self.classes!r}: give a whole number of at least 2")
        if not isinstance(self.label_smoothing, int | float) or not 0 <= self.label_smoothing < 1:
            raise UserError(
                f"framework 'supervised': label_smoothing is {self.label_smoothing!r}: give a number from 0 to below 1"
            )


class Framework(nn.Module):
    """A backbone and a linear classifier of its features, with a bias."""

    def __init__(self, backbone: nn.Module, options: Options) -> None:
        super().__init__()
        self.options = options
        self.backbone = backbone
        self.classifier = nn.Linear(backbone.feature_width, options.classes)

    def forward(self, batch: Batch) -> Step:
        """One view of B pictures and their (B,) class numbers to the mean cross entropy over K classes.

        With s the classifier's scores (K,) of a picture, y its class and e the label smoothing (Szegedy et al. 2016,
        "Rethinking the Inception Architecture", section 7; 0 is the plain loss):

            loss = logsumexp(s) - (1 - e) s(y) - e mean_k s(k)

        The mean is over this process's own rows: equal shares, so gradients average to those of the joint batch.

        Raises `UserError` where the batch has no labels.
        """
        if batch.labels is None:
            raise UserError("framework 'supervised' trains on class numbers, and the batch has none")
        (view,) = batch.views
        scores = self.classifier(self.backbone(view))
        loss = functional.cross_entropy(scores, batch.labels, label_smoothing=self.options.label_smoothing)
        accuracy = (scores.detach().argmax(1) == batch.labels).float().mean()
        return Step(loss, {"class_accuracy": accuracy.item()})

"""LGSLIP (El Banani et al. 2023, "Learning Visual Representations via Language-Guided Sampling"): SLIP with pairs.

The second view is of the neighbour by caption, and one head serves both losses: the first view's features are what
the neighbour's and the caption's are compared with. The neighbour's own caption is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from vlrepro.frameworks import Batch, Step
from vlrepro.frameworks.clip import CaptionContrast
from vlrepro.frameworks.simclr import nt_xent, spread
from vlrepro.models.heads import mlp

REVISION = 1
VIEWS = 2
TEXTS = True
LABELS = False


@dataclass(frozen=True)
class Options:
    """LGSLIP's settings; the defaults are those of the papers' code base at full scale.

    `joint_width` is of the one space that pictures, neighbours and captions share; `weight` is of the loss between
    pictures.
    """

    text_tower: Mapping[str, Any] = field(default_factory=lambda: {"name": "transformer"})
    joint_width: int = 512
    scale_limit: float | None = None
    temperature: float = 0.1
    hidden_width: int = 2048
    hidden_layers: int = 2
    weight: float = 1.0


class Framework(nn.Module):
    """A backbone and one head, for neighbours and captions alike."""

    def __init__(self, backbone: nn.Module, options: Options) -> None:
        super().__init__()
        self.options = options
        self.backbone = backbone
        hidden = [options.hidden_width] * options.hidden_layers
        self.head = mlp([backbone.feature_width, *hidden, options.joint_width])
        self.captions = CaptionContrast(options.text_tower, options.joint_width, options.scale_limit)

    def forward(self, batch: Batch) -> Step:
        """Two views and view 0's captions to the sum of both losses (as in the papers' code base).

            loss = clip(view 0, captions) + weight * nt_xent(view 0, view 1)

        Both views pass the network as one batch, as in SimCLR. Raises `UserError` where the batch has no texts.
        """
        projected = functional.normalize(self.head(self.backbone(torch.cat(batch.views))), dim=1)
        first, second = projected.chunk(2)
        caption_loss, logs = self.captions(first, batch.texts)
        contrast, accuracy = nt_xent(first, second, self.options.temperature)
        logs |= {"contrast_loss": contrast.item(), "contrast_accuracy": accuracy.item(), "spread": spread(projected)}
        return Step(caption_loss + self.options.weight * contrast, logs)

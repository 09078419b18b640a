"""SLIP (Mu et al. 2022, "SLIP: Self-supervision meets Language-Image Pre-training"): SimCLR and CLIP at once.

Two strongly augmented views carry SimCLR's loss through a head of their own; a third, weakly augmented one carries
CLIP's through a linear projection.
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
VIEWS = 3
TEXTS = True
LABELS = False


@dataclass(frozen=True)
class Options:
    """SLIP's settings; the defaults are those of the papers' code base at full scale.

    `output_width` is of the head that SimCLR's loss reads, `joint_width` of the space shared with captions; `weight`
    is of SimCLR's loss.
    """

    text_tower: Mapping[str, Any] = field(default_factory=lambda: {"name": "transformer"})
    joint_width: int = 512
    scale_limit: float | None = None
    temperature: float = 0.1
    hidden_width: int = 2048
    hidden_layers: int = 2
    output_width: int = 128
    weight: float = 1.0


class Framework(nn.Module):
    """A backbone with a head for pictures among themselves and a linear projection for captions."""

    def __init__(self, backbone: nn.Module, options: Options) -> None:
        super().__init__()
        self.options = options
        self.backbone = backbone
        hidden = [options.hidden_width] * options.hidden_layers
        self.head = mlp([backbone.feature_width, *hidden, options.output_width])
        self.projection = nn.Linear(backbone.feature_width, options.joint_width, bias=False)
        self.captions = CaptionContrast(options.text_tower, options.joint_width, options.scale_limit)

    def forward(self, batch: Batch) -> Step:
        """Views 0 and 1 to SimCLR's loss, view 2 and the captions to CLIP's (SLIP, algorithm 1).

            loss = clip(view 2, captions) + weight * nt_xent(view 0, view 1)

        Views 0 and 1 pass the network as one batch, as in SimCLR; view 2, augmented otherwise, by itself.
        Raises `UserError` where the batch has no texts.
        """
        first, second, third = batch.views
        projected = functional.normalize(self.head(self.backbone(torch.cat([first, second]))), dim=1)
        contrast, accuracy = nt_xent(*projected.chunk(2), self.options.temperature)
        caption_loss, logs = self.captions(self.projection(self.backbone(third)), batch.texts)
        logs |= {"contrast_loss": contrast.item(), "contrast_accuracy": accuracy.item(), "spread": spread(projected)}
        return Step(caption_loss + self.options.weight * contrast, logs)

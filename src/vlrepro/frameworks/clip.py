"""CLIP (Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision").

A picture and its caption are pulled together against the other captions and pictures of the batch. With the text
tower `sentence` the captions' encoder is frozen and only its projection learns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlrepro.distributed import gather, rank
from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, Step
from vlrepro.models.text import build_text_tower

REVISION = 1
VIEWS = 1
TEXTS = True
LABELS = False


@dataclass(frozen=True)
class Options:
    """CLIP's settings; the defaults are those of the papers' code base at full scale.

    `scale_limit` caps the learned scale: 100 in CLIP (its section 2.5), none in the papers' code base.
    """

    text_tower: Mapping[str, Any] = field(default_factory=lambda: {"name": "transformer"})
    joint_width: int = 512
    scale_limit: float | None = None


class Framework(nn.Module):
    """A backbone with a linear projection, against captions."""

    def __init__(self, backbone: nn.Module, options: Options) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = nn.Linear(backbone.feature_width, options.joint_width, bias=False)
        self.captions = CaptionContrast(options.text_tower, options.joint_width, options.scale_limit)

    def forward(self, batch: Batch) -> Step:
        """One view of B pictures and their captions to the loss over B pictures and B captions.

        Raises `UserError` where the batch has no texts.
        """
        (view,) = batch.views
        loss, logs = self.captions(self.projection(self.backbone(view)), batch.texts)
        return Step(loss, logs)


class CaptionContrast(nn.Module):
    """What every image-text framework has: the text tower, its linear projection, the learned scale and the loss.

    The scale starts at 1 / 0.07 (CLIP, section 2.5) and is learned as its logarithm. Raises `UserError` for a text
    tower that there is not.
    """

    def __init__(self, text_tower: Mapping[str, Any], width: int, scale_limit: float | None) -> None:
        super().__init__()
        if "name" not in text_tower:
            raise UserError("the recipe's text_tower has no name: sentence or transformer")
        self.tower = build_text_tower(**text_tower)
        self.projection = nn.Linear(self.tower.feature_width, width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.scale_limit = scale_limit

    def forward(self, pictures: Tensor, texts: Tensor | None) -> tuple[Tensor, dict[str, float]]:
        """Projected pictures (B, width), of any length, and their captions to the loss and figures for the log.

        Raises `UserError` where `texts` is None.
        """
        if texts is None:
            raise UserError("this framework contrasts pictures with captions: set the recipe's texts and text_encoder")
        if self.scale_limit is not None:
            # The parameter itself is cut, as in CLIP: were only its use cut, nothing would bring it back.
            with torch.no_grad():
                self.log_scale.clamp_(max=math.log(self.scale_limit))
        scale = self.log_scale.exp()
        pictures = functional.normalize(pictures, dim=1)
        loss, nearest = clip_loss(pictures, functional.normalize(self.projection(self.tower(texts)), dim=1), scale)
        accuracy = caption_accuracy(nearest, texts)
        return loss, {"caption_loss": loss.item(), "caption_accuracy": accuracy.item(), "scale": scale.item()}


def clip_loss(pictures: Tensor, texts: Tensor, scale: Tensor | float) -> tuple[Tensor, Tensor]:
    """Symmetric cross entropy of pictures and captions (CLIP, figure 3).

    With x, t the unit rows of N pictures and their captions on all ranks and s(i, j) = scale * x_i . t_j:

        loss = 1/2 mean_i [ logsumexp_j s(i, j) - s(i, i) ] + 1/2 mean_i [ logsumexp_j s(j, i) - s(i, i) ]

    The means are over this rank's B rows. Captions that repeat count as negatives of one another, as they do there.

    >>> eye = torch.eye(4)
    >>> bool(clip_loss(eye, eye, 1.0)[0].isclose(torch.tensor((torch.e + 3.0) / torch.e).log()))
    True

    Args:
        pictures: (B, d) unit rows.
        texts: (B, d) unit rows, row i the caption of picture i.
        scale: positive.

    Returns:
        The loss, and for each picture the position (B,) among the N captions of the nearest (no gradient).
    """
    to_texts = scale * pictures @ gather(texts).T
    to_pictures = scale * texts @ gather(pictures).T
    targets = torch.arange(len(pictures), device=pictures.device) + rank() * len(pictures)
    loss = (functional.cross_entropy(to_texts, targets) + functional.cross_entropy(to_pictures, targets)) / 2
    return loss, to_texts.detach().argmax(1)


def caption_accuracy(nearest: Tensor, texts: Tensor) -> Tensor:
    """The share of pictures whose nearest caption reads as their own.

    Captions repeat in a batch, and which copy of its caption a picture is nearest to is rounding. So a copy is
    right, judged by what the tower read: features that merely coincide (a collapsed tower's) are no copies.

    Args:
        nearest: (B,) positions among the captions of all ranks.
        texts: (B, ...) this rank's captions as the text tower reads them.
    """
    return (gather(texts)[nearest] == texts).flatten(1).all(1).float().mean()

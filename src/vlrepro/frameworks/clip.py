"""CLIP (Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision").

A picture and its caption are pulled together against the other captions and pictures of the batch. With the text
tower `sentence` the captions' encoder is frozen and only its projection learns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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

    `joint_width` is of the space that pictures and captions share; null where the backbone's features are that space
    (`vlrepro.models.clip_towers`) and need no projection of ours. `scale_limit` caps the learned scale: 100 in CLIP
    (its section 2.5), none in the papers' code base.
    """

    text_tower: Mapping[str, Any] = field(default_factory=lambda: {"name": "transformer"})
    joint_width: int | None = 512
    scale_limit: float | None = None


class Framework(nn.Module):
    """A backbone with a linear projection, or one that has its own, against captions."""

    def __init__(self, backbone: nn.Module, options: Options) -> None:
        super().__init__()
        self.backbone = backbone
        own = options.joint_width is None
        width = backbone.feature_width if own else options.joint_width
        self.projection = nn.Identity() if own else nn.Linear(backbone.feature_width, width, bias=False)
        self.captions = CaptionContrast(options.text_tower, width, options.scale_limit)

    def forward(self, batch: Batch) -> Step:
        """One view of B pictures and their captions to the loss over B pictures and B captions.

        Raises `UserError` where the batch has no texts.
        """
        return self.contrast(self.encode(batch), batch)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Unit rows (B, width) of pictures and of captions: what a row becomes depends on no other row's caption."""
        (view,) = batch.views
        return self.captions.encode(self.projection(self.backbone(view)), batch.texts)

    def contrast(self, encoded: tuple[Tensor, Tensor], batch: Batch) -> Step:
        """The loss over what `encode` gave for all of this rank's rows, and figures for the log."""
        return Step(*self.captions.contrast(encoded, batch, clip_objective))


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
        """Projected pictures (B, width), of any length, and their captions to CLIP's loss and figures for the log.

        Raises `UserError` where `texts` is None.
        """
        return self.contrast(self.encode(pictures, texts), Batch((), texts, 0), clip_objective)

    def encode(self, pictures: Tensor, texts: Tensor | None) -> tuple[Tensor, Tensor]:
        """Unit rows of projected pictures and of captions. Raises `UserError` where `texts` is None."""
        if texts is None:
            raise UserError("this framework contrasts pictures with captions: set the recipe's texts and text_encoder")
        pictures = functional.normalize(pictures, dim=1)
        return pictures, functional.normalize(self.projection(self.tower(texts)), dim=1)

    def contrast(
        self, encoded: tuple[Tensor, Tensor], batch: Batch, objective: Objective
    ) -> tuple[Tensor, dict[str, float]]:
        """The objective on unit rows of pictures and captions, and figures for the log.

        Raises `UserError` where the objective cannot use the batch.
        """
        if self.scale_limit is not None:
            # The parameter itself is cut, as in CLIP: were only its use cut, nothing would bring it back.
            with torch.no_grad():
                self.log_scale.clamp_(min=0.0, max=math.log(self.scale_limit))
        scale = self.log_scale.exp()
        pictures, texts = encoded
        similarities = scaled_similarities(pictures, texts, scale)
        loss, figures = objective(similarities, batch)
        accuracy = caption_accuracy(similarities.to_texts.detach().argmax(1), batch.texts)
        logs = {"caption_loss": loss.item(), "caption_accuracy": accuracy.item(), "scale": scale.item()}
        return loss, logs | figures


class Similarities(NamedTuple):
    """Scaled similarities (B, N) of this rank's B rows with the N = world * B columns of all ranks.

    `to_texts`: pictures with captions; `to_pictures`: captions with pictures; `own`: (B,) each row's own column.
    """

    to_texts: Tensor
    to_pictures: Tensor
    own: Tensor


Objective = Callable[[Similarities, Batch], tuple[Tensor, dict[str, float]]]
"""From similarities to a loss, the mean over this rank's rows, and figures of its own for the log."""


def scaled_similarities(pictures: Tensor, texts: Tensor, scale: Tensor | float) -> Similarities:
    """All ranks' similarities of unit rows (B, d), row i of `texts` being the caption of picture i."""
    own = torch.arange(len(pictures), device=pictures.device) + rank() * len(pictures)
    return Similarities(scale * pictures @ gather(texts).T, scale * texts @ gather(pictures).T, own)


def cross_entropy(similarities: Similarities, captions: Tensor, pictures: Tensor) -> Tensor:
    """Mean of both directions' cross entropies: row i is pulled to caption `captions[i]`, or picture `pictures[i]`."""
    to_texts = functional.cross_entropy(similarities.to_texts, captions)
    return (to_texts + functional.cross_entropy(similarities.to_pictures, pictures)) / 2


def clip_objective(similarities: Similarities, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """CLIP's own: every row is pulled to its own column (`clip_loss`)."""
    return cross_entropy(similarities, similarities.own, similarities.own), {}


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
    similarities = scaled_similarities(pictures, texts, scale)
    loss = cross_entropy(similarities, similarities.own, similarities.own)
    return loss, similarities.to_texts.detach().argmax(1)


def caption_accuracy(nearest: Tensor, texts: Tensor) -> Tensor:
    """The share of pictures whose nearest caption reads as their own.

    Captions repeat in a batch, and which copy of its caption a picture is nearest to is rounding. So a copy is
    right, judged by what the tower read: features that merely coincide (a collapsed tower's) are no copies.

    Args:
        nearest: (B,) positions among the captions of all ranks.
        texts: (B, ...) this rank's captions as the text tower reads them.
    """
    return (gather(texts)[nearest] == texts).flatten(1).all(1).float().mean()

"""CLIP with HN-NCE and concept distillation (Radenovic et al. 2023, "Filtering, Distillation, and Hard Negatives for
Vision-Language Pre-Training"): pictures also learn to show the objects and attributes that a teacher sees in them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, Step, clip_hard_negatives

REVISION = 1
VIEWS = 1
TEXTS = True
LABELS = False
CONCEPTS = True


@dataclass(frozen=True, kw_only=True)
class Options(clip_hard_negatives.Options):
    """HN-NCE's settings (`alpha` 1 and `beta` 0 are CLIP's own loss) and those of distillation.

    `objects` and `attributes`: how many the vocabularies hold at most; the plan takes them from the recipe's concepts.
    The weights are of the paper's terms: 1 and 1 there.

    Raises `UserError` for fewer than two words or a weight that is negative or not finite.
    """

    objects: int
    attributes: int
    object_weight: float = 1.0
    attribute_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what could only fail, or train to nothing, later."""
        for name in ("objects", "attributes"):
            size = getattr(self, name)
            if not isinstance(size, int) or size < 2:
                raise UserError(f"framework 'clip_distillation': {name} is {size!r}: give a whole number of at least 2")
        for name in ("object_weight", "attribute_weight"):
            weight = getattr(self, name)
            if not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise UserError(f"framework 'clip_distillation': {name} is {weight!r}: give a number of at least 0")


class Framework(clip_hard_negatives.Framework):
    """CLIP's network and two linear heads, with biases, on the projected picture before it is cut to length 1.

    That is what the paper's x_i is before InfoNCE normalises it. A row of length 1 would bound a head's scores by the
    length of its weights, which weight decay keeps small. The heads are drawn last: all else starts as in CLIP.
    """

    def __init__(self, backbone: nn.Module, options: Options) -> None:
        super().__init__(backbone, options)
        self.options = options
        width = self.captions.projection.out_features
        self.objects = nn.Linear(width, options.objects)
        self.attributes = nn.Linear(width, options.attributes)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Unit rows (B, width) of pictures and of captions, and the pictures' rows (B, width) as long as they are."""
        (view,) = batch.views
        pictures = self.projection(self.backbone(view))
        return (*self.captions.encode(pictures, batch.texts), pictures)

    def contrast(self, encoded: tuple[Tensor, Tensor, Tensor], batch: Batch) -> Step:
        """HN-NCE and both heads' cross-entropies ("Evaluating Distilled Hard Negative Training on Google's Conceptual
        Captions Dataset", section 3.4) over what `encode` gave for all of this rank's rows.

        The paper sums over n rows and adds both directions of HN-NCE; other frameworks here take means of both. So

            loss = (HN-NCE_to_texts + HN-NCE_to_pictures + object_weight CE_O + attribute_weight CE_A) / 2

        with means over rows is the paper's loss divided by 2 n, and without weights the loss of `clip_hard_negatives`.
        CE is `soft_cross_entropy`. In the log `object_agreement` and `attribute_agreement` are the shares of pictures
        for which the likeliest word is the teacher's.

        Raises `UserError` where the batch has no concepts, or has one row in all.
        """
        if batch.concepts is None:
            raise UserError("framework 'clip_distillation' learns what a teacher sees: set the recipe's concepts")
        *rows, pictures = encoded
        loss, logs = self.captions.contrast(tuple(rows), batch, self.objective)
        options, seen = self.options, batch.concepts
        for kind, head, places, weights, weight in (
            ("object", self.objects, seen.objects, seen.object_weights, options.object_weight),
            ("attribute", self.attributes, seen.attributes, seen.attribute_weights, options.attribute_weight),
        ):
            scores = head(pictures)
            term = soft_cross_entropy(scores, places, weights)
            loss = loss + weight * term / 2
            first = places.gather(1, weights.argmax(1, keepdim=True))[:, 0]
            agreement = (scores.detach().argmax(1) == first).float().mean()
            logs |= {f"{kind}_loss": term.item(), f"{kind}_agreement": agreement.item()}
        return Step(loss, logs)


def soft_cross_entropy(scores: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """Mean over rows of the cross-entropy of softmax(scores) against soft targets on few places.

        CE = - mean_i sum_k weights(i, k) log softmax(scores(i))[places(i, k)]

    Args:
        scores: (B, V) floats.
        places: (B, k) int64 below V.
        weights: (B, k) floats that sum to 1 in each row.
    """
    return -(weights * scores.log_softmax(1).gather(1, places)).sum(1).mean()

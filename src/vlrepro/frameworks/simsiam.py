"""SimSiam (Chen and He 2021, "Exploring Simple Siamese Representation Learning").

Each view's prediction is drawn to the other view's projection, which is held still; there are no negatives. With the
second view taken from the caption's nearest neighbour it is LGSimSiam (*Impact of Language Guidance*, section 4.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlrepro.frameworks import Batch, Step
from vlrepro.frameworks.simclr import spread
from vlrepro.models.heads import mlp

REVISION = 1
VIEWS = 2
TEXTS = False
LABELS = False


@dataclass(frozen=True)
class Options:
    """SimSiam's settings; the defaults are those of the papers' code base (github.com/mbanani/lgssl) at full scale.

    It departs from SimSiam's section 3: there the predictor's last layer has a bias, and the predictor keeps its
    learning rate. The authors' release has no gains and biases in the projector's last BatchNorm:
    `final_norm_affine` false.
    """

    hidden_width: int = 2048
    hidden_layers: int = 2
    output_width: int = 2048
    predictor_width: int = 512
    final_norm_affine: bool = True


class Framework(nn.Module):
    """A backbone, a projector, a predictor and the negative cosine between what they say of the two views."""

    def __init__(self, backbone: nn.Module, options: Options) -> None:
        super().__init__()
        self.options = options
        self.backbone = backbone
        widths = [backbone.feature_width, *[options.hidden_width] * options.hidden_layers, options.output_width]
        self.projector = mlp(widths, final_norm=True, final_norm_affine=options.final_norm_affine)
        self.predictor = mlp([options.output_width, options.predictor_width, options.output_width])

    def forward(self, batch: Batch) -> Step:
        """Two views to the symmetric loss; both pass the network as one batch of 2 B pictures."""
        projected = self.projector(self.backbone(torch.cat(batch.views)))
        loss = negative_cosine(self.predictor(projected), projected)
        return Step(loss, {"spread": spread(functional.normalize(projected.detach(), dim=1))})


def negative_cosine(predictions: Tensor, projections: Tensor) -> Tensor:
    """The symmetric negative cosine with stop-gradient (SimSiam, equations 1 to 4).

    With p_0, p_1 and z_0, z_1 the two views' predictions and projections and sg(.) that no gradient passes:

        loss = mean_i [ -cos(p_0, sg(z_1)) / 2 - cos(p_1, sg(z_0)) / 2 ]

    >>> round(negative_cosine(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0], [1.0, 0.0]])).item(), 4)
    -0.3

    Args:
        predictions: (2 B, d), view 0's rows, then view 1's.
        projections: (2 B, d) in the same order.

    Returns:
        The loss, from -1 (every prediction points where the other view's projection does) to 1.
    """
    others = projections.detach().roll(len(projections) // 2, 0)
    return -functional.cosine_similarity(predictions, others).mean()

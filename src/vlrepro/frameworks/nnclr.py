"""NNCLR (Dwibedi et al. 2021, "With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning").

The positive of a picture is not its other view but the nearest of past projections to it. Three losses go by this
name; `Options.variant` chooses.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlrepro.distributed import gather, rank
from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, Step
from vlrepro.frameworks.simclr import nt_xent, spread
from vlrepro.models.heads import mlp
from vlrepro.models.queue import Queue

REVISION = 1
VIEWS = 2
TEXTS = False
LABELS = False
VARIANTS = ("paper", "lgssl", "full")


@dataclass(frozen=True)
class Options:
    """NNCLR's settings; the widths and the queue are those of the papers' code base at full scale.

    `variant` is the loss, see `nnclr_loss`. The paper's heads and queue are other: a BatchNorm ends its projector and
    its queue holds 98,304.
    """

    variant: str = "paper"
    temperature: float = 0.1
    hidden_width: int = 2048
    hidden_layers: int = 2
    output_width: int = 256
    predictor_width: int = 4096
    queue_size: int = 16384

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise UserError(f"framework 'nnclr' has no variant {self.variant!r}: choose one of {', '.join(VARIANTS)}")


class Framework(nn.Module):
    """A backbone, a projector, a predictor, a queue of past projections and one of NNCLR's losses."""

    def __init__(self, backbone: nn.Module, options: Options) -> None:
        super().__init__()
        self.options = options
        self.backbone = backbone
        widths = [backbone.feature_width, *[options.hidden_width] * options.hidden_layers, options.output_width]
        self.projector = mlp(widths)
        self.predictor = mlp([options.output_width, options.predictor_width, options.output_width])
        self.queue = Queue(options.queue_size, options.output_width)

    def forward(self, batch: Batch) -> Step:
        """Two views to the mean loss of both directions; both pass the network as one batch of 2 B pictures.

        Each view's neighbours are looked up first, then view 1's projections enter the queue, as in the papers' code
        base. View 0's do not: two views of a picture would make one half of the queue a copy of the other.
        """
        projected = self.projector(self.backbone(torch.cat(batch.views)))
        predictions = functional.normalize(self.predictor(projected), dim=1).chunk(2)
        projected = functional.normalize(projected.detach(), dim=1)
        found, real = self.queue.nearest(projected)
        self.queue.enqueue(projected.chunk(2)[1])
        neighbours = found.chunk(2)
        directions = [
            nnclr_loss(neighbours[view], predictions[1 - view], self.options.temperature, self.options.variant)
            for view in (0, 1)
        ]
        loss, accuracy = (torch.stack(values).mean() for values in zip(*directions, strict=True))
        logs = {"contrast_accuracy": accuracy.item(), "spread": spread(projected)}
        return Step(loss, logs | {"real_neighbours": real.float().mean().item()})


def nnclr_loss(neighbours: Tensor, predictions: Tensor, temperature: float, variant: str) -> tuple[Tensor, Tensor]:
    """One direction of NNCLR's loss.

    With n_i the neighbour of one view of picture i, p_i the prediction of its other view and
    s(a, b) = a . b / temperature:

        paper   mean_i [ logsumexp_k s(n_i, p_k) - s(n_i, p_i) ]   (NNCLR, section 3)
        lgssl   mean_i [ logsumexp_k s(n_k, p_i) - s(n_i, p_i) ]   (github.com/mbanani/lgssl: its transpose)
        full    NT-Xent of the n and the p as two views: n-n and p-p are negatives too (a common library's example)

    With several processes i runs over this one's rows and k over those of all.

    >>> eye = torch.eye(3)
    >>> round(nnclr_loss(eye, eye, 1.0, "paper")[0].item(), 4)  # ln((e + 2) / e)
    0.5514

    Args:
        neighbours: (B, d) unit rows.
        predictions: (B, d) unit rows.
        temperature: positive.
        variant: one of `VARIANTS`.

    Returns:
        The loss, and the share of rows whose own counterpart is their nearest (no gradient).
    """
    if variant == "full":
        return nt_xent(neighbours, predictions, temperature)
    queries, keys = (neighbours, predictions) if variant == "paper" else (predictions, neighbours)
    scores = queries @ gather(keys).T / temperature
    targets = rank() * len(queries) + torch.arange(len(queries), device=queries.device)
    return functional.cross_entropy(scores, targets), (scores.detach().argmax(1) == targets).float().mean()

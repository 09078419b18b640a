"""SimCLR (Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations").

With the second view taken from the caption's nearest neighbour it is LGSimCLR (*Impact of Language Guidance*,
section 4.1); the loss does not know where its views come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlrepro.distributed import gather, rank
from vlrepro.frameworks import Batch, Step
from vlrepro.models.heads import mlp

REVISION = 1
VIEWS = 2
TEXTS = False
LABELS = False


@dataclass(frozen=True)
class Options:
    """SimCLR's settings; the defaults are those of the papers' code base at full scale."""

    temperature: float = 0.1
    hidden_width: int = 2048
    hidden_layers: int = 2
    output_width: int = 128


class Framework(nn.Module):
    """A backbone, its projection head and the NT-Xent loss."""

    def __init__(self, backbone: nn.Module, options: Options) -> None:
        super().__init__()
        self.options = options
        self.backbone = backbone
        hidden = [options.hidden_width] * options.hidden_layers
        self.head = mlp([backbone.feature_width, *hidden, options.output_width])

    def forward(self, batch: Batch) -> Step:
        """Two views to the loss over 2 B anchors.

        Both views pass the network as one batch, so batch statistics are those of 2 B pictures.
        """
        projected = functional.normalize(self.head(self.backbone(torch.cat(batch.views))), dim=1)
        first, second = projected.chunk(2)
        loss, accuracy = nt_xent(first, second, self.options.temperature)
        return Step(loss, {"contrast_accuracy": accuracy.item(), "spread": spread(projected)})


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Normalised temperature-scaled cross entropy (SimCLR, equation 1).

    With z the 2 B unit rows of both views, s(i, k) = z_i . z_k / temperature and j(i) the other view of i:

        loss = mean_i [ logsumexp_{k != i} s(i, k) - s(i, j(i)) ]

    With several processes i runs over this one's rows and k over those of all.

    >>> eye = torch.eye(4)
    >>> round(nt_xent(eye, eye, 1.0)[0].item(), 4)  # ln((e + 6) / e)
    1.1654

    Args:
        first: (B, d) unit rows.
        second: (B, d) unit rows, row i the other view of `first`'s row i.
        temperature: positive.

    Returns:
        The loss, and the share of anchors whose own other view is their nearest (no gradient).
    """
    rows = torch.cat([first, second])
    scores = rows @ gather(rows).T / temperature
    own = rank() * len(rows)  # the column of this process's first row
    # The diagonal is masked, not subtracted: subtracting exp(1 / temperature) cancels badly at low temperature.
    # What is masked has probability 0 and with it gradient 0, so autograd need not know.
    with torch.no_grad():
        scores.diagonal(own).fill_(float("-inf"))
    targets = own + torch.arange(len(rows), device=rows.device).roll(len(first))
    loss = functional.cross_entropy(scores, targets)
    return loss, (scores.detach().argmax(1) == targets).float().mean()


def spread(rows: Tensor) -> float:
    """Mean standard deviation of (n, d) unit rows' coordinates times sqrt(d): near 1 when spread, 0 at collapse."""
    return (rows.detach().std(0).mean() * rows.shape[1] ** 0.5).item()

"""SwAV (Caron et al. 2020, "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments"), two crops.

Each view is softly assigned to prototypes, evenly over the batch, and the other view must predict the assignment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlrepro.distributed import gather, rank
from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, Step
from vlrepro.frameworks.simclr import spread
from vlrepro.models.heads import mlp
from vlrepro.models.queue import Queue

REVISION = 1
VIEWS = 2
TEXTS = False
LABELS = False
VARIANTS = ("official", "lgssl")


@dataclass(frozen=True)
class Options:
    """SwAV's settings; the defaults are those of the papers' code base at full scale.

    `variant` is the loss, see `swav_loss`. Prototypes stand still for the first `freeze_steps` steps. From step
    `queue_start` on each view's projections enter a queue of `queue_size` rows, which takes part in the assignment
    once it is full; with a `queue_size` of 0 there is none.
    """

    variant: str = "official"
    temperature: float = 0.1
    hidden_width: int = 2048
    hidden_layers: int = 1
    output_width: int = 128
    prototypes: int = 3000
    freeze_steps: int = 2503
    sinkhorn_epsilon: float = 0.05
    sinkhorn_iterations: int = 3
    queue_size: int = 7680
    queue_start: int = 37500

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise UserError(f"framework 'swav' has no variant {self.variant!r}: choose one of {', '.join(VARIANTS)}")
        if self.prototypes < 2:
            raise UserError(f"framework 'swav': {self.prototypes} prototypes tell nothing apart: give 2 or more")


class Framework(nn.Module):
    """A backbone, a projector, prototypes, a queue for each view and one of SwAV's losses."""

    def __init__(self, backbone: nn.Module, options: Options) -> None:
        super().__init__()
        self.options = options
        self.backbone = backbone
        hidden = [options.hidden_width] * options.hidden_layers
        self.head = mlp([backbone.feature_width, *hidden, options.output_width])
        self.prototypes = nn.Linear(options.output_width, options.prototypes, bias=False)
        self._normalise_prototypes()
        count = 2 if options.queue_size else 0
        self.queues = nn.ModuleList(Queue(options.queue_size, options.output_width) for _ in range(count))

    def forward(self, batch: Batch) -> Step:
        """Two views to the mean loss of both directions; both pass the network as one batch of 2 B pictures."""
        frozen = batch.step < self.options.freeze_steps
        if not frozen:
            self._normalise_prototypes()
        projected = functional.normalize(self.head(self.backbone(torch.cat(batch.views))), dim=1)
        # Detached prototypes get no gradient at all, so an optimiser passes them over: not even decay moves them.
        weight = self.prototypes.weight.detach() if frozen else self.prototypes.weight
        scores = functional.linear(projected, weight)
        codes = self._assign(scores.detach().chunk(2), projected.detach().chunk(2), batch.step)
        temperature, variant = self.options.temperature, self.options.variant
        first, second = scores.chunk(2)
        loss = swav_loss(second, codes[0], temperature, variant) + swav_loss(first, codes[1], temperature, variant)
        logs = {"code_entropy": _entropy(torch.cat(codes)), "prototypes_used": _share_used(scores)}
        return Step(loss / 2, logs | {"spread": spread(projected)})

    @torch.no_grad()
    def _normalise_prototypes(self) -> None:
        self.prototypes.weight.copy_(functional.normalize(self.prototypes.weight, dim=1))

    @torch.no_grad()
    def _assign(self, scores: tuple[Tensor, ...], projected: tuple[Tensor, ...], step: int) -> list[Tensor]:
        """Each view's (B, K) codes, evened out over the rows of all processes and the view's queue."""
        codes = []
        for view, own in enumerate(scores):
            joint = gather(own)
            if self.queues:
                queue = self.queues[view]
                if queue.full:
                    joint = torch.cat([joint, self.prototypes(queue.rows)])
                if step >= self.options.queue_start:
                    queue.enqueue(projected[view])
            start = rank() * len(own)
            even = sinkhorn(joint, self.options.sinkhorn_epsilon, self.options.sinkhorn_iterations)
            codes.append(even[start : start + len(own)])
        return codes


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Soft assignments of rows to prototypes that use all prototypes alike (SwAV, section 3.1, equation 3).

    Starting from exp(scores / epsilon), each iteration scales every column to the same sum and then every row to
    sum 1 (Sinkhorn-Knopp). Computed in float32 or better, and finite at any epsilon.

    >>> sinkhorn(torch.zeros(2, 4), 0.05, 3).tolist()
    [[0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]]

    Args:
        scores: (n, K) cosines of all rows with all prototypes.
        epsilon: positive; how soft the assignment is.
        iterations: at least 1; the more, the more even the columns.

    Returns:
        (n, K) non-negative, rows of sum 1, columns of sum near n / K; no gradient.
    """
    logits = scores.to(torch.promote_types(scores.dtype, torch.float32)) / epsilon
    # What a column has in common is divided out at once, what a row has after the columns' first sums. So neither can
    # make an exponential overflow, every row keeps an entry of 1 here, and later sums stay above 1 / (n K).
    logits = logits - logits.amax(0)
    tops = logits.amax(1, keepdim=True)
    codes = (logits - tops).exp()
    codes /= tops.exp().T @ codes
    codes /= codes.sum(1, keepdim=True)
    for _ in range(iterations - 1):
        codes /= codes.sum(0)
        codes /= codes.sum(1, keepdim=True)
    return codes


def swav_loss(scores: Tensor, codes: Tensor, temperature: float, variant: str) -> Tensor:
    """One direction of the swapped prediction: how badly one view's scores foretell the other view's codes.

    With s the scores over temperature and q the codes:

        official   mean_i sum_k q_ik [ logsumexp_j s_ij - s_ik ]   (SwAV, equation 2: over prototypes)
        lgssl      mean_i sum_k q_ik [ logsumexp_j s_jk - s_ik ]   (github.com/mbanani/lgssl: over the batch)

    With several processes the second runs over the rows of all.

    >>> round(swav_loss(torch.zeros(2, 4), torch.eye(4)[:2], 0.1, "official").item(), 4)  # ln 4
    1.3863

    Args:
        scores: (B, K) cosines of this process's rows with the prototypes.
        codes: (B, K) rows of sum 1.
        temperature: positive.
        variant: one of `VARIANTS`.
    """
    scores = scores / temperature
    if variant == "official":
        return functional.cross_entropy(scores, codes)
    return (codes * (gather(scores).logsumexp(0) - scores)).sum(1).mean()


def _entropy(codes: Tensor) -> float:
    """Mean entropy of the rows of codes (n, K) over that of the uniform one: 1 says nothing, 0 is a hard choice."""
    surprise = -codes.clamp_min(torch.finfo(codes.dtype).tiny).log()
    return ((codes * surprise).sum(1).mean() / math.log(codes.shape[1])).item()


def _share_used(scores: Tensor) -> float:
    """Prototypes that are the nearest of some row of scores (n, K), over as many as could be: low at collapse."""
    return len(scores.argmax(1).unique()) / min(scores.shape)

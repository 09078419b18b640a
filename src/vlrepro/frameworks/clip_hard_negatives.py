"""CLIP with HN-NCE (Radenovic et al. 2023, "Filtering, Distillation, and Hard Negatives for Vision-Language
Pre-Training"): negatives count more the nearer they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, Step, clip
from vlrepro.frameworks.clip import Similarities

REVISION = 1
VIEWS = 1
TEXTS = True
LABELS = False


@dataclass(frozen=True)
class Options(clip.Options):
    """CLIP's settings and HN-NCE's `alpha` in (0, 1] and `beta` >= 0; see `hn_nce`.

    The defaults are those of its re-implementations: the paper's code for this loss is not released.
    """

    alpha: float = 1.0
    beta: float = 0.25


class Framework(clip.Framework):
    """CLIP's network and similarities under HN-NCE. Raises `UserError` for `alpha` or `beta` out of range."""

    def __init__(self, backbone: nn.Module, options: Options) -> None:
        if not 0 < options.alpha <= 1 or not 0 <= options.beta < math.inf:
            raise UserError(f"HN-NCE takes 0 < alpha <= 1 and beta >= 0, not {options.alpha} and {options.beta}")
        super().__init__(backbone, options)
        self.objective = partial(_objective, alpha=options.alpha, beta=options.beta)

    def contrast(self, encoded: tuple[Tensor, Tensor], batch: Batch) -> Step:
        """HN-NCE over what `encode` gave. Raises `UserError` for a joint batch of one row."""
        return Step(*self.captions.contrast(encoded, batch, self.objective))


def _objective(similarities: Similarities, batch: Batch, alpha: float, beta: float) -> tuple[Tensor, dict[str, float]]:
    directions = (similarities.to_texts, similarities.to_pictures)
    losses = [hn_nce(rows, similarities.own, alpha, beta) for rows in directions]
    return torch.stack(losses).mean(), {}


def hn_nce(similarities: Tensor, own: Tensor, alpha: float, beta: float) -> Tensor:
    """One direction of HN-NCE ("Evaluating Distilled Hard Negative Training on Google's Conceptual Captions Dataset",
    section 3.3, which restates Radenovic et al. 2023).

    With s(i, j) the scaled similarities of row i and column j, p(i) the row's own column and N columns:

        loss = - mean_i log [ e^s(i,p) / (alpha e^s(i,p) + sum_{j != p} w(i,j) e^s(i,j)) ]
        w(i, j) = (N - 1) e^(beta s(i,j)) / sum_{k != p} e^(beta s(i,k))

    Each row's weights sum to N - 1, and carry gradient. At alpha = 1 and beta = 0 it is CLIP's cross entropy. N is the
    joint batch, on however many ranks.

    Args:
        similarities: (B, N) floats.
        own: (B,) int64 columns.

    Raises:
        UserError: there is one column, hence no negative.
    """
    count = similarities.shape[1]
    if count < 2:
        raise UserError("HN-NCE: a batch of one has no negatives: raise batch_size")
    positive = similarities.gather(1, own[:, None])[:, 0]
    negatives = similarities.masked_fill(functional.one_hot(own, count).bool(), -math.inf)
    # log sum_j w e^s = log(N - 1) + log sum_j e^((1 + beta) s) - log sum_k e^(beta s), the positive left out.
    weights = torch.logsumexp(beta * negatives, 1) if beta else similarities.new_full((len(own),), math.log(count - 1))
    hard = math.log(count - 1) + torch.logsumexp((1 + beta) * negatives, 1) - weights
    return (torch.logaddexp(positive + math.log(alpha), hard) - positive).mean()

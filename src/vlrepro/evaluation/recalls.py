"""Recall of one or more galleries as a table wants it: a score, its examples and their weights, and chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vlrepro.evaluation.galleries import Direction
from vlrepro.evaluation.retrieval import Ranks, hits


def recalled(found: Sequence[Ranks], captions: Sequence[Tensor], direction: Direction, top: int) -> dict[str, Any]:
    """The mean of the galleries' recalls at `top`.

    `found` are each gallery's ranks and `captions` (n,) how many captions each of its pictures has, whose queries
    stand together. Examples are pictures: from text to image a picture counts with the mean over its captions, for they
    are no independent sample, and weighs as much as it has captions. `weights` are left empty where all weigh the same.
    """
    outcomes, weights = [], []
    for ranks, counts in zip(found, captions, strict=True):
        right = hits(ranks, top)
        weight = torch.full((len(counts),), 1 / len(counts), dtype=torch.float64)
        if direction == "text_to_image":
            picture = torch.repeat_interleave(torch.arange(len(counts)), counts)
            right = torch.zeros(len(counts), dtype=torch.float64).index_add(0, picture, right) / counts
            weight = counts.double() / counts.sum()
        outcomes.append(right.clamp(0, 1))
        weights.append(weight / len(found))
    examples, shares = torch.cat(outcomes), torch.cat(weights)
    alike = float(shares.max() - shares.min()) < 1e-12
    return {
        "score": float((examples * shares).sum()),
        "examples": examples.tolist(),
        "weights": [] if alike else (shares / shares.sum()).tolist(),
        "chance": math.fsum(chance(counts, direction, top) for counts in captions) / len(captions),
    }


def chance(captions: Tensor, direction: Direction, top: int) -> float:
    """Recall at `top` where items are in random order, of n pictures with `captions` (n,) each, m in all.

    From text to image top / n; from image to text, for a picture with c captions, 1 - C(m - c, top) / C(m, top), in the
    mean over pictures.
    """
    if direction == "text_to_image":
        return min(1.0, top / len(captions))
    total, counts = int(captions.sum()), captions.tolist()
    drawn = min(top, total)
    missed = {count: math.comb(total - count, drawn) / math.comb(total, drawn) for count in set(counts)}
    return 1 - math.fsum(missed[count] for count in counts) / len(counts)


def nearest(queries: Tensor, items: Tensor, count: int) -> Tensor:
    """The `count` nearest items (m, d) of each query (q, d), nearest first, of equal ones the earlier: (q, count)."""
    blocks = (block @ items.T for block in queries.split(1024))
    return torch.cat([block.sort(dim=1, descending=True, stable=True).indices[:, :count] for block in blocks])

"""Retrieval: what is ahead of the right item when all items are ordered by their similarity to a query.

Text-to-image and image-to-text retrieval are one function here. Queries and items have owners, the pictures; an item
is right for the queries of its owner, and of several right ones the nearest counts. So a caption searches for its one
picture and a picture for the nearest of its captions, as on COCO and Flickr30K (Karpathy and Fei-Fei 2015, "Deep
Visual-Semantic Alignments for Generating Image Descriptions", section 4.1).

Similarities are exact (`vlrepro.exact_products`), so that ties are ties and no result depends on blocks, threads or
the processor. Since float32 is twice as fast, it goes first, and exact similarities are computed only where its proven
error bound leaves the order open.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from vlrepro.errors import UserError
from vlrepro.exact_products import error_bound, exact_products, on_grid

REVISION = 1

BLOCK = 1024  # queries and items at a time: with width 768 below 100 MB, whatever the numbers of both
_PAIRS = 2048  # exact similarities at a time, where they are computed one by one
_DENSE = 64  # a float64 product of a whole block is faster once one similarity in so many is open


class Rows(Protocol):
    """A matrix of rows that may lie on disk: a tensor, a NumPy array or memory map, or anything that is read so.

    A slice of rows is an array or tensor of floats (rows, d).
    """

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Tensor | np.ndarray: ...


class Ranks(NamedTuple):
    """What stands before and beside each query's nearest right item, each (n,) int64.

    `ahead`: wrong items that are strictly nearer; `wrong_ties`: wrong items exactly as near; `right_ties`: right items
    as near, itself included, so at least 1.
    """

    ahead: Tensor
    wrong_ties: Tensor
    right_ties: Tensor


@torch.inference_mode()
def retrieval_ranks(
    queries: Rows, items: Rows, owner_of_query: Tensor, owner_of_item: Tensor, block: int = BLOCK
) -> Ranks:
    """What stands before each query's nearest right item, by the exact inner product of rows of unit length.

    Queries may be searched in parts: a query's result does not depend on the others. Besides the owners and the result,
    memory holds `block` rows of each side, their similarities, and a few thousand rows; items are read once a block of
    queries.

    Args:
        queries: (n, d) rows of unit length (or 0: as near to everything).
        items: (m, d) such rows.
        owner_of_query: (n,) int64.
        owner_of_item: (m,) int64.
        block: how many queries and items are compared at a time; changes no result.

    Raises:
        UserError: shapes that do not fit, a row of another length or with a NaN, a query without a right item.
    """
    _check(queries, items, owner_of_query, owner_of_item)
    best, right_ties = _best_right(queries, items, owner_of_query, owner_of_item)
    ahead, ties = torch.zeros_like(right_ties), torch.zeros_like(right_ties)
    for start in range(0, len(queries), block):
        span = slice(start, start + block)
        ahead[span], ties[span] = _compared(_part(queries, start, start + block), items, best[span], block)
        if len(queries) > 16 * block:
            print(f"searched for {min(start + block, len(queries)):,} of {len(queries):,} queries", flush=True)
    return Ranks(ahead, ties - right_ties, right_ties)  # no right item is ahead of the nearest one


def hits(ranks: Ranks, k: int) -> Tensor:
    """The probability that a right item is among the first `k`, equally near ones in random order: (n,) float64.

    With `ahead` a, wrong and right ties w and r, j = k - a places are left for the w + r that are level, and the chance
    that none of them goes to a right one is C(w, j) / C(w + r, j), the product of (w - i) / (w + r - i) over i < j.
    Raises `UserError` where `k` is below 1.
    """
    if k < 1:
        raise UserError(f"recall@{k}: ask for the first 1 or more")
    wrong, level = ranks.wrong_ties.double(), (ranks.wrong_ties + ranks.right_ties).double()
    missed = torch.ones_like(level)
    for place in range(min(k, int(level.max()) if len(level) else 0)):
        filled = place < k - ranks.ahead
        missed *= torch.where(filled, (wrong - place).clamp_min(0) / (level - place).clamp_min(1), 1.0)
    return torch.where(ranks.ahead < k, 1 - missed, 0.0)


def recall(ranks: Ranks, k: int) -> float:
    """Recall@k in [0, 1]: the mean of `hits`. Raises `UserError` where there is no query, or as `hits`."""
    return hits(_some(ranks), k).mean().item()


def expected_rank(ranks: Ranks) -> Tensor:
    """The expected place of the first right item, from 1, equally near ones in random order: (n,) float64.

    Of w wrong and r right ones in random order, w / (r + 1) wrong ones stand before the first right one.
    """
    return ranks.ahead + 1 + ranks.wrong_ties / (ranks.right_ties + 1).double()


def median_rank(ranks: Ranks) -> float:
    """The median of `expected_rank`, of an even number the mean of both in the middle. `UserError`: no query."""
    return float(np.median(expected_rank(_some(ranks)).numpy()))


def rows_at(rows: Rows, positions: Tensor) -> Tensor:
    """The rows at `positions` (n,) int64, (n, d), read in as few slices as their neighbourhood allows.

    Raises `UserError` as `retrieval_ranks` does for a row that is not of unit length.
    """
    distinct, inverse = positions.unique(return_inverse=True)
    runs = distinct.tensor_split((distinct.diff() != 1).nonzero().flatten() + 1)
    return torch.cat([_part(rows, int(run[0]), int(run[-1]) + 1) for run in runs])[inverse]


def _some(ranks: Ranks) -> Ranks:
    if not len(ranks.ahead):
        raise UserError("retrieval: no query to average over: give at least one")
    return ranks


def _check(queries: Rows, items: Rows, owner_of_query: Tensor, owner_of_item: Tensor) -> None:
    for rows, owners, what in ((queries, owner_of_query, "queries"), (items, owner_of_item, "items")):
        if owners.shape != (len(rows),) or owners.dtype != torch.int64:
            found = f"{len(rows)} {what} with owners {tuple(owners.shape)} {owners.dtype}"
            raise UserError(f"{found}: give each one owner, a picture's number in int64")
    if len(queries) and len(items) and (widths := [queries[:1].shape[1], items[:1].shape[1]])[0] != widths[1]:
        raise UserError(f"queries of width {widths[0]} and items of {widths[1]}: embed both with one model")


def _part(rows: Rows, start: int, stop: int) -> Tensor:
    """Rows of `start` to `stop`, checked, on the device that computes."""
    part = rows[start:stop]
    if not isinstance(part, Tensor):
        part = torch.from_numpy(np.array(part))  # a copy: a memory map may not be writable
    part = part.to("cuda" if torch.cuda.is_available() else "cpu")
    lengths = part.float().norm(dim=1)
    bad = (~(((lengths - 1).abs() < 1e-3) | (lengths == 0))).nonzero().flatten()
    if len(bad):
        where = f"row {start + int(bad[0])} has length {lengths[bad[0]]:g}"
        raise UserError(f"embeddings: {where}: give rows of unit length, or mend the model")
    return part


def _best_right(queries: Rows, items: Rows, owner_of_query: Tensor, owner_of_item: Tensor) -> tuple[Tensor, Tensor]:
    """The similarity of each query's nearest right item, (n,) float64, and how many are as near, (n,) int64."""
    order = owner_of_item.argsort(stable=True)
    owners = owner_of_item[order]
    first = torch.searchsorted(owners, owner_of_query)
    counts = torch.searchsorted(owners, owner_of_query, right=True) - first
    if len(lonely := (counts == 0).nonzero().flatten()):
        where = f"query {int(lonely[0])} of picture {int(owner_of_query[lonely[0]])}"
        raise UserError(f"retrieval: {where} has no right item ({len(lonely)} such): leave the query out")
    ends = counts.cumsum(0)
    best = torch.full((len(queries),), -torch.inf, dtype=torch.float64)
    ties = torch.zeros(len(queries), dtype=torch.int64)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, _PAIRS):  # pairs of a query and a right item, query by query
        pairs = torch.arange(start, min(start + _PAIRS, total))
        query = torch.searchsorted(ends, pairs, right=True)
        item = order[first[query] + pairs - (ends - counts)[query]]
        similarity = exact_products(rows_at(queries, query), rows_at(items, item)).cpu()
        span, number = slice(int(query[0]), int(query[-1]) + 1), query - query[0]
        nearest = best[span].scatter_reduce(0, number, similarity, "amax")
        level = torch.bincount(number[similarity == nearest[number]], minlength=len(nearest))
        ties[span] = torch.where(nearest > best[span], level, ties[span] + level)
        best[span] = nearest
    return best, ties


def _compared(queries: Tensor, items: Rows, best: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """How many items are nearer to each query (b, d) than `best` (b,), and how many as near: (b,) int64 each."""
    ahead, level = torch.zeros(len(queries), dtype=torch.int64), torch.zeros(len(queries), dtype=torch.int64)
    best = best.to(queries.device)
    for start in range(0, len(items), block):
        found = _compared_block(queries, _part(items, start, start + block), best)
        ahead += found[0].cpu()
        level += found[1].cpu()
    return ahead, level


def _compared_block(queries: Tensor, items: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    similarities = queries.float() @ items.float().T
    slack = error_bound(queries.shape[1])
    surely = similarities > (best + slack).float().unsqueeze(1)
    rows, columns = (surely ^ (similarities >= (best - slack).float().unsqueeze(1))).nonzero(as_tuple=True)
    if len(rows) * _DENSE > similarities.numel():
        exact = on_grid(queries) @ on_grid(items).T
        return (exact > best.unsqueeze(1)).sum(1), (exact == best.unsqueeze(1)).sum(1)
    ahead, level = surely.sum(1, dtype=torch.int32).long(), torch.zeros(len(queries), dtype=torch.int64).to(best.device)
    for row, column in zip(rows.split(_PAIRS), columns.split(_PAIRS), strict=True):
        exact = exact_products(queries[row], items[column])
        ahead += row[exact > best[row]].bincount(minlength=len(queries))
        level += row[exact == best[row]].bincount(minlength=len(queries))
    return ahead, level

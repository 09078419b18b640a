"""Pair mining: each picture's neighbours are those whose captions are nearest (*Impact of Language Guidance*, 4.1).

Captions repeat ("look at this"), and a picture must never be its own neighbour. So distinct captions are
embedded and searched once, and repeats are handled by rule instead of by the search's tie order. A picture's
neighbours are, in this order, until it has `k`:

    1. the other holders of its caption (cosine 1), in key order going round from the picture itself, so that no
       single picture becomes the neighbour of hundreds;
    2. the holders of the nearest other caption, going round from one that is drawn by a keyed hash; then those of
       the second nearest, and so on.

With an exact search, the cosines of every picture's pairs are what a brute-force search over all pictures finds.
Pairs by picture are mined in the same way, each picture with a text of its own (its key).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from vlrepro.errors import UserError
from vlrepro.pairs.columns import Names, column, in_order, numbered, parts
from vlrepro.pairs.search import Search, exact_search
from vlrepro.pairs.selection import Selection
from vlrepro.randomness import key

REVISION = 1  # of all that decides pairs: this module, search, drawing, scopes

_CHUNK = 1 << 18  # pictures, or embeddings, that are looked at together


@dataclass(frozen=True)
class Pairs:
    """Directed pairs: `source[i]`'s neighbour is `neighbour[i]` (positions), with their embeddings' cosine.

    A source's pairs stand together, the nearest first. `left_out` counts the pictures without any, by reason.
    """

    source: np.ndarray  # (n,) int64, ascending
    neighbour: np.ndarray  # (n,) int64
    cosine: np.ndarray  # (n,) float32, NaN where there is no embedding
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def rank(self) -> np.ndarray:
        """(n,) int64: 0 for a source's nearest neighbour, 1 for the second, ..."""
        return np.arange(len(self.source)) - np.searchsorted(self.source, self.source)


def mine_pairs(
    texts: Names,
    embeddings: np.ndarray,
    keys: Sequence[str] | pa.Array,
    scopes: Names | None = None,
    minimum_cosine: float = -1.0,
    k: int = 1,
    search: Search = exact_search,
) -> Pairs:
    """Mine `k` neighbours a picture among those of its scope (of all, where `scopes` is None).

    Args:
        texts: (n,) captions, or whatever else equals where pictures are to be told apart by key alone.
        embeddings: (n, d) float32 rows of unit length, equal for equal texts; may lie on disk.
        keys: (n,) unique picture keys; they decide among equally near neighbours.
        scopes: (n,) names; only pictures of one name may be paired, and those whose scope is None are left out.
        minimum_cosine: pairs below are left out.
        k: how many neighbours; a picture whose scope is smaller has fewer.
        search: `exact_search` or an `ApproximateSearch`.

    Returns:
        The pairs. Reasons to be left out: `unknown_scope`; `alone_in_scope`; `none_found` (by an approximate
        search); `below_minimum`.

    Raises:
        UserError: an embedding is not finite or not of unit length.
    """
    keys, texts = column(keys), numbered(texts)
    _check(embeddings, keys)
    neighbours = np.full((len(texts), k), -1, np.int64)
    cosines = np.full((len(texts), k), np.nan, np.float32)
    left_out: Counter[str] = Counter()
    scopes = np.zeros(len(texts), np.int64) if scopes is None else numbered(scopes)
    for scope, members in parts(scopes, in_order(keys)):
        if scope < 0 or len(members) == 1:
            left_out["unknown_scope" if scope < 0 else "alone_in_scope"] += len(members)
            continue
        groups = _Groups(members, texts)
        nearest, near = search(Selection(embeddings, groups.first), k)
        for holders, found, at in groups.neighbours(nearest, near, keys):
            neighbours[holders], cosines[holders] = found, at
            left_out["none_found"] += int((found[:, 0] < 0).sum())
    near = cosines.astype(np.float64) >= minimum_cosine
    left_out["below_minimum"] = int(((neighbours[:, 0] >= 0) & ~near.any(1)).sum())
    source, rank = np.nonzero(near)
    return Pairs(source, neighbours[source, rank], cosines[source, rank], counted(left_out))


def counted(left_out: Counter[str]) -> dict[str, int]:
    """Reasons with their counts, by name, without those that count nothing."""
    return {reason: count for reason, count in sorted(left_out.items()) if count}


def _check(embeddings: np.ndarray, keys: pa.Array) -> None:
    bad, first = 0, 0
    for start in range(0, len(embeddings), _CHUNK):
        norms = np.linalg.norm(embeddings[start : start + _CHUNK], axis=1)
        wrong = np.flatnonzero(~(np.abs(norms - 1) < 1e-3))
        first = start + int(wrong[0]) if len(wrong) and not bad else first
        bad += len(wrong)
    if bad:
        raise UserError(
            f"embeddings: {bad} rows are not of unit length (first: the row of {keys[first]}): "
            "leave out what the encoder cannot embed"
        )


class _Groups:
    """The pictures of a scope by caption; captions are numbered by their first holders' keys.

    `holders` (m,) are the pictures' positions, caption by caption and by key; the holders of caption g start at
    `starts[g]` and are `sizes[g]`. `first` (g,) are the first of each.
    """

    def __init__(self, members: np.ndarray, texts: np.ndarray) -> None:
        _, first, inverse = np.unique(texts[members], return_index=True, return_inverse=True)
        number = np.empty(len(first), np.int64)
        number[np.argsort(first)] = np.arange(len(first))
        self._number = number[inverse]
        order = np.argsort(self._number, kind="stable")
        self._number = self._number[order]
        self.holders = members[order]
        self.sizes = np.bincount(self._number)
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.first = self.holders[self.starts]

    def neighbours(
        self, nearest: np.ndarray, cosines: np.ndarray, keys: pa.Array
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield pictures (p,), their neighbours (p, k), -1 where there are no more, and cosines (p, k).

        `nearest` (g, k) and `cosines` (g, k) are the captions that are nearest to each one, -1 where there are no more.
        """
        for start in range(0, len(self.holders), _CHUNK):
            part = slice(start, start + _CHUNK)
            own = self._number[part]
            found = self._chunk(part, nearest[own], keys)
            rank = np.arange(nearest.shape[1])
            twins = (self.sizes[own] - 1)[:, None]
            at = np.take_along_axis(cosines[own], np.maximum(found[1], 0), 1)
            at = np.where(rank < twins, np.float32(1), np.where(found[0] >= 0, at, np.float32(np.nan)))
            yield self.holders[part], found[0], at

    def _chunk(self, part: slice, nearest: np.ndarray, keys: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Neighbours (p, k) of the holders of `part`, and which of their nearest captions each one holds, (p, k)."""
        own = self._number[part]
        turn = np.arange(part.start, part.start + len(own)) - self.starts[own]
        sizes = np.where(nearest >= 0, self.sizes[nearest], 0)
        ends = sizes.cumsum(1)
        drawn = self._drawn(part, (sizes > 1).any(1) & (self.sizes[own] <= nearest.shape[1]), keys)
        every = np.arange(len(own))
        found, which = np.full(nearest.shape, -1, np.int64), np.zeros(nearest.shape, np.int64)
        for rank in range(nearest.shape[1]):
            twin = rank < self.sizes[own] - 1
            found[twin, rank] = self._holder(own, turn + 1 + rank)[twin]
            step = rank - (self.sizes[own] - 1)
            caption = (ends <= step[:, None]).sum(1)
            there = ~twin & (caption < nearest.shape[1])
            which[:, rank] = caption = np.minimum(caption, nearest.shape[1] - 1)
            other, size = nearest[every, caption][there], sizes[every, caption][there]
            step = (step - ends[every, caption])[there] + size
            found[there, rank] = self._holder(other, drawn[there] % size + step)
        return found, which

    def _holder(self, group: np.ndarray, place: np.ndarray) -> np.ndarray:
        return self.holders[self.starts[group] + place % self.sizes[group]]

    def _drawn(self, part: slice, needed: np.ndarray, keys: pa.Array) -> np.ndarray:
        """(p,) int64: a number from each holder's key, 0 where it is not needed."""
        drawn = np.zeros(len(needed), np.int64)
        names = keys.take(pa.array(self.holders[part][needed])).to_pylist()
        drawn[needed] = np.fromiter((key("neighbour", name) for name in names), np.int64, len(names))
        return drawn

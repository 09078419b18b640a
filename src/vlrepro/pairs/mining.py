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

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np

from vlrepro.errors import UserError
from vlrepro.pairs.search import Search, exact_search
from vlrepro.randomness import key

REVISION = 1  # of all that decides pairs: this module, search, drawing, scopes


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
    texts: Sequence[str],
    embeddings: np.ndarray,
    keys: Sequence[str],
    scopes: Sequence[str | None] | None = None,
    minimum_cosine: float = -1.0,
    k: int = 1,
    search: Search = exact_search,
) -> Pairs:
    """Mine `k` neighbours a picture among those of its scope (of all, where `scopes` is None).

    Args:
        texts: (n,) captions, or whatever else equals where pictures are to be told apart by key alone.
        embeddings: (n, d) float32 rows of unit length, equal for equal texts.
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
    _check(embeddings, keys)
    neighbours = np.full((len(texts), k), -1, np.int64)
    cosines = np.full((len(texts), k), np.nan, np.float32)
    left_out: Counter[str] = Counter()
    for scope, members in members_of(scopes, keys).items():
        if scope is None or len(members) == 1:
            left_out["unknown_scope" if scope is None else "alone_in_scope"] += len(members)
            continue
        for position, found in _mine_scope(texts, embeddings, keys, members, k, search):
            for rank, (neighbour, cosine) in enumerate(found):
                neighbours[position, rank], cosines[position, rank] = neighbour, cosine
            left_out["none_found"] += not found
    near = cosines.astype(np.float64) >= minimum_cosine
    left_out["below_minimum"] = int(((neighbours[:, 0] >= 0) & ~near.any(1)).sum())
    source, rank = np.nonzero(near)
    return Pairs(source, neighbours[source, rank], cosines[source, rank], _counted(left_out))


def members_of(scopes: Sequence[str | None] | None, keys: Sequence[str]) -> dict[str | None, list[int]]:
    """Scope -> its pictures' positions in the order of their keys; one scope where `scopes` is None."""
    members: dict[str | None, list[int]] = defaultdict(list)
    for position in sorted(range(len(keys)), key=keys.__getitem__):
        members["" if scopes is None else scopes[position]].append(position)
    return members


def _check(embeddings: np.ndarray, keys: Sequence[str]) -> None:
    norms = np.linalg.norm(embeddings, axis=1)
    bad = np.flatnonzero(~(np.abs(norms - 1) < 1e-3))
    if len(bad):
        raise UserError(
            f"embeddings: {len(bad)} rows are not of unit length (first: the row of {keys[bad[0]]}): "
            "leave out what the encoder cannot embed"
        )


def _mine_scope(
    texts: Sequence[str], embeddings: np.ndarray, keys: Sequence[str], members: Sequence[int], k: int, search: Search
) -> Iterator[tuple[int, list[tuple[int, float]]]]:
    """Yield each member with its up to `k` (neighbour, cosine)."""
    holders: dict[str, list[int]] = defaultdict(list)
    for position in members:
        holders[texts[position]].append(position)
    groups = list(holders.values())
    nearest, cosines = search(embeddings[[group[0] for group in groups]], k)
    for number, same in enumerate(groups):
        others = [
            (groups[other], float(cosine))
            for other, cosine in zip(nearest[number], cosines[number], strict=True)
            if other >= 0
        ]
        for turn, position in enumerate(same):
            twins = ((twin, 1.0) for twin in _round(same, turn + 1, len(same) - 1))
            found = chain(twins, _drawn(others, keys[position]))
            yield position, list(islice(found, k))


def _drawn(others: Sequence[tuple[list[int], float]], own_key: str) -> Iterator[tuple[int, float]]:
    for group, cosine in others:
        yield from ((holder, cosine) for holder in _round(group, key("neighbour", own_key), len(group)))


def _round(group: Sequence[int], start: int, count: int) -> Iterator[int]:
    return (group[(start + step) % len(group)] for step in range(count))


def _counted(left_out: Counter[str]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(left_out.items()) if count}

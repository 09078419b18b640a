"""Pair mining: each picture's neighbour is the one whose caption is nearest (*Impact of Language Guidance*, 4.1).

Captions repeat ("look at this"), and a picture must never be its own neighbour. So distinct captions are
embedded and searched once, exactly, and repeats are handled by rule instead of by the search's tie order:
a picture whose caption others share takes the next of them (cosine 1), going round in key order, so that no
single picture becomes the neighbour of hundreds; any other takes one holder of the nearest other caption, drawn
by a keyed hash. The cosine of every pair is what a brute-force search over all pictures finds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from vlrepro.errors import UserError
from vlrepro.randomness import key

REVISION = 1


@dataclass(frozen=True)
class Pairs:
    """Directed pairs: `source[i]`'s neighbour is `neighbour[i]` (positions), with their captions' cosine."""

    source: np.ndarray  # (n,) int64
    neighbour: np.ndarray  # (n,) int64
    cosine: np.ndarray  # (n,) float32


def mine_pairs(
    captions: Sequence[str],
    embeddings: np.ndarray,
    keys: Sequence[str],
    groups: Sequence[str] | None = None,
    minimum_cosine: float = -1.0,
) -> Pairs:
    """Mine one neighbour a picture among those of its group (of all, where `groups` is None).

    Args:
        captions: (n,) texts.
        embeddings: (n, d) float32 rows of unit length, equal for equal captions.
        keys: (n,) picture keys; they decide among equally near neighbours.
        groups: (n,) group names.
        minimum_cosine: pairs below are left out.

    Returns:
        The pairs, sources ascending. A picture that is alone in its scope has none.

    Raises:
        UserError: an embedding is not finite or not of unit length.
    """
    _check(embeddings, keys)
    scopes: dict[str, list[int]] = defaultdict(list)
    for position in range(len(captions)):
        scopes[groups[position] if groups is not None else ""].append(position)
    found = [pair for members in scopes.values() for pair in _mine_scope(captions, embeddings, keys, members)]
    kept = sorted(pair for pair in found if pair[2] >= minimum_cosine)
    source, neighbour, cosine = zip(*kept, strict=True) if kept else ((), (), ())
    return Pairs(np.array(source, np.int64), np.array(neighbour, np.int64), np.array(cosine, np.float32))


def _check(embeddings: np.ndarray, keys: Sequence[str]) -> None:
    norms = np.linalg.norm(embeddings, axis=1)
    bad = np.flatnonzero(~(np.abs(norms - 1) < 1e-3))
    if len(bad):
        raise UserError(
            f"embeddings: {len(bad)} rows are not of unit length (first: the caption of {keys[bad[0]]}): "
            "leave out captions that the encoder cannot embed"
        )


def _mine_scope(
    captions: Sequence[str], embeddings: np.ndarray, keys: Sequence[str], members: Sequence[int]
) -> list[tuple[int, int, float]]:
    holders: dict[str, list[int]] = defaultdict(list)
    for position in sorted(members, key=lambda position: keys[position]):
        holders[captions[position]].append(position)
    texts = list(holders)
    nearest, cosines = _nearest_other(embeddings[[holders[text][0] for text in texts]])
    pairs = []
    for number, text in enumerate(texts):
        same = holders[text]
        for turn, position in enumerate(same):
            if len(same) > 1:
                pairs.append((position, same[(turn + 1) % len(same)], 1.0))
            elif nearest[number] >= 0:
                others = holders[texts[nearest[number]]]
                chosen = others[key("neighbour", keys[position]) % len(others)]
                pairs.append((position, chosen, float(cosines[number])))
    return pairs


def _nearest_other(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index and cosine of each distinct caption's nearest other one; -1 where there is none. Exact."""
    count = len(embeddings)
    if count < 2:
        return np.full(count, -1), np.zeros(count, np.float32)
    index = faiss.IndexFlatIP(embeddings.shape[1])
    index.add(np.ascontiguousarray(embeddings, np.float32))
    cosines, found = index.search(np.ascontiguousarray(embeddings, np.float32), 2)
    # Distinct captions may embed alike (the encoder's truncation), so self is not always the first of the two.
    second = (found[:, 0] == np.arange(count)).astype(int)
    rows = np.arange(count)
    return found[rows, second], cosines[rows, second]

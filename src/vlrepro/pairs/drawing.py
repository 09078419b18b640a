"""Pairs that are drawn, not searched: of the same class (an oracle, the best that pairs could be) or at random.

They are the controls of mined pairs. Every draw is a hash of the seed and the picture's key, so it depends on which
pictures there are and not on their order.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from vlrepro.pairs.columns import Names, column, in_order, numbered, parts
from vlrepro.pairs.mining import Pairs, counted
from vlrepro.randomness import key


def draw_pairs(
    keys: Sequence[str] | pa.Array,
    seed: int,
    k: int = 1,
    scopes: Names | None = None,
    labels: Names | None = None,
) -> Pairs:
    """Draw `k` distinct other pictures for each one, among those of its scope and (with `labels`) its class.

    Args:
        keys: (n,) unique picture keys.
        seed: another seed draws other pairs.
        k: how many neighbours; a picture with fewer candidates has fewer.
        scopes: (n,) names, as for `mine_pairs`.
        labels: (n,) class names, "" for a picture without.

    Returns:
        The pairs, their cosines NaN. Reasons to be left out: `unknown_scope`, `alone_in_scope`, `unlabelled`,
        `alone_in_class` (in its scope).
    """
    keys, every = column(keys), np.zeros(len(keys), np.int64)
    scopes = every if scopes is None else numbered(scopes)
    labels = every if labels is None else numbered(labels, blank=True)
    neighbours = np.full((len(keys), k), -1, np.int64)
    left_out: Counter[str] = Counter()
    for scope, members in parts(scopes, in_order(keys)):
        if scope < 0 or len(members) == 1:
            left_out["unknown_scope" if scope < 0 else "alone_in_scope"] += len(members)
            continue
        for label, candidates in parts(labels, members):
            if label < 0:
                left_out["unlabelled"] += len(candidates)
            elif len(candidates) == 1:
                left_out["alone_in_class"] += 1
            else:
                for own, name in enumerate(keys.take(pa.array(candidates)).to_pylist()):
                    others = _draw_others(own, len(candidates), k, seed, name)
                    neighbours[candidates[own], : len(others)] = candidates[others]
    source, rank = np.nonzero(neighbours >= 0)
    return Pairs(source, neighbours[source, rank], np.full(len(source), np.nan, np.float32), counted(left_out))


def _draw_others(own: int, count: int, k: int, *purpose: int | str) -> list[int]:
    """Up to `k` distinct numbers below `count` other than `own`, each uniform among those that are left."""
    taken, drawn = [own], []
    for turn in range(min(k, count - 1)):
        number = key("drawn neighbour", *purpose, turn) % (count - len(taken))
        for other in taken:  # ascending: number counts only what is not taken
            number += number >= other
        insort(taken, number)
        drawn.append(number)
    return drawn

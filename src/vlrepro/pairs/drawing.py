"""Pairs that are drawn, not searched: of the same class (an oracle, the best that pairs could be) or at random.

They are the controls of mined pairs. Every draw is a hash of the seed and the picture's key, so it depends on which
pictures there are and not on their order.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Sequence

import numpy as np

from vlrepro.pairs.mining import Pairs, members_of
from vlrepro.randomness import key


def draw_pairs(
    keys: Sequence[str],
    seed: int,
    k: int = 1,
    scopes: Sequence[str | None] | None = None,
    labels: Sequence[str] | None = None,
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
    rows: list[tuple[int, int]] = []
    left_out: Counter[str] = Counter()
    for scope, members in members_of(scopes, keys).items():
        if scope is None or len(members) == 1:
            left_out["unknown_scope" if scope is None else "alone_in_scope"] += len(members)
            continue
        classes = members_of([labels[i] for i in members] if labels else None, [keys[i] for i in members])
        for name, places in classes.items():
            candidates = [members[place] for place in places]
            if labels and not name:
                left_out["unlabelled"] += len(candidates)
            elif len(candidates) == 1:
                left_out["alone_in_class"] += 1
            else:
                rows += [
                    (position, candidates[other])
                    for own, position in enumerate(candidates)
                    for other in _draw_others(own, len(candidates), k, seed, keys[position])
                ]
    rows.sort(key=lambda pair: pair[0])  # stable: the order of the draws stays
    source, neighbour = np.array(rows, np.int64).reshape(-1, 2).T
    return Pairs(source, neighbour, np.full(len(source), np.nan, np.float32), dict(sorted(left_out.items())))


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

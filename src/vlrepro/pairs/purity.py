"""How often a pair is of one kind: the truth about mined pairs, where concepts and labels are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vlrepro.pairs.columns import Names, numbered
from vlrepro.pairs.mining import Pairs


def purity(pairs: Pairs, names: Names) -> tuple[float, float, float]:
    """Share of pairs whose two pictures have the same name, and its 95 % Wilson interval.

    The interval (Wilson 1927, "Probable inference") treats sources as independent draws. The several pairs of one
    source are not, so they count as one: the interval is that of as many draws as there are sources.
    """
    values = numbered(names)
    n = len(np.unique(pairs.source))
    if n == 0:
        return float("nan"), float("nan"), float("nan")
    share = float(np.mean(values[pairs.source] == values[pairs.neighbour]))
    z = 1.959963984540054
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return share, centre - half, centre + half


def random_purity(names: Names) -> float:
    """The purity of pairs drawn at random without self-pairs: sum over names of n(n - 1) / (N(N - 1))."""
    _, counts = np.unique(numbered(names), return_counts=True)
    total = counts.sum()
    return float((counts * (counts - 1)).sum() / max(total * (total - 1), 1))


def summarise(pairs: Pairs, truth: Mapping[str, Names], texts: Names | None) -> dict[str, Any]:
    """What is known about pairs among n pictures, as JSON.

    Args:
        pairs: their `left_out` and their sources together are all n pictures.
        truth: criterion (`concept`, `label`, `group`) -> (n,) names.
        texts: (n,) captions, or None where the pairs do not rest on any.

    Returns:
        `pictures`, `pairs`, `without_neighbour` and `reasons` (why, with counts); `same_caption`: the share of pairs
        whose pictures have equal captions, None without captions; `purity` and `random_purity` by criterion.
    """
    shares = {name: purity(pairs, names) for name, names in truth.items()}
    without = sum(pairs.left_out.values())
    return {
        "pictures": len(np.unique(pairs.source)) + without,
        "pairs": len(pairs.source),
        "without_neighbour": without,
        "reasons": dict(pairs.left_out),
        "same_caption": None if texts is None else _same(pairs, texts),
        "purity": {name: dict(zip(("share", "low", "high"), values, strict=True)) for name, values in shares.items()},
        "random_purity": {name: random_purity(names) for name, names in truth.items()},
    }


def _same(pairs: Pairs, texts: Names) -> float:
    values = numbered(texts)
    same = values[pairs.source] == values[pairs.neighbour]
    return float(np.mean(same)) if len(same) else 0.0

"""How often a pair is of one kind: the truth about mined pairs, where concepts and labels are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlrepro.pairs.mining import Pairs


def purity(pairs: Pairs, names: Sequence[str]) -> tuple[float, float, float]:
    """Share of pairs whose two pictures have the same name, and its 95 % Wilson interval.

    The interval (Wilson 1927, "Probable inference") treats pairs as independent draws.
    """
    values = np.asarray(names)
    n = len(pairs.source)
    if n == 0:
        return float("nan"), float("nan"), float("nan")
    share = float(np.mean(values[pairs.source] == values[pairs.neighbour]))
    z = 1.959963984540054
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return share, centre - half, centre + half


def random_purity(names: Sequence[str]) -> float:
    """The purity of pairs drawn at random without self-pairs: sum over names of n(n - 1) / (N(N - 1))."""
    _, counts = np.unique(np.asarray(names), return_counts=True)
    total = counts.sum()
    return float((counts * (counts - 1)).sum() / max(total * (total - 1), 1))

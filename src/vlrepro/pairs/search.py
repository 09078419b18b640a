"""Nearest rows by cosine, exactly.

Few rows are searched by faiss, many in blocks (`vlrepro.pairs.blocks`). On a machine with GPUs and `faiss-gpu`, faiss's
index is spread over all of them; blocks are multiplied on a GPU where torch finds one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

from vlrepro.pairs.blocks import BlockSearch
from vlrepro.pairs.selection import Selection

Rows = np.ndarray | Selection
Search = Callable[[Rows, int], tuple[np.ndarray, np.ndarray]]
MINIMUM_ROWS = 25_000  # below, faiss takes seconds, and the cells of an approximate search hold too few rows


def exact_search(
    rows: Rows, k: int, state: Path | None = None, identity: str = "", seconds: float = 60.0
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest other rows of each row.

    Args:
        rows: (n, d) float32 of unit length.
        k: how many; fewer are found where n - 1 < k.
        state: a folder that keeps, every `seconds`, how far the search of many rows has come, so that it goes on.
        identity: what stands for the content of the rows in that folder.
        seconds: between two savings.

    Returns:
        Indices (n, k) int64, -1 where there is none, and cosines (n, k) float32, the nearest first. A row is never
        its own neighbour, even where others equal it. Of equally near rows among `MINIMUM_ROWS` or more, the first.
    """
    rows = selection(rows)
    if len(rows) < MINIMUM_ROWS:
        index = faiss.IndexFlatIP(rows.width)
        index = on_gpus(index) if faiss.get_num_gpus() else index
        every = np.arange(len(rows))
        index.add(rows.at(every))
        return answers(index, rows, every, k)
    ordered, places = rows.in_reading_order()
    search = BlockSearch(ordered, k, places)
    search.run(state, identity, seconds)
    found, cosines = np.empty((len(rows), k), np.int64), np.empty((len(rows), k), np.float32)
    found[places], cosines[places] = search.nearest.names, search.nearest.cosines
    return found, cosines


def selection(rows: Rows) -> Selection:
    """All rows as a selection, or the selection that was given."""
    return rows if isinstance(rows, Selection) else Selection(rows)


def on_gpus(index: faiss.Index) -> faiss.Index:
    """The index, spread over all GPUs."""
    options = faiss.GpuMultipleClonerOptions()
    options.shard = True
    return faiss.index_cpu_to_all_gpus(index, options)


def answers(index: faiss.Index, rows: Selection, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest others of the rows at `queries` (q,), in an index of all rows.

    Names (q, k) int64, -1 where there is none, and cosines (q, k) float32, there -inf.
    """
    found = np.full((len(queries), k), -1, np.int64)
    cosines = np.full((len(queries), k), -np.inf, np.float32)
    wanted = min(k + 1, len(rows))
    near, names = index.search(rows.at(queries), wanted)
    keep = _without_self(names, queries)
    found[:, : wanted - 1] = names[keep].reshape(len(queries), wanted - 1)
    cosines[:, : wanted - 1] = near[keep].reshape(len(queries), wanted - 1)
    return found, np.where(found >= 0, cosines, -np.inf)


def _without_self(names: np.ndarray, own: np.ndarray) -> np.ndarray:
    """A mask of all but one of each row's `names`: its own, or the last where equal rows have pushed it out."""
    keep = names != own[:, None]
    keep[keep.all(1), -1] = False
    return keep

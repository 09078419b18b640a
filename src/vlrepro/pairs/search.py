"""Nearest rows by cosine: exact, or approximate with its recall measured.

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
from vlrepro.randomness import key, numpy_generator

Rows = np.ndarray | Selection
Search = Callable[[Rows, int], tuple[np.ndarray, np.ndarray]]
BLOCK = 1 << 16  # queries at a time: memory beside the index stays below 2 * k * BLOCK numbers
MINIMUM_ROWS = 25_000  # below, faiss takes seconds, and the cells of an approximate search hold too few rows
_QUERIES = 1000  # on which recall is measured


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
    rows = _selection(rows)
    if len(rows) < MINIMUM_ROWS:
        return _search(faiss.IndexFlatIP(rows.width), rows, k)
    ordered, places = rows.in_reading_order()
    search = BlockSearch(ordered, k, places)
    search.run(state, identity, seconds)
    found, cosines = np.empty((len(rows), k), np.int64), np.empty((len(rows), k), np.float32)
    found[places], cosines[places] = search.nearest.names, search.nearest.cosines
    return found, cosines


class ApproximateSearch:
    """The nearest other rows by an inverted file.

    It is the one of Jégou et al. 2011, "Product quantization for nearest neighbor search", but with whole rows. Rows
    are put into 4 sqrt(n) cells around k-means centroids, and the 1/16 of all cells that are nearest to a query are
    searched. The centroids depend on the rows, the seed and the number of threads alone. Fewer than `MINIMUM_ROWS`
    rows are searched exactly. Recall is measured along the way, on up to 1,000 rows of each search.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._asked = self._near = 0  # neighbours, over all searches

    def __call__(self, rows: Rows, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `exact_search`, but neighbours may be missed; fewer than `k` may be found."""
        rows = _selection(rows)
        if len(rows) < MINIMUM_ROWS:
            return exact_search(rows, k)
        found, cosines = _search(self.cells(rows), rows, k)
        self._measure(rows, cosines)
        return found, cosines

    def cells(self, rows: Selection) -> faiss.IndexIVFFlat:
        """An index with its cells and nothing in them yet."""
        count, width = len(rows), rows.width
        cells = round(4 * count**0.5)
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, cells, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = max(cells // 16, 1)
        index.cp.seed = key("cells of a search", self.seed) % (1 << 31)
        generator = numpy_generator("training rows of a search", self.seed, count)
        chosen = np.sort(generator.choice(count, min(count, 64 * cells), replace=False))
        index.train(rows.at(chosen))
        return index

    def _measure(self, rows: Selection, cosines: np.ndarray) -> None:
        generator = numpy_generator("queries for recall", self.seed, len(rows))
        chosen = np.sort(generator.choice(len(rows), min(len(rows), _QUERIES), replace=False))
        index = faiss.IndexFlatIP(rows.width)
        truth = _search(index, rows, cosines.shape[1], chosen)[1]
        # By cosine, not by name: among equally near rows either is right. float32 sums differ by their order.
        self._near += int((cosines[chosen] >= truth[:, -1:] - 1e-5).sum())
        self._asked += truth.size

    @property
    def recall(self) -> float | None:
        """Share of the k nearest that were found, over all searches so far; None where all of them were exact."""
        return self._near / self._asked if self._asked else None


def _selection(rows: Rows) -> Selection:
    return rows if isinstance(rows, Selection) else Selection(rows)


def _search(
    index: faiss.Index, rows: Selection, k: int, queries: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Add `rows` to `index` and find the `k` nearest others of the rows at `queries`, of all by default."""
    if faiss.get_num_gpus():
        options = faiss.GpuMultipleClonerOptions()
        options.shard = True
        index = faiss.index_cpu_to_all_gpus(index, options)
    for start in range(0, len(rows), BLOCK):
        index.add(rows.at(slice(start, start + BLOCK)))
    queries = np.arange(len(rows)) if queries is None else queries
    found = np.full((len(queries), k), -1, np.int64)
    cosines = np.full((len(queries), k), -np.inf, np.float32)
    wanted = min(k + 1, len(rows))
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK]
        near, names = index.search(rows.at(block), wanted)
        keep = _without_self(names, block)
        found[start : start + BLOCK, : wanted - 1] = names[keep].reshape(len(block), wanted - 1)
        cosines[start : start + BLOCK, : wanted - 1] = near[keep].reshape(len(block), wanted - 1)
        if len(queries) > BLOCK:
            print(f"searched {start + len(block):,} of {len(queries):,} rows", flush=True)
    return found, np.where(found >= 0, cosines, -np.inf)


def _without_self(names: np.ndarray, own: np.ndarray) -> np.ndarray:
    """A mask of all but one of each row's `names`: its own, or the last where equal rows have pushed it out."""
    keep = names != own[:, None]
    keep[keep.all(1), -1] = False
    return keep

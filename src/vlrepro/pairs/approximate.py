"""Nearest rows by an inverted file: some of them are missed, and how many is measured."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
import torch
from faiss.contrib.ondisk import merge_ondisk

from vlrepro.pairs.nearest import Nearest
from vlrepro.pairs.search import MINIMUM_ROWS, Rows, answers, exact_search, on_gpus, selection
from vlrepro.pairs.selection import Selection
from vlrepro.randomness import key, numpy_generator

BLOCK = 1 << 16  # queries at a time
PART = 1 << 18  # rows that are put into cells at a time: 0.8 GB of 768 numbers
IN_MEMORY = 1 << 31  # bytes of rows that stay in memory; more of them lie on disk, by cell
_QUERIES = 1000  # on which recall is measured


class ApproximateSearch:
    """The nearest other rows by an inverted file.

    It is the one of Jégou et al. 2011, "Product quantization for nearest neighbor search", but with whole rows. Rows
    are put into 4 sqrt(n) cells around k-means centroids, and the 1/16 of all cells that are nearest to a query are
    searched. The centroids depend on the rows, the seed and the number of threads alone. Fewer than `MINIMUM_ROWS`
    rows are searched exactly. Recall is measured along the way, on up to 1,000 rows of each search.

    Args:
        seed: of the cells and of the rows on which recall is measured.
        state: a folder that keeps, every `seconds`, the answers so far, so that a search goes on after its last block,
            and beside them rows of more than `IN_MEMORY` bytes.
        identity: what stands for the content of the rows in that folder.
        seconds: between two savings.
    """

    def __init__(self, seed: int, state: Path | None = None, identity: str = "", seconds: float = 60.0) -> None:
        self.seed = seed
        self.state = state
        self.identity = identity
        self.seconds = seconds
        self._asked = self._near = 0  # neighbours, over all searches

    def __call__(self, rows: Rows, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `exact_search`, but neighbours may be missed; fewer than `k` may be found."""
        rows = selection(rows)
        if len(rows) < MINIMUM_ROWS:
            return exact_search(rows, k)
        nearest, start = Nearest(len(rows), k), 0
        digest = self._digest(rows, k)
        path = self.state / f"search-{digest[:16]}.safetensors" if self.state else None
        if path and (position := nearest.load(path, digest)):
            start = position[0]
            print(f"{path}: goes on after {start:,} of {len(rows):,} rows", flush=True)
        if start < len(rows):
            with self._filled(rows) as index:
                self._answer(index, rows, nearest, start, path, digest)
        self._measure(rows, nearest.cosines)
        return nearest.names, nearest.cosines.astype(np.float32)

    def _answer(
        self, index: faiss.Index, rows: Selection, nearest: Nearest, start: int, path: Path | None, digest: str
    ) -> None:
        """Search the rows from `start` on, block by block."""
        saved = time.monotonic()
        for first in range(start, len(rows), BLOCK):
            queries = np.arange(first, min(first + BLOCK, len(rows)))
            nearest.names[queries], nearest.cosines[queries] = answers(index, rows, queries, nearest.names.shape[1])
            last = queries[-1] + 1 == len(rows)
            if path and (last or time.monotonic() - saved >= self.seconds):
                nearest.save(path, digest, (int(queries[-1]) + 1, 0))
                saved = time.monotonic()
            if len(rows) > BLOCK:
                print(f"searched {queries[-1] + 1:,} of {len(rows):,} rows", flush=True)

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

    @contextmanager
    def _filled(self, rows: Selection) -> Iterator[faiss.Index]:
        """The cells with all rows in them: on GPUs, in memory, or on disk while they are searched."""
        index = self.cells(rows)
        gpus = faiss.get_num_gpus() > 0
        if gpus or self.state is None or 4 * len(rows) * rows.width <= IN_MEMORY:
            index = on_gpus(index) if gpus else index
            for first in range(0, len(rows), PART):
                index.add(rows.at(slice(first, first + PART)))
            yield index
            return
        self.state.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.state, prefix="cells-") as folder:
            parts = [self._part(index, rows, first, Path(folder)) for first in range(0, len(rows), PART)]
            merge_ondisk(index, parts, f"{folder}/cells")
            for part in parts:
                Path(part).unlink()
            yield index

    @staticmethod
    def _part(index: faiss.IndexIVFFlat, rows: Selection, first: int, folder: Path) -> str:
        """A file of some rows by cell."""
        part = faiss.clone_index(index)
        block = rows.at(slice(first, first + PART))
        part.add_with_ids(block, np.arange(first, first + len(block)))
        path = f"{folder}/part-{first}"
        faiss.write_index(part, path)
        print(f"put {first + len(block):,} of {len(rows):,} rows into cells", flush=True)
        return path

    def _measure(self, rows: Selection, cosines: np.ndarray) -> None:
        """Count how many of some rows' nearest were found.

        By cosine, not by name: among equally near rows either is right. float32 sums differ by their order.
        """
        generator = numpy_generator("queries for recall", self.seed, len(rows))
        chosen = np.sort(generator.choice(len(rows), min(len(rows), _QUERIES), replace=False))
        asked, best = rows.at(chosen), torch.full((len(chosen), cosines.shape[1]), -torch.inf)
        for first in range(0, len(rows), BLOCK):
            near = torch.from_numpy(asked @ rows.at(slice(first, first + BLOCK)).T)
            own = np.flatnonzero((chosen >= first) & (chosen < first + near.shape[1]))
            near[own, chosen[own] - first] = -torch.inf
            best = torch.cat((best, near), dim=1).topk(best.shape[1], dim=1).values
        self._near += int((cosines[chosen] >= best[:, -1:].numpy() - 1e-5).sum())
        self._asked += best.numel()

    def _digest(self, rows: Selection, k: int) -> str:
        """SHA-256 (hex) of what the answers depend on."""
        found = hashlib.sha256(f"{self.identity} approximate {self.seed} {k} {rows.width}".encode())
        found.update(np.ascontiguousarray(rows.positions, np.int64).data)
        return found.hexdigest()

    @property
    def recall(self) -> float | None:
        """Share of the k nearest that were found, over all searches so far; None where all of them were exact."""
        return self._near / self._asked if self._asked else None

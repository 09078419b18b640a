"""Exact nearest rows among millions: products of blocks with blocks, in bounded memory, and resumable.

The product of two blocks serves both: each row's greatest cosines are read off along one side and along the other, so
each pair of blocks is multiplied once. float32 products decide only what their proven error bound lets them decide;
what is within it of a row's `k`-th neighbour so far is computed exactly (`vlrepro.exact_products`). The neighbours are
therefore those of exact arithmetic, equally near ones by name, whatever the sizes of blocks, threads, device and
interruptions.

A slab of rows stays in memory (on the GPU, where there is one), and the rows after it pass by in strips of a few tiles.
Beside the rows themselves, which are read where they lie, memory holds one slab (`SLAB` rows), one strip, the product
of two tiles, some hundred MB of candidates, and 36 + 16 k bytes a row.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vlrepro.exact_products import error_bound, exact_products, on_grid
from vlrepro.pairs.nearest import Nearest
from vlrepro.pairs.selection import Selection

SLAB = 1 << 18  # rows that stay: of width 768, 0.8 GB. All rows are read once a slab
TILES = {"cpu": 1024, "cuda": 8192}  # rows that are multiplied at a time: a product stays in the cache, or fills a GPU
_STRIP = 16  # tiles that pass by a slab together: the more, the fewer candidates are computed exactly in vain
_PAIRS = 512  # exact products at a time, where they are computed one by one: so many stay in the cache
_POOL = 1 << 20  # candidates that wait at most
_DENSE = 64  # a float64 product of two tiles is faster once one cosine in so many is open
_OPENED = 1 << 22  # cosines of rows with candidates that are looked at together
_LEAST = -3.0  # below any cosine, above what a row has with itself


class BlockSearch:
    """The `k` nearest other rows of each row, as far as the steps so far have found them."""

    def __init__(self, rows: Selection, k: int, names: np.ndarray | None = None, slab: int = SLAB, tile: int = 0):
        """Prepare a search of `rows` (n, d), of unit length.

        Args:
            rows: where they lie is read in ascending order, so give them in the source's order.
            k: how many neighbours.
            names: (n,) int64, distinct: what rows are called, and which of equally near ones comes first (the lower).
            slab: rows that stay in memory; changes no result.
            tile: rows that are compared at a time, 0 for the device's; changes no result.
        """
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.nearest = Nearest(len(rows), k)
        self.position = (0, 0)  # the slab and the strip that come next, by their first rows
        self._rows, self._k = rows, k
        self._names = np.arange(len(rows)) if names is None else names
        self._tile = tile or TILES[self.device]
        self._slab = -(-slab // self._tile) * self._tile
        self._slack = error_bound(rows.width)
        self._floors = torch.full((len(rows),), -torch.inf, device=self.device)  # float32 below is of no interest
        self._products = torch.empty(0, device=self.device)
        self._held: tuple[int, Tensor] | None = None
        self._pool: list[tuple[Tensor, Tensor, Tensor]] = []  # rows, others and their float32 cosines
        self._waiting = 0  # candidates in the pool

    @property
    def multiplied(self) -> int:
        """Pairs of rows that the steps so far have compared."""
        slab, column = self.position
        full = sum(self._pairs(start, len(self._rows)) for start in range(0, slab, self._slab))
        return full + self._pairs(slab, column)

    def run(self, state: Path | None = None, identity: str = "", seconds: float = 60.0) -> None:
        """Take all steps that are left.

        With `state`, a folder, go on from its file of this search where there is one, and save there every `seconds`
        and at the end. `identity` stands for what the rows are read from.
        """
        digest = self._digest(identity) if state else ""
        path = state / f"search-{digest[:16]}.safetensors" if state else None
        if path and (position := self.nearest.load(path, digest)):
            self.position = position
            self._floors.copy_(torch.from_numpy(self.nearest.cosines[:, -1] - self._slack))
            print(f"{path}: goes on after {self._progress()}", flush=True)
        saved = time.monotonic()
        for _ in self.steps():
            if time.monotonic() - saved >= seconds:
                print(f"compared {self._progress()}", flush=True)
                if path:
                    self.nearest.save(path, digest, self.position)
                saved = time.monotonic()
        if path:
            self.nearest.save(path, digest, self.position)

    def steps(self) -> Iterator[None]:
        """Compare a slab with one strip after the other, until all are; yields after each."""
        while (slab := self.position[0]) < len(self._rows):
            column = self.position[1]
            self._compare_slab(slab, column)
            column += self._tile * _STRIP
            done = column >= len(self._rows)
            self.position = (slab + self._slab, slab + self._slab) if done else (slab, column)
            yield

    def _compare_slab(self, slab: int, column: int) -> None:
        if self._held is None or self._held[0] != slab:
            self._held = None  # before the next: two slabs are too much
            self._held = slab, self._read(slab, slab + self._slab)
        held, strip = self._held[1], self._read(column, column + self._tile * _STRIP)
        for first in range(0, len(strip), self._tile):
            tile = strip[first : first + self._tile]
            for start in range(0, min(len(held), column + first + 1 - slab), self._tile):
                self._compare(held[start : start + self._tile], slab + start, tile, column + first)
                if self._waiting > _POOL:
                    self._empty_pool(slab, held, column, strip)
        self._empty_pool(slab, held, column, strip)

    def _compare(self, left: Tensor, start: int, right: Tensor, column: int) -> None:
        shape = (len(left), len(right))
        if self._products.shape != shape:
            self._products = torch.empty(shape, device=self.device)
        products = torch.mm(left, right.T, out=self._products)
        if start == column:
            products.fill_diagonal_(-torch.inf)
        self._collect(products, 0, left, start, right, column)
        if start != column:
            self._collect(products, 1, right, column, left, start)

    def _collect(self, products: Tensor, side: int, own: Tensor, start: int, others: Tensor, column: int) -> None:
        """Pool what may be among the nearest of the rows `own`, which are at `start`; products have them as dim `side`.

        A row's floor rises with the float32 cosines that it has met: `k` others are at least so near, less the bound.
        """
        floors = self._floors[start : start + len(own)]
        peaks = products.amax(1 - side)
        opened = (peaks >= floors).nonzero().flatten()
        for rows in opened.split(max(_OPENED // len(others), 1)):
            part, least = products.index_select(side, rows), floors[rows]
            if self._k <= len(others):
                kth = peaks[rows] if self._k == 1 else part.topk(self._k, 1 - side).values.select(1 - side, -1)
                least = torch.maximum(least, kth - 2 * self._slack)
            floors[rows] = least
            where = (part >= least.clamp_min(_LEAST).unsqueeze(1 - side)).nonzero().T
            row, other = where[side], where[1 - side]
            if len(row) * _DENSE > part.numel():
                cosines = (on_grid(own[rows]) @ on_grid(others).T)[row, other]
                self._take_in(start + rows[row], column + other, cosines)
            else:
                self._pool.append((start + rows[row], column + other, part[where[0], where[1]]))
                self._waiting += len(row)

    def _empty_pool(self, slab: int, held: Tensor, column: int, strip: Tensor) -> None:
        """Compute exactly what is still of interest; of each pair one row is of the slab and the other of the strip."""
        if not self._pool:
            return
        rows, others, cosines = (torch.cat(parts) for parts in zip(*self._pool, strict=True))
        self._pool.clear()
        self._waiting = 0
        open_still = cosines >= self._floors[rows]
        rows, others = rows[open_still], others[open_still]
        # The strip is not before the slab, so of two rows the earlier is of the slab
        pairs = torch.minimum(rows, others) - slab, torch.maximum(rows, others) - column
        parts = zip(*(places.split(_PAIRS) for places in pairs), strict=True)
        exact = [exact_products(held[left], strip[right]) for left, right in parts]
        self._take_in(rows, others, torch.cat(exact))

    def _take_in(self, rows: Tensor, others: Tensor, cosines: Tensor) -> None:
        positions = rows.cpu().numpy()
        self.nearest.offer(positions, cosines.cpu().numpy(), self._names[others.cpu().numpy()])
        worst = torch.from_numpy(self.nearest.cosines[positions, -1] - self._slack).to(self.device, torch.float32)
        self._floors[rows] = torch.maximum(self._floors[rows], worst)

    def _read(self, start: int, stop: int) -> Tensor:
        # A copy: a memory map may not be writable, and its pages may leave memory between two products
        return torch.from_numpy(self._rows.at(slice(start, stop)).copy()).to(self.device)

    def _pairs(self, slab: int, column: int) -> int:
        """Pairs that the tiles before `column` make with the slab that starts at `slab`."""
        size = max(min(self._slab, len(self._rows) - slab), 0)
        columns = max(min(column, len(self._rows)) - slab, 0)
        inside = min(columns, size)
        return inside * (inside - 1) // 2 + (columns - inside) * size

    def _progress(self) -> str:
        share = self.multiplied / max(len(self._rows) * (len(self._rows) - 1) // 2, 1)
        return f"{share:.1%} of all pairs of {len(self._rows):,} rows"

    def _digest(self, identity: str) -> str:
        """SHA-256 (hex) of what the result and the positions in the search depend on."""
        found = hashlib.sha256(f"{identity} {self._k} {self._slab} {self._tile} {self._rows.width}".encode())
        for numbers in (self._rows.positions, self._names):
            found.update(np.ascontiguousarray(numbers, np.int64).data)
        return found.hexdigest()

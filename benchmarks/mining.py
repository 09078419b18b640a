"""Time exact mining beside what the machine can do at best, products of two tiles and nothing else, and beside faiss.

Rows are synthetic and of unit length, on disk as real ones are: of `--rank` hidden numbers and a little noise, so that
they have near neighbours as captions have. Ours stops after `--seconds` and then says which part of all pairs it has
compared; the product's rate is measured between its steps, so that other programs on the machine slow both. A rate
counts what is really multiplied; since a product serves both of its rows, a search of all against all takes half of
them. faiss's flat index and the inverted file answer some queries only, and their time is scaled to all.

The time of n rows of width d is c n^2 d: c is printed for each size, with the power of n that fits all best, and the
times of 3.3 and 12 million rows that follow.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
import torch

from vlrepro.pairs.approximate import ApproximateSearch
from vlrepro.pairs.blocks import TILES, BlockSearch
from vlrepro.pairs.selection import Selection

LARGE = {"RedCaps 2020": 3_273_223, "RedCaps": 12_010_494}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Measured(NamedTuple):
    """Seconds for all pairs of `count` rows, and numbers to compare: multiplications and additions a second.

    `rate` is over all steps and `last` in the last one, when most rows have met near ones.
    """

    count: int
    seconds: float
    rate: float
    last: float
    best: float


def synthetic_rows(path: Path, count: int, width: int, rank: int) -> np.ndarray:
    """Rows (count, width) of unit length, written to `path` and mapped."""
    generator = np.random.default_rng(0)
    directions = generator.standard_normal((rank, width), np.float32)
    rows = np.memmap(path, np.float32, "w+", shape=(count, width))
    for start in range(0, count, 1 << 16):
        size = min(1 << 16, count - start)
        block = generator.standard_normal((size, rank), np.float32) @ directions
        block += generator.standard_normal((size, width), np.float32)
        rows[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return rows


class Products:
    """Products of two tiles of the search's size, timed one at a time."""

    def __init__(self, rows: np.ndarray, tile: int) -> None:
        self._tiles = [torch.from_numpy(rows[start : start + tile].copy()).to(DEVICE) for start in (0, tile)]
        self._found = torch.empty(tile, tile, device=DEVICE)
        self._work = 2 * tile * tile * rows.shape[1]
        self.rates: list[float] = []

    def measure(self, times: int) -> None:
        """Add some rates."""
        for _ in range(times):
            start = now()
            torch.mm(self._tiles[0], self._tiles[1].T, out=self._found)
            self.rates.append(self._work / (now() - start))

    @property
    def rate(self) -> float:
        """The median of all."""
        return float(np.median(self.rates))


def now() -> float:
    """Seconds on the clock, when the device has done its work."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def ours(rows: np.ndarray, k: int, limit: float) -> tuple[Measured, float]:
    """The blocked search until its end or the limit, and the share of all pairs that it has compared."""
    count, width = rows.shape
    search, products = BlockSearch(Selection(rows), k), Products(rows, TILES[DEVICE])
    steps, spent, last = search.steps(), 0.0, 0.0
    products.measure(20)
    while spent < limit:
        before, start = search.multiplied, now()
        if next(steps, "end") == "end":
            break
        spent += (seconds := now() - start)
        last = 2 * (search.multiplied - before) * width / seconds
        products.measure(10)
    share = search.multiplied / (count * (count - 1) / 2)
    return Measured(count, spent / share, 2 * search.multiplied * width / spent, last, products.rate), share


def flat(rows: np.ndarray, k: int, queries: int) -> float:
    """Seconds that faiss's flat index takes for all rows, from some queries."""
    index = faiss.IndexFlatIP(rows.shape[1])
    for start in range(0, len(rows), 1 << 16):
        index.add(np.ascontiguousarray(rows[start : start + (1 << 16)]))
    return answer(index, rows[:queries], k)[0] * len(rows) / queries


def answer(index: faiss.Index, queries: np.ndarray, k: int) -> tuple[float, np.ndarray]:
    """Seconds, and cosines (q, k) of each query with its nearest others."""
    start = time.perf_counter()
    near, _ = index.search(np.ascontiguousarray(queries), k + 1)
    return time.perf_counter() - start, near[:, 1:]


def inverted(rows: np.ndarray, k: int, queries: int) -> tuple[float, float, float]:
    """Seconds of an inverted file to make its cells, and to search all rows; and the recall of some queries."""
    start = time.perf_counter()
    index = ApproximateSearch(0).cells(Selection(rows))
    for first in range(0, len(rows), 1 << 16):
        index.add(np.ascontiguousarray(rows[first : first + (1 << 16)]))
    made = time.perf_counter() - start
    seconds, near = answer(index, rows[:queries], k)
    asked, best = torch.from_numpy(rows[:queries].copy()), []
    for first in range(0, len(rows), 1 << 16):
        cosines = asked @ torch.from_numpy(rows[first : first + (1 << 16)].copy()).T
        best.append(cosines.topk(min(k + 1, cosines.shape[1])).values)
    least = torch.cat(best, 1).topk(k + 1).values[:, -1:] - 1e-5
    return made, seconds * len(rows) / queries, float((torch.from_numpy(near) >= least).float().mean())


def report(count: int, width: int, options: argparse.Namespace) -> Measured:
    """Measure one size and print a line a method."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = synthetic_rows(Path(folder) / "rows", count, width, options.rank)
        found, share = ours(rows, options.k, options.seconds)
        rate, constant = found.rate / found.best, found.seconds / count**2 / width
        print(
            f"{count:,} rows of {width}: product {found.best / 1e9:.0f} Gflop/s\n"
            f"  ours: {found.rate / 1e9:.0f} Gflop/s, {rate:.2f} of the product's ({share:.1%} of all pairs compared, "
            f"the last step at {found.last / found.best:.2f}); "
            f"{found.seconds:.0f} s for all, as at {2 * rate:.2f} with two products a pair; c = {constant:.3g} s",
            flush=True,
        )
        seconds = flat(rows, options.k, min(options.queries, count))
        print(f"  faiss, flat: {seconds:.0f} s for all, {seconds / found.seconds:.1f} times ours", flush=True)
        if count <= options.inverted:
            made, seconds, recall = inverted(rows, options.k, min(options.queries, count))
            print(
                f"  faiss, inverted file: {made:.0f} s for its cells and {seconds:.0f} s for all, "
                f"{(made + seconds) / found.seconds:.2f} times ours; recall {recall:.3f}",
                flush=True,
            )
    return found


def project(measured: list[Measured], width: int) -> None:
    """Print the law that fits, and what it says of millions."""
    counts, seconds = (np.array([getattr(one, name) for one in measured]) for name in ("count", "seconds"))
    if len(measured) > 1:
        power = np.polyfit(np.log(counts), np.log(seconds), 1)[0]
        print(f"width {width}: seconds grow as n^{power:.2f} from {counts.min():,} to {counts.max():,} rows")
    constant = measured[-1].seconds / measured[-1].count ** 2
    share = measured[-1].rate / measured[-1].best
    gpu = "15 Tflop/s, about what a V100 or an A100 does in float32"
    for name, count in LARGE.items():
        there = count**2 * width * share**-1 / 15e12 / 3600  # half of all products, two operations each
        print(
            f"  {name}, {count:,} rows: {constant * count**2 / 3600:.1f} hours here; "
            f"{there:.1f} hours at the same share of {gpu}"
        )


def main() -> None:
    """Measure all sizes of all widths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[50_000, 200_000, 1_000_000])
    parser.add_argument("--widths", type=int, nargs="+", default=[768, 384])
    parser.add_argument("--k", type=int, default=1)
    parser.add_argument("--rank", type=int, default=32, help="hidden numbers of a row")
    parser.add_argument("--seconds", type=float, default=300, help="at most, for ours at one size")
    parser.add_argument("--queries", type=int, default=1000, help="of faiss's indexes")
    parser.add_argument("--inverted", type=int, default=200_000, help="the greatest size of an inverted file")
    parser.add_argument("--folder", help="where rows are written, 3 GB for a million of 768; the system's by default")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    for width in options.widths:
        project([report(count, width, options) for count in sorted(options.counts)], width)


if __name__ == "__main__":
    main()

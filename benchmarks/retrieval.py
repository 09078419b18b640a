"""Time retrieval beside what the machine can do at best: one float32 matrix product after the other, nothing else.

Captions are their pictures with noise, so that recall is what a good model has; --random gives unrelated rows, where
the most similarities are near the right item's and must be computed exactly. The projected time is of a gallery of
5 million pictures and as many captions in one direction, from the pairs a second measured here.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch.nn.functional import normalize

from vlrepro.evaluation.retrieval import BLOCK, median_rank, recall, retrieval_ranks

LARGE = 5_000_000


def rows(pictures: int, width: int, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures and their captions, unit rows (n, width) each; of noise 1 they have a cosine of about 0.7."""
    generator = torch.Generator().manual_seed(0)
    first = normalize(torch.randn(pictures, width, generator=generator), dim=1)
    second = normalize(torch.randn(pictures, width, generator=generator), dim=1)
    return first, normalize(first + noise * second, dim=1)


def best_rate(width: int, seconds: float = 2.0) -> float:
    """Multiplications and additions a second of float32 products of `BLOCK` with `BLOCK` rows, the best of many."""
    left, right = torch.randn(BLOCK, width), torch.randn(BLOCK, width)
    found, best, end = torch.empty(BLOCK, BLOCK), 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(left, right.T, out=found)
        best = max(best, 2 * BLOCK * BLOCK * width / (time.perf_counter() - start))
    return best


def main() -> None:
    """Print a line a width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--widths", type=int, nargs="+", default=[512, 768])
    parser.add_argument("--noise", type=float, default=5.0)
    parser.add_argument("--random", action="store_true", help="captions that have nothing to do with their pictures")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for width in options.widths:
        report(options.pictures, width, 1e6 if options.random else options.noise)


def report(pictures: int, width: int, noise: float) -> None:
    """Search one gallery and print pairs a second, the share of the best rate, and the time for a large one."""
    images, captions = rows(pictures, width, noise)
    owner = torch.arange(pictures)
    rate = best_rate(width)
    start = time.process_time()  # processor time, which other programs on the machine disturb less than the clock
    ranks = retrieval_ranks(captions, images, owner, owner)
    seconds = (time.process_time() - start) / torch.get_num_threads()
    pairs = pictures**2 / seconds
    days = LARGE**2 / pairs / 86_400
    print(
        f"{pictures:,} x {pictures:,} of width {width}: {seconds:.1f} s, {pairs / 1e6:.0f} million pairs a second, "
        f"{2 * pairs * width / rate:.0%} of {rate / 1e9:.0f} Gflop/s; recall@1 {recall(ranks, 1):.1%}, median rank "
        f"{median_rank(ranks):g}; 5 million x 5 million: {days:.1f} days"
    )


if __name__ == "__main__":
    main()

"""Seconds that each of several runs takes in one job, in the format of Snakemake's benchmark files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from vlrepro.files import write_text


def write_benchmark(path: str | Path, seconds: float) -> None:
    """Write a benchmark file; peak memory is that of the job, not of a run, so it is not known."""
    write_text(path, f"s\th:m:s\tmax_rss\n{seconds:.2f}\t{timedelta(seconds=round(seconds))}\tNA\n")


@contextmanager
def timed(path: str | Path | None) -> Iterator[None]:
    """Write the seconds that the block takes to `path`, where there is one."""
    start = time.perf_counter()
    yield
    if path:
        write_benchmark(path, time.perf_counter() - start)

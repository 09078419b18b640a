"""When a training saves and ends before its job is killed.

A cluster kills what exceeds its time limit, and takes jobs back for others after SIGTERM. A training that sees either
coming saves its state and ends with exit code 75 ("start me again"): Snakemake does, as often as the rule's `retries`
say, and the next attempt goes on from there.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vlrepro import distributed
from vlrepro.training.launch import AGAIN


class Unfinished(SystemExit):
    """The training is saved and not done; the program ends with exit code 75."""

    def __init__(self, why: str) -> None:
        super().__init__(AGAIN)
        self.why = why


class Stop:
    """Whether to save and end: SIGTERM came, or less than `reserve` seconds are left of the job's time.

    Args:
        minutes: the job's time limit, counted from now, or None where nobody enforces one.
        reserve: seconds before its end at which to stop: what saving takes, and what the job took until now.
    """

    def __init__(self, minutes: float | None = None, reserve: float = 0.0) -> None:
        self.minutes = minutes
        self._end = None if minutes is None else time.monotonic() + 60 * minutes - reserve
        self._terminated = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM as a wish to stop, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_terminated", True))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def why(self, device: torch.device) -> str | None:
        """Why to stop now, in words, or None. Asked by all ranks together, so that all stop at the same step."""
        return self._words(distributed.largest(self._number(), device))

    def why_here(self) -> str | None:
        """Why this process is to stop, whatever others are told."""
        return self._words(self._number())

    def _number(self) -> int:
        return 2 if self._terminated else int(self._end is not None and time.monotonic() >= self._end)

    def _words(self, number: int) -> str | None:
        limit = f"the time limit of {self.minutes or 0:.4g} minutes is near"
        return (None, limit, "it was told to end (SIGTERM)")[number]


def time_limit(minutes: float | None) -> float | None:
    """The minutes that are left of this job by its scheduler: `minutes` within a Slurm job, else None.

    A newer Slurm tells when the job ends (SLURM_JOB_END_TIME, seconds since 1970), which then decides.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return None
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    return (int(end) - time.time()) / 60 if end.isdigit() else minutes

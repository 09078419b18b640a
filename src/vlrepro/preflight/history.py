"""What finished jobs took: Snakemake's benchmark files, and its own records of jobs that have none."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from pathlib import Path

from vlrepro.preflight.work import Work

_BENCHMARKED = {"zero_shot": "evaluate_run", "retrieve": "evaluate_run"}
"""Rules whose benchmark files lie with another's."""


def seconds_of(works: Iterable[Work], root: Path) -> dict[str, float]:
    """Key -> wall-clock seconds that a work took, for those that are made and measured.

    A benchmark file is that of the last attempt. What has none took the time of its job in `.snakemake/metadata`.
    """
    found = {}
    for work in works:
        if not work.made(root):
            continue
        folder = _BENCHMARKED.get(work.rule, work.rule)
        seconds = _benchmark(root / f"results/benchmarks/{folder}/{work.name}.tsv")
        if seconds is None:
            seconds = _recorded(record_of(work.output, root))
        if seconds is not None:
            found[work.key] = seconds
    return found


def record_of(output: str, root: Path) -> dict[str, object]:
    """Snakemake's record of an output; empty where there is none or it is not whole."""
    path = root / ".snakemake/metadata" / urlsafe_b64encode(output.encode()).decode()
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def start_up(works: Iterable[Work], root: Path, took: dict[str, float]) -> float | None:
    """Median seconds of a job beyond what its works took: starting Python, importing; None where nothing tells.

    A job's own time is Snakemake's record of its outputs, which have its log in common. Only shared jobs tell: the
    benchmark of a job for one work is of the whole job.
    """
    jobs: dict[str, list[tuple[float, float]]] = {}
    for work in works:
        if work.key in took and work.rule in ("train_model", "evaluate_run", "zero_shot", "retrieve"):
            record = record_of(work.output, root)
            if (whole := _recorded(record)) is not None:
                jobs.setdefault(str(record.get("log")), []).append((whole, took[work.key]))
    shared = [each for each in jobs.values() if len(each) > 1]
    extra = sorted(max(0.0, max(whole for whole, _ in each) - sum(own for _, own in each)) for each in shared)
    return extra[len(extra) // 2] if extra else None


def _benchmark(path: Path) -> float | None:
    try:
        return float(re.split(r"\s+", path.read_text(encoding="utf-8").strip().splitlines()[-1])[0])
    except (OSError, ValueError, IndexError):
        return None


def _recorded(record: dict[str, object]) -> float | None:
    start, end = record.get("starttime"), record.get("endtime")
    return end - start if isinstance(start, float) and isinstance(end, float) and end >= start else None

"""How far the tables of a plan are: done, running, interrupted, failed, pending; from files on disk alone."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from base64 import urlsafe_b64encode
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vlrepro.plan.model import Plan
from vlrepro.preflight.work import Work, closure, table_keys, work_of

State = Literal["done", "running", "interrupted", "failed", "pending"]
STATES: tuple[State, ...] = ("done", "running", "interrupted", "failed", "pending")
ALIVE_SECONDS = 240.0
"""A training whose lock was touched this recently is taken to run."""
_SCALED = ("collect_cells", "build_table")


@dataclass(frozen=True)
class Standing:
    """A work's state; `note` says how far it is (step k of n), or where its log is."""

    state: State
    note: str = ""


def standing(work: Work, root: Path, scale: str) -> Standing:
    """How far a work is.

    Snakemake marks an output as incomplete when its job starts and takes the mark away when it ends, well or not.
    A mark without a controller's lock or a live heartbeat is a job that was cut off. A log without an output, a mark
    or a state is a job that failed.
    """
    marked = (root / ".snakemake/incomplete" / urlsafe_b64encode(work.output.encode()).decode()).exists()
    if work.made(root) and not marked:
        return Standing("done")
    progress = _progress(work, root)
    if _alive(work, root) or (marked and _controlled(root)):
        return Standing("running", progress)
    if progress or marked:
        return Standing("interrupted", progress or "started, nothing saved")
    log = log_of(work, scale)
    return Standing("failed", log) if (root / log).exists() else Standing("pending")


def log_of(work: Work, scale: str) -> str:
    """The log of the job that makes a work."""
    if work.job != work.key and work.rule == "train_model":
        return f"logs/train_models/{work.job.removeprefix('train_')}.log"
    if work.job != work.key and work.rule != "write_recipe":
        script = next(name for name in ("evaluate", "zero_shot", "retrieve") if work.job.startswith(f"{name}_"))
        return f"logs/{script}/{work.job.removeprefix(f'{script}_')}.log"
    return f"logs/{work.rule}/{scale}/{work.name}.log" if work.rule in _SCALED else f"logs/{work.rule}/{work.name}.log"


def status(plan: Plan, root: Path) -> dict[str, Any]:
    """As JSON: table -> how many works are in which state, and each that is neither done nor pending."""
    works = work_of(plan, root)
    found = {key: standing(work, root, plan.config.scale) for key, work in works.items() if work.rule != "write_recipe"}
    tables = {name: table_keys(plan, table) for name, table in plan.tables.items()}
    tables["all"] = [key for keys in tables.values() for key in keys]
    report: dict[str, Any] = {}
    for name, keys in tables.items():
        chosen = [found[key] for key in closure(works, keys) if key in found]
        counts = Counter(entry.state for entry in chosen)
        trained = [key for key in closure(works, keys) if key.startswith(("train_model/", "import_model/"))]
        report[name] = {state: counts[state] for state in STATES} | {
            "trained": sum(found[key].state == "done" for key in trained),
            "trainings": len(trained),
        }
    notable = {key: vars(entry) for key, entry in found.items() if entry.state not in ("done", "pending")}
    return {"scale": plan.config.scale, "tables": report, "works": notable}


def _progress(work: Work, root: Path) -> str:
    """`step k of n` of a training, `k parts` of captions and the like, "" where nothing is saved."""
    folder = root / "results/state" / work.name
    if "/" in work.name or not folder.is_dir():
        return ""
    steps = [int(found[1]) for path in folder.iterdir() if (found := re.fullmatch(r"step-(\d+)\.pt", path.name))]
    if steps:
        return f"step {max(steps)} of {work.recipe.get('steps', '?')}"
    parts = len(list(folder.glob("shard-*")))
    return f"{parts} parts" if parts else ""


def _alive(work: Work, root: Path) -> bool:
    """Whether the lock of the run's state shows life: its process on this machine, or else a recent heartbeat."""
    path = root / "results/state" / work.name / "lock.json"
    try:
        age = time.time() - path.stat().st_mtime
        told = json.loads(path.read_text(encoding="utf-8"))
        if told.get("host") == socket.gethostname():
            os.kill(told["pid"], 0)
    except PermissionError:  # another user's process, which is there
        return True
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return False
    return age < ALIVE_SECONDS


def _controlled(root: Path) -> bool:
    """Whether a Snakemake holds locks on this folder; a preflight target itself locks no file."""
    return any(path.stat().st_size for path in (root / ".snakemake/locks").glob("*"))

"""Jobs of several runs: small models that read the same data share one process, and what it loads.

Which runs share a job changes no result: each is trained or scored as if it were alone.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping

from vlrepro.plan.model import Plan


def training_jobs(plan: Plan, size: int) -> dict[str, tuple[str, ...]]:
    """Name -> the runs, at most `size`, that one job trains one after another; runs that train alone are left out.

    They have pictures, captions, pairs, augmentations, batches and seed in common, so all see the same batches.
    """
    shared = ("pack", "pairs", "texts", "augmentations", "pictures", "batch_size", "seed", "threads")
    keys = {}
    for key, run in plan.runs.items():
        read = [run.recipe[name] for name in shared]
        keys[key] = json.dumps([*read, run.captions, run.recipe["options"].get("classes")])
    return _named(_chunks(keys, size))


def evaluation_jobs(plan: Plan, size: int, zero_shot: bool) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name -> an evaluation and the runs, at most `size`, that one job scores under it; saliency has jobs of its own.

    Runs of one seed share a job, so that a further seed leaves the jobs of the others as they are.
    """
    pairs = dict.fromkeys(
        (run, evaluation)
        for table in plan.tables
        for run, evaluation in plan.metrics(table)
        if not plan.evaluations[evaluation].saliency and plan.evaluations[evaluation].zero_shot == zero_shot
    )
    found = {}
    for evaluation in dict.fromkeys(evaluation for _, evaluation in pairs):
        keys = {run: plan.runs[run].seed for run, other in pairs if other == evaluation}
        for name, runs in _named(_chunks(keys, size)).items():
            found[f"{evaluation}_{name}"] = (evaluation, runs)
    return found


def _chunks(keys: Mapping[str, Hashable], size: int) -> Iterable[tuple[str, ...]]:
    """Runs of equal keys, `size` at a time and as evenly as can be, without those that are left alone."""
    for key in dict.fromkeys(keys.values()):
        runs = [run for run, other in keys.items() if other == key]
        jobs = -(-len(runs) // size)
        for number in range(jobs):
            chunk = tuple(runs[number::jobs])
            if len(chunk) > 1:
                yield chunk


def _named(chunks: Iterable[tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Chunks by their first run and how many others there are."""
    return {f"{chunk[0]}_and_{len(chunk) - 1}": chunk for chunk in chunks}

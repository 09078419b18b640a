"""Jobs of several runs: small models that read the same data share one process, and what it loads.

Which runs share a job changes no result: each is trained or scored as if it were alone. A job's runs belong to one
table, so that a table as a target makes what it needs and no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

from vlrepro.plan.model import Plan

Pair = tuple[str, str]
"""A run and an evaluation."""


def training_jobs(plan: Plan, size: int, made: Callable[[str], bool]) -> dict[str, tuple[str, ...]]:
    """Name -> the runs, at most `size`, that one job trains side by side.

    They have pictures, captions, pairs, concepts, augmentations, batches and seed in common, so all see the same
    batches. Runs that train alone, those that are `made` and those whose weights are given are left out.
    """
    shared = ("pack", "pairs", "texts", "augmentations", "pictures", "batch_size", "seed", "threads")
    keys: dict[str, Hashable] = {}
    for table in plan.tables.values():
        for key in table.runs:
            run = plan.runs[key]
            if run.imported:
                continue
            read = [*(run.recipe[name] for name in shared), run.concepts]
            keys.setdefault(key, json.dumps([table.name, *read, run.captions, run.recipe["options"].get("classes")]))
    return _named({run: key for run, key in keys.items() if not made(run)}, size)


def evaluation_jobs(
    plan: Plan, size: int, script: str, made: Callable[[Pair], bool]
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name -> an evaluation that `script` scores and the runs of one seed, at most `size`, that one job scores.

    Saliency has jobs of its own. Runs that are scored alone and those whose scores are `made` are left out.
    """
    keys: dict[str, dict[str, Hashable]] = {}
    for name, table in plan.tables.items():
        for run, evaluation in plan.metrics(name):
            if plan.evaluations[evaluation].script == script and not made((run, evaluation)):
                keys.setdefault(evaluation, {}).setdefault(run, (table.study, table.name, plan.runs[run].seed))
    return {
        f"{evaluation}_{name}": (evaluation, chunk)
        for evaluation, runs in keys.items()
        for name, chunk in _named(runs, size).items()
    }


def _named(keys: Mapping[str, Hashable], size: int) -> dict[str, tuple[str, ...]]:
    """Chunks of runs with equal keys, by the first run and how many others there are."""
    return {f"{chunk[0]}_and_{len(chunk) - 1}": chunk for chunk in _chunks(keys, size) if len(chunk) > 1}


def _chunks(keys: Mapping[str, Hashable], size: int) -> Iterator[tuple[str, ...]]:
    """Runs of equal keys, `size` at a time and as evenly as can be."""
    groups: dict[Hashable, list[str]] = {}
    for run, key in keys.items():
        groups.setdefault(key, []).append(run)
    for runs in groups.values():
        jobs = -(-len(runs) // size)
        yield from (tuple(runs[number::jobs]) for number in range(jobs))


def alone(names: Iterable[str], together: Iterable[Iterable[str]]) -> list[str]:
    """Those of `names` that are in none of the jobs `together`."""
    taken = {name for job in together for name in job}
    return [name for name in names if name not in taken]

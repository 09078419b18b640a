"""A small study with a grid table, a table of variants, and scores for them: what tests of such tables share."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlrepro.tables.cells import Cells, SetInfo
from vlrepro.tables.statistics import Scores
from vlrepro.tables.study import Study

SETS = [SetInfo("all", "All concepts", 200, 80, 0.005), SetInfo("line", "Line art", 50, 80, 0.02)]
EVALUATIONS = ("top1", "top5")
VARIANTS = {"small": "Small net", "large": "Large net"}
SEEDS = (0, 1, 2)


def values() -> dict[str, Any]:
    """A study as its file would give it: table1 crosses nets, table2 sets, `added` is ours with variants."""
    text = {"examples": "test images", "shows": "what it shows"}
    printed = {"caption": "C", "where": "page 1", "metric": "accuracy", "evaluations": list(EVALUATIONS)}
    nets = [
        {"name": f"{v}_{e}", "title": e.title(), "variant": v, "evaluation": e, "set": "all", "chance": chance}
        for v in VARIANTS
        for e, chance in zip(EVALUATIONS, (0.1, 0.5), strict=True)
    ]
    sets = [
        {"name": "line_top1", "title": "Top1", "group": "Sketch", "evaluation": "top1", "set": "line"},
        {"name": "line_top5", "title": "Top5", "group": "Sketch", "evaluation": "top5", "set": "line"},
        {"name": "all_top1", "title": "Top1", "group": "ours", "evaluation": "top1", "set": "all", "extra": True},
    ]
    rows = [
        {
            "id": "base",
            "label": "Base",
            "recipes": {v: f"base_{v}" for v in VARIANTS},
            "reported": [10.0, 30.0, 12.5, 31.0],
        },
        {
            "id": "noisy",
            "label": "Noisy",
            "recipes": {v: f"noisy_{v}" for v in VARIANTS},
            "reported": [12.0, 29.0, 0.1, 0.5],
        },
        {"id": "partial", "label": "Partial", "recipes": {"small": "partial_small", "large": None}},
    ]
    plain = [{"id": row["id"], "label": row["label"], "recipe": f"{row['id']}_small"} for row in rows[:2]]
    return {
        "slug": "grids",
        "title": "Grids",
        "setup": "a large net",
        "evaluations": {name: {"title": name.title()} | text for name in EVALUATIONS},
        "tables": [
            {"name": "table1", "number": 1, "title": "Nets", "baseline": "base", "variants": VARIANTS, "columns": nets}
            | {"rows": rows}
            | printed,
            {"name": "table2", "number": 2, "title": "Sets", "baseline": "base", "columns": sets}
            | {"rows": [row | {"reported": [20.0, 40.0]} for row in plain]}
            | printed,
            {
                "name": "added",
                "title": "Added",
                "baseline": "base",
                "variants": VARIANTS,
                "evaluations": list(EVALUATIONS),
            }
            | {"sets": ["line"], "rows": [{k: v for k, v in row.items() if k != "reported"} for row in rows]},
        ],
        "claims": [],
    }


def study(**more: Any) -> Study:
    """The study, with other claims or tables."""
    return Study.model_validate(values() | more)


def claim(test: dict[str, Any], tables: list[str], name: str = "claim") -> dict[str, Any]:
    """A claim as a study file gives it."""
    words = {"quote": "q", "where": "w", "statement": "s"}
    return {"id": name, "kind": "claim", "tables": tables, "test": test} | words


def scores(levels: dict[str, float], seeds: tuple[int, ...] = SEEDS) -> dict[str, dict[tuple[str, str], Scores]]:
    """Outcomes of 80 examples, right with probability `levels[recipe]`, under every evaluation and on every set."""
    generator = np.random.default_rng(7)
    return {
        evaluation: {
            (recipe, info.name): Scores((generator.random((len(seeds), 80)) < level).astype(float), seeds)
            for recipe, level in levels.items()
            for info in SETS
        }
        for evaluation in EVALUATIONS
    }


LEVELS = {"base_small": 0.3, "noisy_small": 0.8, "base_large": 0.5, "noisy_large": 0.5, "partial_small": 0.6}


def cells(levels: dict[str, float] | None = None, failed: dict[str, tuple[int, ...]] | None = None) -> Cells:
    """The cells of `levels`; `failed` are seeds of a recipe whose runs failed on every set."""
    found = scores(LEVELS if levels is None else levels)
    lost: dict[str, dict[tuple[str, str], dict[int, str]]] = {name: {} for name in EVALUATIONS}
    for recipe, seeds in (failed or {}).items():
        for evaluation in EVALUATIONS:
            for info in SETS:
                key = (recipe, info.name)
                lost[evaluation][key] = dict.fromkeys(seeds, "loss is nan at step 12")
                cell = found[evaluation].pop(key)
                if kept := [i for i, seed in enumerate(cell.seeds) if seed not in seeds]:
                    found[evaluation][key] = Scores(cell.values[kept], tuple(cell.seeds[i] for i in kept))
    return Cells(found, dict.fromkeys(EVALUATIONS, SETS), {}, failed=lost)

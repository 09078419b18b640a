"""The files of a small scale with both studies, and the report made from them: runs under label noise, some failed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from reporting_site import ROOT, SETS, STEPS, Site, config_file, run_script

from vlrepro.files import read_json, write_json, write_text
from vlrepro.reporting.inputs import recipes_of
from vlrepro.tables.audit import audit
from vlrepro.tables.audit_rendering import audit_to_html
from vlrepro.tables.cells import collect_cells, read_cells
from vlrepro.tables.claim_rendering import claims_to_html, claims_to_json
from vlrepro.tables.judging import judge_claims
from vlrepro.tables.layout import build_table
from vlrepro.tables.rendering import to_csv, to_html
from vlrepro.tables.study import load_study

NOISE_FILE = ROOT / "config/papers/label_noise.yaml"
STUDY = load_study(NOISE_FILE)
NAMED = {
    "imagenet": "Held out",
    "imagenet_v2": "Second draw",
    "imagenet_sketch": "Line art",
    "imagenet_a": "Hardest fifth",
    "imagenet_r": "Unseen design",
    "imagenet_c": "Corrupted",
}
"""Zero-shot sets; one that the paper does not have is left out, as a smaller scale may."""
BATCH, CLASSES, EXAMPLES = 16, 20, 80
WHY = "the loss is nan at step 9"
FAILED = {("cln_resnet50_permutation_09", 0), ("cln_resnet50_permutation_09", 1), ("cln_resnet50_reselection_09", 1)}
"""(recipe, seed) that failed to train."""
ZERO_SHOT = {"zero_shot_top1": 0.0, "zero_shot_top5": 0.25, "zero_shot_names": -0.02}
PROBES = {"linear_cyclip": 0.3, "linear_projected": 0.32, "linear": 0.35}
"""Evaluation -> how far above top-1 it is."""


DRAWN = ("table1", "table2", "table3", "noise_captions")
"""The tables whose figures are drawn: each kind of figure, and no more, since drawing is slow."""


def noise_of(recipe: str) -> dict[str, Any] | None:
    """The recipe's label noise, from the project's own configuration."""
    return CONFIGURED[recipe].get("label_noise")


CONFIGURED = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["recipes"]
RECIPES = sorted(recipes_of(STUDY))


def level(recipe: str) -> float:
    """How often a recipe's top-1 is right: better with a little noise, at chance with much, larger encoders better."""
    noise = noise_of(recipe) or {"strategy": "none", "rate": 0.0}
    best = {"reselection": 0.02, "permutation": 0.05, "secondary": 0.07}.get(noise["strategy"], 0.0)
    encoder = 0.04 if "vit_b_16" in recipe else 0.08 if "resnet50" in recipe else 0.0
    fall = 0 if noise["strategy"] == "secondary" else 0.25 * max(0.0, noise["rate"] - 0.3)
    return max(1 / CLASSES, 0.22 + encoder + (best if noise["rate"] < 0.5 else 0) - fall)


def noise_metrics(folder: Path) -> list[Path]:
    """Metrics of every recipe and two seeds; the same test pictures in every run, so that differences are paired."""
    generator = np.random.default_rng(5)
    hardness = {name: generator.random(EXAMPLES) for name in (*NAMED, *SETS)}
    paths = []
    for recipe in RECIPES:
        for seed in (0, 1):
            failed = WHY if (recipe, seed) in FAILED else None
            protocols = {
                name: {
                    "kind": "zero_shot" if name in ZERO_SHOT else "linear",
                    "sets": {
                        key: _scored(hardness[key], level(recipe) + above + 0.01 * seed, name, failed)
                        for key in (NAMED if name in ZERO_SHOT else SETS)
                    },
                }
                for name, above in (ZERO_SHOT | PROBES).items()
            }
            values = {"run": f"{recipe}-seed{seed}-0123abcd", "protocols": protocols}
            values |= {"backbone": {"parameters": 70000, "feature_width": 128}} | ({"failed": failed} if failed else {})
            paths.append(folder / f"metrics/{values['run']}.json")
            write_json(paths[-1], values)
    return paths


def _scored(hardness: np.ndarray, share: float, evaluation: str, failed: str | None) -> dict[str, Any]:
    chance = (5 if evaluation == "zero_shot_top5" else 1) / CLASSES
    counts = {"classes": CLASSES, "test_pictures": EXAMPLES, "chance": chance, "metric": "accuracy"}
    if failed:
        return counts | {"score": None, "examples": []}
    examples = (hardness < share).astype(float)
    return counts | {"score": examples.mean(), "examples": examples.tolist()}


def noise_runs(folder: Path) -> tuple[list[str], list[str]]:
    """Recipes and histories; a failed run's history ends with why."""
    recipes, histories = [], []
    for number, name in enumerate(RECIPES):
        for seed in (0, 1):
            run = f"{name}-seed{seed}-0123abcd"
            noise, length = noise_of(name), 2 * STEPS if "long" in name else STEPS
            recipe = {
                "framework": CONFIGURED[name]["framework"],
                "options": {"joint_width": 8} | ({"label_noise": noise} if noise else {}),
                "batch_size": BATCH,
                "backbone": {"name": CONFIGURED[name].get("backbone", "small")},
                "steps": length,
                "seed": seed,
                "pack": "shapes-00000000",
                "pairs": None,
                "texts": f"minilm_of_{'clean' if 'clean' in name else 'original'}-00000000",
            }
            write_json(folder / f"recipes/{run}.json", recipe)
            steps = 8 if (name, seed) in FAILED else length
            lines = [json.dumps(_logged(noise, number, seed, step)) for step in range(1, steps + 1)]
            lines += [json.dumps({"step": 9, "failed": WHY})] if (name, seed) in FAILED else []
            write_text(folder / f"runs/{run}/history.jsonl", "".join(f"{line}\n" for line in lines))
            recipes.append(str(folder / f"recipes/{run}.json"))
            histories.append(str(folder / f"runs/{run}/history.jsonl"))
    return recipes, histories


def _logged(noise: dict[str, Any] | None, number: int, seed: int, step: int) -> dict[str, float]:
    loss = 1 + 0.01 * number + 1.7 * np.exp(-step / (20 + seed))
    logs = {"step": step, "loss": loss, "learning_rate": 0.1, "caption_accuracy": 0.4 - 0.3 / step}
    return logs | ({"label_noise": 0.9 * noise["rate"] + 0.01 * (step % 2)} if noise else {})


def noise_tables(folder: Path) -> dict[str, list[str]]:
    """Cells, tables, claims and audit of the study, as options of the scripts."""
    collect_cells(noise_metrics(folder), folder / "cells.parquet")
    cells = read_cells([folder / "cells.parquet"], NAMED | SETS)
    claims = judge_claims(STUDY, cells, "pocket", {}, resamples=50)
    write_text(folder / "claims.json", claims_to_json(claims, "pocket"))
    write_text(folder / "claims.html", claims_to_html(claims, "pocket"))
    write_text(folder / "audit.html", audit_to_html(audit(STUDY)))
    for entry in STUDY.tables:
        table = build_table(STUDY, entry.name, cells, "pocket", resamples=50)
        write_text(folder / f"tables/label_noise/{entry.name}.html", to_html(table))
        write_text(folder / f"tables/label_noise/{entry.name}.csv", to_csv(table))
    return {
        "studies": [str(NOISE_FILE)],
        "cells": [f"{folder}/cells.parquet"],
        "claims": [f"{folder}/claims.json"],
        "claim-pages": [f"{folder}/claims.html"],
        "audits": [f"{folder}/audit.html"],
        "tables": [f"{folder}/tables/label_noise/{entry.name}.html" for entry in STUDY.tables],
    }


def options_of(arguments: list[str]) -> dict[str, list[str]]:
    """Option -> its values."""
    found: dict[str, list[str]] = {}
    for word in arguments:
        if word.startswith("--"):
            found[word[2:]] = []
        else:
            found[list(found)[-1]].append(word)
    return found


def make_two_studies(folder: Path, first: Site) -> Site:
    """Write all inputs of the report on both studies, of the first those of `first`, and draw the figures."""
    options = options_of(first.arguments)
    recipes, histories = noise_runs(folder)
    noise = noise_tables(folder) | {"runs": recipes}
    csv = [f"{folder}/tables/label_noise/{name}.csv" for name in DRAWN]
    drawn = {name: noise[name] for name in ("studies", "cells", "runs")} | {"tables": csv, "histories": histories}
    run_script("draw_figures.py", [*_words(drawn), "--texts", f"{folder}/figures/figures.json"])
    _add_figures(first.folder / "figures", folder / "figures")
    for name, values in noise.items():
        options[name] = [*options[name], *values]
    changed = {"config": both_configured(folder), "figures": f"{folder}/figures/figures.json"}
    changed["output"] = f"{folder}/report/index.html"
    return Site(folder, _words(options | {name: [value] for name, value in changed.items()}))


def _add_figures(drawn: Path, folder: Path) -> None:
    """Put the figures in `drawn` before those in `folder`, as one drawing of both studies would."""
    for path in drawn.glob("*.svg"):
        shutil.copy(path, folder)
    write_json(folder / "figures.json", [*read_json(drawn / "figures.json"), *read_json(folder / "figures.json")])


def both_configured(folder: Path) -> str:
    """The configuration of both studies, as far as the page reads it; zero-shot sets are named by their protocols."""
    config = read_json(config_file(folder, "pocket"))
    config["recipes"] |= {name: {"augmentation": "clip_crop"} for name in RECIPES}
    config["sets"] |= {name: {"title": title, "shows": f"for {name}", "pack": "other"} for name, title in NAMED.items()}
    protocols = {name: {"kind": "zero_shot", "sets": list(NAMED)} for name in ZERO_SHOT}
    config["evaluation"]["protocols"] = protocols | {"elsewhere": {"kind": "zero_shot", "sets": ["not_evaluated"]}}
    write_json(folder / "config.json", config)
    return str(folder / "config.json")


def _words(options: dict[str, list[str]]) -> list[str]:
    return [word for name, values in options.items() for word in (f"--{name}", *values)]

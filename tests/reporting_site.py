"""The files of a small scale, written by the project's own writers, and the report made from them."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from conftest import shape_pictures

from vlrepro.data.pack import Pack, write_pack
from vlrepro.files import write_json, write_text
from vlrepro.pairs.mining import Pairs
from vlrepro.pairs.purity import purity, random_purity
from vlrepro.reporting.inputs import CaptionFile, MinedPairs, read_captions, read_packs, read_pairs
from vlrepro.tables.audit import audit
from vlrepro.tables.audit_rendering import audit_to_html
from vlrepro.tables.cells import collect_cells, read_cells
from vlrepro.tables.claim_rendering import claims_to_html, claims_to_json
from vlrepro.tables.judging import judge_claims
from vlrepro.tables.layout import build_table
from vlrepro.tables.rendering import to_csv, to_html
from vlrepro.tables.study import load_study

ROOT = Path(__file__).parents[1]
STUDY_FILE = ROOT / "config/papers/language_guidance.yaml"
SETS = {"first": "First", "second": "Second"}
STEPS = 60
FRAMEWORKS = {"nnclr": "nnclr", "swav": "swav", "simsiam": "simsiam", "lgsimsiam": "simsiam", "clip": "clip"}
LEVELS = {
    "simclr": (0.70, 0.55),
    "simclr_global_crop": (0.45, 0.50),
    "simsiam": (0.60, 0.50),
    "nnclr": (0.66, 0.52),
    "swav": (0.64, 0.50),
    "clip": (0.50, 0.55),
    "lgsimclr": (0.50, 0.68),
    "lgsimsiam": (0.48, 0.60),
    "lgsimclr_refined": (0.52, 0.70),
    "lgsimclr_generated": (0.46, 0.58),
    "lgsimclr_clean": (0.60, 0.80),
    "lgsimclr_simclr_augmentation": (0.74, 0.75),
    "lgsimclr_oracle": (0.62, 0.82),
    "lgsimclr_visual": (0.47, 0.56),
    "lgsimclr_random_pairs": (0.30, 0.35),
    "random": (0.25, 0.30),
}
"""Recipe -> how well it does in the linear probe and in few-shot; `random` takes no step."""
PACK = "shapes-00000000"
CHECKPOINTS = {"captioner-00000000": "captioner", "scorer-00000000": "scorer"}
SCORED = {"original": 0.18, "generated": 0.22}
PAIRS: dict[str, dict[str, Any]] = {
    "language_original": {"captions": "original"},
    "language_generated": {"captions": "generated"},
    "language_refined": {"captions": "refined"},
    "language_clean": {"captions": "clean"},
    "language_group": {"captions": "original", "scope": "group"},
    "visual": {"by": "picture"},
    "oracle": {"by": "label"},
    "random": {"by": "random"},
}
"""Kinds of pairs: what differs from pairs by caption over all pictures."""
HOSTILE = (
    "<script>alert(1)</script>",
    '" onerror="alert(1)" x="',
    "</q></li></ul></section></body><img src=https://example.org/x>",
    "'><svg onload=alert(1)>",
    "&lt;b&gt; \u202e\x00 ]]>",
)
KINDS = ("faithful", "vague", "wrong")
VOID = {"br", "img", "meta"}


class Parsed(HTMLParser):
    """Elements with their attributes, texts, and the place where nesting breaks."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.broken: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.broken.append(f"</{tag}> at line {self.getpos()[0]}")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@dataclass
class Site:
    """The files of a small scale, and the page made from them."""

    folder: Path
    arguments: list[str]

    def page(self, **changes: str) -> str:
        arguments = list(self.arguments)
        for name, value in changes.items():
            arguments[arguments.index(f"--{name}") + 1] = value
        run_script("build_report.py", arguments)
        return Path(arguments[arguments.index("--output") + 1]).read_text(encoding="utf-8")


def run_script(name: str, arguments: list[str]) -> None:
    before = sys.argv
    sys.argv = [name, *arguments]
    try:
        runpy.run_path(str(ROOT / "workflow/scripts" / name), run_name="__main__")
    finally:
        sys.argv = before


def run_files(folder: Path) -> tuple[list[str], list[str]]:
    """Recipes and histories of every run; the logs are what the frameworks log."""
    recipes, histories = [], []
    for number, name in enumerate(LEVELS):
        for seed in (0, 1):
            run = f"{name}-seed{seed}-0123abcd"
            steps = 0 if name == "random" else STEPS
            values = {
                "framework": FRAMEWORKS.get(name, "simclr" if steps else "untrained"),
                "options": {},
                "batch_size": 16,
                "backbone": {"name": "resnet_small", "width": 4},
                "steps": steps,
                "seed": seed,
                "pack": PACK,
                "pairs": "language_original-00000000" if name.startswith("lg") else None,
                "texts": "minilm_of_original-00000000" if name == "clip" else None,
            }
            write_json(folder / f"recipes/{run}.json", values)
            lines = [json.dumps(_logged(values["framework"], number, seed, step)) for step in range(1, steps + 1)]
            write_text(folder / f"runs/{run}/history.jsonl", "".join(f"{line}\n" for line in lines))
            recipes.append(str(folder / f"recipes/{run}.json"))
            histories.append(str(folder / f"runs/{run}/history.jsonl"))
    return recipes, histories


def _logged(framework: str, number: int, seed: int, step: int) -> dict[str, float]:
    loss = 1 + 0.1 * number + 2.4 * np.exp(-step / (15 + 3 * seed))
    logs = {"step": step, "loss": loss, "learning_rate": 0.1}
    if framework == "clip":
        return logs | {"caption_accuracy": 0.4 - 0.3 / step}
    if framework in ("simclr", "nnclr"):
        logs["contrast_accuracy"] = 0.9 - 0.8 / np.sqrt(step + seed)
    return logs | {"spread": 0.8 - 0.02 * number}


def table_files(folder: Path) -> list[str]:
    """A study with a hostile title, its cells, tables and claims; the options of both scripts that name the study."""
    values = yaml.safe_load(STUDY_FILE.read_text(encoding="utf-8"))
    values["title"] = HOSTILE[0]
    write_text(folder / "study.yaml", yaml.safe_dump(values))
    study = load_study(folder / "study.yaml")
    collect_cells(metrics_files(folder), folder / "cells.parquet")
    cells = read_cells([folder / "cells.parquet"], SETS)
    claims = judge_claims(study, cells, "pocket", {}, resamples=100)
    write_text(folder / "claims.json", claims_to_json(claims, "pocket"))
    write_text(folder / "claims.html", claims_to_html(claims, "pocket"))
    write_text(folder / "audit.html", audit_to_html(audit(study)))
    for entry in study.tables:
        table = build_table(study, entry.name, cells, "pocket", resamples=100)
        write_text(folder / f"tables/{study.slug}/{entry.name}.html", to_html(table))
        write_text(folder / f"tables/{study.slug}/{entry.name}.csv", to_csv(table))
    return ["--studies", f"{folder}/study.yaml"]


def metrics_files(folder: Path) -> list[Path]:
    """What each run scored: 300 test pictures a set, the same in every run, so that differences are paired."""
    generator = np.random.default_rng(3)
    hardness = {name: generator.random(300) for name in SETS}
    paths = []
    for recipe, levels in LEVELS.items():
        for seed in (0, 1):
            protocols = {
                kind: {"kind": kind, "sets": {name: _scored(hardness[name], level, seed) for name in SETS}}
                for kind, level in zip(("linear", "few_shot"), levels, strict=True)
            }
            run = f"{recipe}-seed{seed}-0123abcd"
            size = {"parameters": 70000, "feature_width": 128}
            paths.append(folder / f"metrics/{run}.json")
            write_json(paths[-1], {"run": run, "backbone": size, "protocols": protocols})
    return paths


def _scored(hardness: np.ndarray, level: float, seed: int) -> dict[str, Any]:
    examples = (hardness < level + 0.02 * seed).astype(float)
    counts = {"classes": 5, "test_pictures": len(examples), "chance": 0.2, "metric": "accuracy"}
    return counts | {"score": examples.mean(), "examples": examples.tolist()}


def caption_files(folder: Path) -> list[str]:
    """A pack of 64 pictures, its captions by every method (every fifth original one hostile) and their scores."""
    write_pack(folder / PACK, shape_pictures(64))
    write_text(folder / f"{PACK}/rejected.csv", "key,shard,reason\n<b>bad</b>,shard-000000.tar,does not decode\n")
    rows = Pack(folder / PACK).rows[:60]
    truth = {"key": [row.key for row in rows], "clean": [row.caption for row in rows]}
    truth |= {name: [getattr(row, name) for row in rows] for name in ("group", "concept", "label")}
    hostile = [
        HOSTILE[number // 5 % 5] if number % 5 == 0 else f"look at {row.caption}" for number, row in enumerate(rows)
    ]
    kinds = [KINDS[number % 3] for number in range(60)]
    generated = [f"a picture of {row.label}" for row in rows]
    generator = np.random.default_rng(7)
    scores = {name: generator.normal(level, 0.05, 60) for name, level in SCORED.items()}
    chosen = [
        "original" if a >= b else "generated" for a, b in zip(scores["original"], scores["generated"], strict=True)
    ]
    kept = [{"original": a, "generated": b}[c] for a, b, c in zip(hostile, generated, chosen, strict=True)]
    both = {"original": hostile, "generated": generated, "chosen": chosen}
    sources = {
        "original": ({"method": "noise"}, hostile, kinds, {}),
        "generated": (
            {"method": "generated", "model": "captioner-00000000", "stand_in": True},
            generated,
            ["generated"] * 60,
            {},
        ),
        "refined": (
            {"method": "refined", "sources": {name: f"{name}-00000000" for name in SCORED}},
            kept,
            [kind if c == "original" else "generated" for kind, c in zip(kinds, chosen, strict=True)],
            both | {f"score_{name}": values for name, values in scores.items()},
        ),
        "clean": ({"method": "clean"}, truth["clean"], ["clean"] * 60, {}),
        "cat": ({"method": "filtered", "sources": {"original": "original-00000000"}}, hostile, kinds, {}),
    }
    for name, (recipe, captions, kind, more) in sources.items():
        columns = truth | {"caption": [" ".join(text.split()) for text in captions], "kind": kind} | more
        kept = [row for row in range(60) if name != "cat" or row % 5]  # the filter drops what is hostile
        pq.write_table(pa.table(columns).take(kept), folder / f"captions/{name}-00000000.parquet")
        write_json(folder / f"captions/{name}-00000000.json", recipe | {"pack": PACK})
    write_json(folder / "captions/cat-00000000.summary.json", filter_summary(truth["key"], hostile))
    counts = {source: chosen.count(source) for source in SCORED}
    write_json(folder / "captions/refined-00000000.summary.json", {"pictures": 60, "chosen": counts})
    write_json(folder / "captions/generated-00000000.summary.json", {"pictures": 60, "seconds": 1.25, "empty": {}})
    for name, values in scores.items():
        stem = f"scores/{name}_by_scorer-00000000"
        pq.write_table(pa.table({"key": truth["key"], "score": values}), folder / f"{stem}.parquet")
        recipe = {"captions": f"{name}-00000000", "model": "scorer-00000000", "stand_in": True}
        write_json(folder / f"{stem}.json", recipe)
    return [
        *("--captions", *(f"{folder}/captions/{name}-00000000.parquet" for name in sources)),
        *("--caption-recipes", *(f"{folder}/captions/{name}-00000000.json" for name in sources)),
        *("--scores", *(f"{folder}/scores/{name}_by_scorer-00000000.parquet" for name in scores)),
        *("--score-recipes", *(f"{folder}/scores/{name}_by_scorer-00000000.json" for name in scores)),
    ]


def filter_summary(keys: list[str], hostile: list[str]) -> dict[str, Any]:
    """What a filter counted that dropped every fifth caption as too plain, and every tenth also for its text."""

    def entry(step: int, threshold: str) -> dict[str, Any]:
        dropped = list(range(0, 60, step))
        examples = [{"key": keys[at], "caption": hostile[at], "why": f"because {hostile[at]}"} for at in dropped]
        return {"threshold": threshold, "kept": 60 - len(dropped), "dropped": len(dropped), "examples": examples}

    rules = {"complexity": entry(5, "at least 1"), "text": entry(10, HOSTILE[0])}
    return {"captions": 60, "kept": 48, "rules": rules, "dropped_by": {"complexity": 6, "complexity + text": 6}}


def pair_files(folder: Path) -> list[str]:
    """Every kind of pairs; the refined ones are purer than the original ones. The options that name the files."""
    rows = Pack(folder / PACK).rows[:60]
    # A neighbour 8 on shares the concept, 1 on shares nothing, 2 on may share the class.
    jumps = {"language_original": (8, 1, 2), "language_refined": (8, 8, 8), "oracle": (8,), "random": (1,)}
    for name, differs in PAIRS.items():
        steps = jumps.get(name, (8, 2))
        neighbour = np.array([(i + steps[i % len(steps)]) % 60 for i in range(60)])
        drawn = differs.get("by") in ("label", "random")
        cosine = np.full(60, np.nan) if drawn else np.linspace(0.2, 1, 60)
        table = {
            "source": [row.key for row in rows],
            "neighbour": [rows[at].key for at in neighbour],
            "cosine": cosine.astype(np.float32),
            "rank": np.zeros(60, np.int64),
        }
        stem = folder / f"pairs/{name}-00000000"
        pq.write_table(pa.table(table), f"{stem}.parquet")
        pairs = Pairs(np.arange(60), neighbour, table["cosine"])
        truth = {key: [getattr(row, key) for row in rows] for key in ("concept", "label", "group")}
        shares = {key: purity(pairs, values) for key, values in truth.items()}
        summary = {
            "pictures": 60,
            "pairs": 60,
            "without_neighbour": 0,
            "same_caption": 0.1,
            "purity": {key: dict(zip(("share", "low", "high"), found, strict=True)) for key, found in shares.items()},
            "random_purity": {key: random_purity(values) for key, values in truth.items()},
        }
        write_json(f"{stem}.summary.json", summary)
        recipe = {"by": "caption", "scope": "global", "k": 1, "minimum_cosine": -1.0, "search": "exact"} | differs
        captions = f"{differs['captions']}-00000000" if "captions" in differs else None
        write_json(f"{stem}.json", recipe | {"captions": captions, "pack": PACK})
    stems = [f"{folder}/pairs/{name}-00000000" for name in PAIRS]
    return [
        *("--pairs", *(f"{stem}.parquet" for stem in stems)),
        *("--pair-summaries", *(f"{stem}.summary.json" for stem in stems)),
        *("--pair-recipes", *(f"{stem}.json" for stem in stems)),
        *("--indexes", f"{folder}/{PACK}/index.parquet"),
    ]


def read_all_captions(folder: Path) -> dict[str, CaptionFile]:
    """The site's caption sources by id."""
    paths = sorted((folder / "captions").glob("*.parquet"))
    summaries = (folder / "captions").glob("*.summary.json")
    return read_captions(paths, [path.with_suffix(".json") for path in paths], summaries)


def mined_pairs(folder: Path, name: str = "language_original") -> MinedPairs:
    """The site's pairs of a kind."""
    files = [folder / f"pairs/{name}-00000000.{ending}" for ending in ("parquet", "summary.json", "json")]
    return read_pairs(*files, read_all_captions(folder), read_packs([folder / f"{PACK}/index.parquet"]))


def differences_of(folder: Path, table: str) -> pd.DataFrame:
    """The CSV of one of the site's tables."""
    return pd.read_csv(folder / f"tables/language_guidance/{table}.csv")


def config_file(folder: Path, scale: str) -> str:
    """A configuration as `write_config` writes it, as far as the page reads it."""
    config = {
        "scale": scale,
        "seeds": [0, 1],
        "pictures": {"canvas": 24},
        "recipes": {name: {"augmentation": ["weak", "strong"] if name == "clip" else "weak"} for name in LEVELS},
        "sets": {name: {"title": title, "shows": HOSTILE[1], "pack": "other"} for name, title in SETS.items()},
        "evaluation": {"sets": list(SETS)},
    }
    write_json(folder / f"config-{scale}.json", config)
    return str(folder / f"config-{scale}.json")


def make_site(folder: Path) -> Site:
    """Write all inputs of the report into `folder` and draw the figures."""
    for name in ("captions", "scores", "pairs"):
        (folder / name).mkdir(parents=True)
    recipes, histories = run_files(folder)
    shared = [*table_files(folder), "--runs", *recipes, *caption_files(folder), *pair_files(folder)]
    tables = [f"{folder}/tables/language_guidance/{table.name}" for table in load_study(folder / "study.yaml").tables]
    texts = f"{folder}/figures/figures.json"
    csv = [f"{table}.csv" for table in tables]
    run_script("draw_figures.py", [*shared, "--tables", *csv, "--histories", *histories, "--texts", texts])
    for name, kind in CHECKPOINTS.items():
        write_json(folder / f"checkpoints/{name}.json", {"kind": kind, "pack": PACK, "seed": 0, "options": {}})
    write_text(folder / "benchmarks/train_stand_in/captioner-00000000.tsv", "s\tmax_rss\n42.4\t300\n")
    arguments = [
        *shared,
        *("--config", config_file(folder, "pocket"), "--figures", texts, "--style", str(ROOT / "report/style.css")),
        *("--cells", f"{folder}/cells.parquet", "--audits", f"{folder}/audit.html"),
        *("--claims", f"{folder}/claims.json", "--claim-pages", f"{folder}/claims.html"),
        *("--tables", *(f"{table}.html" for table in tables)),
        *("--checkpoints", *(f"{folder}/checkpoints/{name}.json" for name in CHECKPOINTS)),
        *("--caption-summaries", *map(str, sorted((folder / "captions").glob("*.summary.json")))),
        *("--rejected", f"{folder}/{PACK}/rejected.csv", "--benchmarks", f"{folder}/benchmarks"),
        *("--command", "snakemake --cores 2", "--output", f"{folder}/report/index.html"),
    ]
    return Site(folder, arguments)

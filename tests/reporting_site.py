"""The files of a small scale, written by the project's own writers, and the report made from them."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from conftest import shape_pictures

from vlrepro.captions.noise import Caption
from vlrepro.captions.sources import write_captions
from vlrepro.data.pack import Pack, write_pack
from vlrepro.files import write_json, write_text
from vlrepro.reporting.inputs import CaptionFile, MinedPairs, read_captions, read_pairs
from vlrepro.tables.layout import SetInfo, build_table
from vlrepro.tables.rendering import claims_to_html, claims_to_json, to_csv, to_html
from vlrepro.tables.statistics import Scores
from vlrepro.tables.study import load_study
from vlrepro.tables.verdicts import judge_claims

ROOT = Path(__file__).parents[1]
STUDY_FILE = ROOT / "config/papers/language_guidance.yaml"
SETS = [SetInfo("first", "First", 5, 40, 0.2), SetInfo("second", "Second", 5, 40, 0.2)]
RECIPES = {"simclr": 12, "lgsimclr": 12, "random": 0}
RECIPE = {"framework": "simclr", "batch_size": 16, "backbone": {"name": "resnet_small", "width": 4}}
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


def scores() -> dict[tuple[str, str], Scores]:
    generator = np.random.default_rng(3)
    level = {"simclr": 0.7, "lgsimclr": 0.4, "random": 0.68}
    return {
        (recipe, entry.name): Scores((generator.random((3, 300)) < share).astype(float), (0, 1, 2))
        for recipe, share in level.items()
        for entry in SETS
    }


def run_files(folder: Path) -> tuple[list[str], list[str]]:
    recipes, histories = [], []
    for name, steps in RECIPES.items():
        for seed in (0, 1):
            run = f"{name}-seed{seed}-0123abcd"
            values = RECIPE | {"seed": seed, "steps": steps, "pack": "shapes-00000000", "pairs": None}
            write_json(folder / f"recipes/{run}.json", values)
            lines = [
                json.dumps({"step": step + 1, "loss": 3.0 / (step + 1), "learning_rate": 0.1, "contrast_accuracy": 0.5})
                for step in range(steps)
            ]
            write_text(folder / f"runs/{run}/history.jsonl", "".join(f"{line}\n" for line in lines))
            recipes.append(str(folder / f"recipes/{run}.json"))
            histories.append(str(folder / f"runs/{run}/history.jsonl"))
    return recipes, histories


def caption_files(folder: Path) -> list[str]:
    """A pack of 64 pictures, its captions (every fifth hostile) and pairs; the options that name their files."""
    write_pack(folder / "shapes-00000000", shape_pictures(64))
    write_text(
        folder / "shapes-00000000/rejected.csv", "key,shard,reason\n<b>bad</b>,shard-000000.tar,does not decode\n"
    )
    rows = Pack(folder / "shapes-00000000").rows
    usable = [
        (row, Caption(HOSTILE[i // 5 % 5] if i % 5 == 0 else row.caption, KINDS[i % 3]))
        for i, row in enumerate(rows[:60])
    ]
    write_captions(folder / "noisy-00000000.parquet", usable, {})
    write_json(folder / "noisy-00000000.json", {"pack": "shapes-00000000", "method": "noise"})
    write_json(folder / "mined-00000000.json", {"captions": "noisy-00000000"})
    keys = [row.key for row in rows[:60]]
    # Neighbours 8 on share the concept, 1 on share nothing, 16 on and every other picture mix.
    jumps = [(8, 1, 2)[i % 3] for i in range(60)]
    neighbours = [keys[(i + jump) % 60] for i, jump in enumerate(jumps)]
    cosine = np.linspace(0.2, 1, 60, dtype=np.float32)
    pq.write_table(
        pa.table({"source": keys, "neighbour": neighbours, "cosine": cosine}), folder / "mined-00000000.parquet"
    )
    shares = {name: {"share": 0.5, "low": 0.4, "high": 0.6} for name in ("concept", "label", "group")}
    chance = {"concept": 0.1, "label": 0.2, "group": 0.2}
    summary = {"pictures": 60, "pairs": 60, "without_neighbour": 0, "same_caption": 0.1}
    write_json(folder / "mined-00000000.summary.json", summary | {"purity": shares, "random_purity": chance})
    return [
        *("--captions", f"{folder}/noisy-00000000.parquet", "--caption-recipes", f"{folder}/noisy-00000000.json"),
        *("--pairs", f"{folder}/mined-00000000.parquet", "--pair-summaries", f"{folder}/mined-00000000.summary.json"),
        *("--pair-recipes", f"{folder}/mined-00000000.json"),
    ]


def mined_pairs(folder: Path) -> tuple[CaptionFile, MinedPairs]:
    captions = read_captions(folder / "noisy-00000000.parquet", folder / "noisy-00000000.json")
    stem = folder / "mined-00000000"
    pairs = read_pairs(f"{stem}.parquet", f"{stem}.summary.json", f"{stem}.json", {captions.id: captions})
    return captions, pairs


def study_files(folder: Path) -> list[str]:
    """A study with a hostile title, its tables and claims; the options that name their files."""
    values = yaml.safe_load(STUDY_FILE.read_text(encoding="utf-8"))
    values["title"] = HOSTILE[0]
    write_text(folder / "study.yaml", yaml.safe_dump(values))
    study = load_study(folder / "study.yaml")
    names = dict.fromkeys((1, 2), SETS)
    claims = judge_claims(study, {1: scores(), 2: scores()}, names, resamples=100)
    write_text(folder / "claims.json", claims_to_json(claims, "pocket"))
    write_text(folder / "claims.html", claims_to_html(claims, "pocket"))
    for number in (1, 2):
        table = build_table(study, number, scores(), SETS, "pocket", resamples=100)
        write_text(folder / f"table{number}.html", to_html(table))
        write_text(folder / f"table{number}.csv", to_csv(table))
    return ["--studies", f"{folder}/study.yaml"]


def config_file(folder: Path, scale: str) -> str:
    """A configuration as `write_config` writes it, as far as the page reads it."""
    config = {
        "scale": scale,
        "seeds": [0, 1],
        "pictures": {"canvas": 24},
        "recipes": {name: {"augmentation": "weak"} for name in RECIPES},
        "sets": {"first": {"title": "First", "shows": HOSTILE[1], "pack": "other"}},
        "evaluation": {"sets": ["first"]},
    }
    write_json(folder / f"config-{scale}.json", config)
    return str(folder / f"config-{scale}.json")


def make_site(folder: Path) -> Site:
    """Write all inputs of the report into `folder` and draw the figures."""
    recipes, histories = run_files(folder)
    shared = [*study_files(folder), "--runs", *recipes, *caption_files(folder)]
    tables = [str(folder / f"table{number}.csv") for number in (1, 2)]
    texts = f"{folder}/figures/figures.json"
    run_script("draw_figures.py", [*shared, "--tables", *tables, "--histories", *histories, "--texts", texts])
    arguments = [
        *shared,
        *("--config", config_file(folder, "pocket"), "--figures", texts, "--style", str(ROOT / "report/style.css")),
        *("--claims", f"{folder}/claims.json", "--claim-pages", f"{folder}/claims.html"),
        *("--tables", *(str(folder / f"table{number}.html") for number in (1, 2))),
        *("--indexes", f"{folder}/shapes-00000000/index.parquet"),
        *("--rejected", f"{folder}/shapes-00000000/rejected.csv", "--benchmarks", f"{folder}/benchmarks"),
        *("--command", "snakemake --cores 2", "--output", f"{folder}/report/index.html"),
    ]
    return Site(folder, arguments)

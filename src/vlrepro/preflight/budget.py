"""What the tables of a plan cost: jobs, GPU-hours, core-hours, disk, downloads; together and for what is missing."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from vlrepro.data.archives.wanted import record_of
from vlrepro.data.sources.about import About, Archive
from vlrepro.plan.model import Plan
from vlrepro.preflight.costs import CostModel, jobs_of
from vlrepro.preflight.flops import of_picture
from vlrepro.preflight.work import Work, closure, table_keys, work_of

_SOURCES = Path(__file__).parent.parent / "data/sources"
_PICTURE_BYTES = 30_000
"""Bytes of a picture with a short side of 256 pixels as JPEG, where a pack is not here to be measured."""
_WEIGHT_BYTES = 4
_WEIGHTS = {  # millions, with projection heads: sizes of a model whose like is not here to be measured
    "resnet34": 22,
    "resnet50": 24,
    "mobilenet_v3_large": 4,
    "vit_small": 22,
    "clip_resnet50": 76,
    "clip_vit_b_16": 124,
    "clip_vit_b_32": 126,
}


@dataclass(frozen=True)
class Cost:
    """Of some works: hours are of GPUs and cores that jobs hold; `disk` and `download` are bytes.

    `unknown_downloads` are packs whose publishers' sizes nobody has recorded, `bases` what hours rest on: a basis
    to [works, finished works that it draws on, GPU- or core-hours].
    """

    jobs: int
    gpu_hours: float
    core_hours: float
    disk: int
    download: int
    unknown_downloads: tuple[str, ...]
    by_hand: tuple[str, ...]
    bases: dict[str, list[float]] = field(default_factory=dict)


class Budget:
    """Costs of the works of `plan`; `root` is where Snakemake runs."""

    def __init__(self, plan: Plan, root: Path) -> None:
        self.plan = plan
        self.root = root
        self.works = work_of(plan, root)
        self._bytes = cache(self._measured_or_guessed)
        self.model = CostModel(plan, self.works, root, {pack: pictures_of(plan, pack) for pack in plan.packs})
        self.missing = {key for key, work in self.works.items() if not work.made(root)}

    def tables(self) -> dict[str, list[Work]]:
        """Table -> all that it is made of, as if it were alone; `all` is everything, each once."""
        wanted = {name: table_keys(self.plan, table) for name, table in self.plan.tables.items()}
        wanted["all"] = [key for keys in wanted.values() for key in keys]
        return {name: list(closure(self.works, keys).values()) for name, keys in wanted.items()}

    def report(self) -> dict[str, Any]:
        """As JSON: table -> its cost from nothing (`whole`) and of what is not there yet (`missing`)."""
        found = {}
        afresh = work_of(self.plan, self.root, fresh=True)
        for name, works in self.tables().items():
            missing = [work for work in works if work.key in self.missing]
            whole = [afresh[work.key] for work in works]
            found[name] = {"whole": asdict(self.cost(whole)), "missing": asdict(self.cost(missing))}
        return {"scale": self.plan.config.scale, "start_up_seconds": self.model.start_up, "tables": found}

    def cost(self, works: Iterable[Work]) -> Cost:
        """The cost of works that are made together."""
        works = list(works)
        gpu_seconds = core_seconds = 0.0
        bases: dict[str, list[float]] = {}
        started: set[str] = set()
        for work in works:
            estimate = self.model.estimate(work)
            seconds = estimate.seconds + (self._start(work) if work.job not in started else 0.0)
            started.add(work.job)
            gpu_seconds += seconds * self.model.gpus(work)
            core_seconds += seconds * self.model.cores(work)
            basis = bases.setdefault(estimate.basis, [0, 0, 0.0])
            basis[0] += 1
            basis[1] = basis[0] if estimate.basis == "itself" else max(basis[1], estimate.measured)
            basis[2] += seconds * (self.model.gpus(work) or self.model.cores(work)) / 3600
        packs = [work.name for work in works if work.rule in ("fetch_pack", "fetch_web_pack")]
        download, unknown, by_hand = self._downloads(packs)
        disk = sum(self._bytes(work.key) for work in works)
        return Cost(
            *(jobs_of(works), gpu_seconds / 3600, core_seconds / 3600, disk, download),
            *(tuple(unknown), tuple(by_hand), bases),
        )

    def _start(self, work: Work) -> float:
        """Seconds of starting its job that its own time does not hold: benchmarks of shared jobs are a run's alone."""
        shared = work.job != work.key
        return self.model.start_up if shared or work.key not in self.model.took else 0.0

    def _downloads(self, packs: Iterable[str]) -> tuple[int, list[str], list[str]]:
        total, unknown, by_hand = 0, [], []
        urls: dict[str, int | None] = {}
        for pack in packs:
            recipe = self.plan.packs[pack]
            if (recipe["source"] in ("local", "composed") and recipe.get("digest")) or recipe["source"] == "composed":
                continue  # ships with the project, or is made here
            source, name = record_of(self.plan.config.packs[pack.rpartition("-")[0]].model_dump(mode="json"))
            about = about_of(source, name=name)
            if about is None:
                unknown.append(pack)
                continue
            by_hand += [pack] if about.by_hand else []
            urls |= {archive.url or f"{pack}/{archive.name}": archive.bytes for archive in about.archives}
            unknown += [pack] if any(archive.bytes is None for archive in about.archives) else []
        total += sum(size for size in urls.values() if size)
        return total, unknown, by_hand

    def _measured_or_guessed(self, key: str) -> int:
        """Bytes on disk of what a work makes; asked once a work, though every table has its share of them."""
        work = self.works[key]
        path = self.root / work.output
        if path.exists():
            return _size(path.parent if work.rule in ("fetch_pack", "fetch_web_pack") else path)
        if work.rule in ("fetch_pack", "fetch_web_pack"):
            return self.model.rows.get(work.name, 0) * _PICTURE_BYTES
        if work.rule == "train_model":
            name = work.recipe["backbone"]["name"]
            small = of_picture(work.recipe["backbone"], 32) if name not in _WEIGHTS else 0
            return int(_WEIGHTS.get(name, 0) * 1e6 * _WEIGHT_BYTES + small * 0.1)
        return 1_000_000 if work.rule in ("embed", "score_captions", "mine_pairs") else 10_000


@cache
def about_of(source: str, folder: Path = _SOURCES, name: str = "ABOUT") -> About | None:
    """What is published about a source, `name` in a module below `folder`; None where nothing is recorded.

    The record alone is evaluated, with the constants before it: the module itself imports decoders.
    """
    path = folder.joinpath(*source.split(".")).with_suffix(".py")
    if not path.is_file() or not name or not re.search(rf"^{name}\b", path.read_text(encoding="utf-8"), re.M):
        return None
    known: dict[str, Any] = {"About": About, "Archive": Archive}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            # A constant that needs the module's imports is no part of the record, or the record is imported below.
            with suppress(NameError):
                exec(compile(ast.Module([node], []), str(path), "exec"), known)
    return known[name] if name in known else getattr(import_module(f"vlrepro.data.sources.{source}"), name)


def pictures_of(plan: Plan, pack: str) -> int:
    """Pictures of a pack, as the configuration or its source's official counts have it; else 50,000."""
    if told := plan.config.packs[pack.rpartition("-")[0]].pictures:
        return told
    recipe = plan.packs[pack]
    path = _SOURCES.joinpath(*recipe["source"].split(".")).with_suffix(".py")
    if path.is_file():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Official":
                counts = Counter({k.arg: getattr(k.value, "value", None) for k in node.keywords})
                return sum(counts[split] or 0 for split in ("train", "val", "test"))
    return 50_000


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
    return path.stat().st_size

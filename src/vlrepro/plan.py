"""The plan: studies -> tables -> cells -> (recipe, evaluation) -> artefacts, from the configuration alone.

Pure: no files are read or written and nothing heavy is imported, because every job of a cluster parses the
Snakefile again. An artefact's id is a readable slug and eight hex digits of the digest of everything that
decides its content; file times play no part in its identity.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vlrepro.config import Config, RecipeConfig
from vlrepro.errors import UserError
from vlrepro.files import digest_of
from vlrepro.revisions import revision_of
from vlrepro.tables.study import Study

Recipe = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training of one recipe: its artefact ids and what it needs."""

    id: str
    recipe_name: str
    seed: int
    recipe: Recipe
    pack: str
    pairs: str | None


@dataclass(frozen=True)
class Evaluation:
    """One protocol on one group of sets; `kind` is features, linear or few_shot."""

    id: str
    kind: str
    group: str
    recipe: Recipe
    packs: tuple[str, ...]


@dataclass(frozen=True)
class TablePlan:
    """One table of a study: its metrics are runs x evaluations of the table's kind."""

    study: str
    number: int
    kind: str
    runs: tuple[str, ...]
    evaluations: tuple[str, ...]


@dataclass
class Plan:
    """Everything that the configuration asks for, keyed by artefact id."""

    config: Config
    packs: dict[str, Recipe] = field(default_factory=dict)
    captions: dict[str, Recipe] = field(default_factory=dict)
    pairs: dict[str, Recipe] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    tables: dict[str, TablePlan] = field(default_factory=dict)

    def recipe_text(self, kind: str, name: str) -> str:
        """The JSON text of an artefact's recipe; `kind` is packs, captions, pairs, runs or evaluations."""
        entry = getattr(self, kind)[name]
        return json.dumps(entry if isinstance(entry, dict) else entry.recipe, sort_keys=True)

    def features_of(self, evaluation: str) -> str:
        """The id of the features that an evaluation reads."""
        group = self.evaluations[evaluation].group
        return next(e.id for e in self.evaluations.values() if e.kind == "features" and e.group == group)

    def metrics(self, table: str) -> list[tuple[str, str]]:
        """(run, evaluation) of every metrics file that a table is made of, in the table's order."""
        plan = self.tables[table]
        return [(run, evaluation) for run in plan.runs for evaluation in plan.evaluations]


def make_plan(config: Config, studies: Mapping[str, Study]) -> Plan:
    """Plan all tables of `studies` under `config`.

    Raises `UserError` where a table asks for a recipe that the configuration does not have.
    """
    plan = Plan(config)
    builder = _Builder(config, plan)
    for study in studies.values():
        for table in study.tables:
            builder.table(study, table.number, table.evaluation, [row.recipe for row in table.rows])
    return plan


class _Builder:
    """Adds artefacts to a plan, each with what it is made of."""

    def __init__(self, config: Config, plan: Plan) -> None:
        self.config = config
        self.plan = plan

    def table(self, study: Study, number: int, kind: str, names: list[str | None]) -> None:
        wanted = list(dict.fromkeys(name for name in names if name))
        runs = tuple(self.run(name, seed) for name in wanted for seed in self.config.seeds)
        groups = dict.fromkeys(self.config.sets[name].group for name in self.config.evaluation.sets)
        evaluations = tuple(self.evaluation(kind, group) for group in groups)
        key = f"{study.slug}_table{number}"
        self.plan.tables[key] = TablePlan(study.slug, number, kind, runs, evaluations)

    def pack(self, name: str) -> str:
        pack = self.config.packs[name]
        identity = pack.digest or digest_of([pack.source, pack.revision])
        key = f"{name}-{identity[:8]}"
        self.plan.packs[key] = {"source": pack.source, "path": pack.path, "digest": pack.digest}
        return key

    def caption(self, name: str) -> str:
        entry = self.config.captions[name]
        recipe = entry.model_dump() | {
            "pack": self.pack(entry.pack),
            "revision": revision_of("captions.sources"),
            "noise_revision": revision_of("captions.noise"),
        }
        return _register(self.plan.captions, name, recipe)

    def pair(self, name: str) -> str:
        entry = self.config.pairs[name]
        recipe = entry.model_dump() | {
            "captions": self.caption(entry.captions),
            "encoder": self.config.encoders[entry.encoder].model_dump(),
            "threads": self.config.training.threads,
            "revision": revision_of("pairs.mining"),
        }
        return _register(self.plan.pairs, name, recipe)

    def run(self, name: str, seed: int) -> str:
        if name not in self.config.recipes:
            raise UserError(f"recipes: {name!r} is asked for by a table but not configured: add it under recipes")
        entry = self.config.recipes[name]
        pack = self.pack(entry.pack or self.config.training.pack)
        pairs = self.pair(entry.pairs) if entry.pairs else None
        recipe = self._training(entry) | {"pack": pack, "pairs": pairs, "seed": seed}
        key = f"{name}-seed{seed}-{digest_of(recipe)[:8]}"
        self.plan.runs[key] = Run(key, name, seed, recipe, pack, pairs)
        return key

    def _training(self, entry: RecipeConfig) -> Recipe:
        """What decides a model apart from its data and seed: the entry over the shared defaults."""
        shared = self.config.training
        optimiser = shared.optimiser.model_dump()
        if entry.learning_rate is not None:
            optimiser["learning_rate"] = entry.learning_rate
        return {
            "framework": entry.framework,
            "options": entry.options,
            "augmentation": self.config.augmentations[entry.augmentation].model_dump(),
            "pictures": self.config.pictures.model_dump(),
            "backbone": self.config.backbones[entry.backbone or shared.backbone].model_dump(),
            "batch_size": entry.batch_size or shared.batch_size,
            "steps": shared.steps if entry.steps is None else entry.steps,
            "max_epochs": shared.max_epochs,
            "threads": shared.threads,
            "optimiser": optimiser,
            "revisions": {
                module: revision_of(module)
                for module in (f"frameworks.{entry.framework}", "training.loop", "data.augment", "data.loader")
            },
        }

    def evaluation(self, kind: str, group: str) -> str:
        if kind != "features":
            self.evaluation("features", group)
        protocols = {"linear": self.config.evaluation.linear, "few_shot": self.config.evaluation.few_shot}
        chosen = {name: self.config.sets[name] for name in self.config.evaluation.sets}
        sets = {name: entry for name, entry in chosen.items() if entry.group == group}
        recipe = {
            "kind": kind,
            "sets": {name: {"pack": self.pack(s.pack), "metric": s.metric} for name, s in sets.items()},
            "protocol": protocols[kind].model_dump() if kind in protocols else {},
            "pictures": self.config.pictures.model_dump(),
            "threads": self.config.evaluation.threads,
            "revisions": {module: revision_of(module) for module in {"evaluation.features", f"evaluation.{kind}"}},
        }
        key = f"{kind}-{group}-{digest_of(recipe)[:8]}"
        packs = tuple(entry["pack"] for entry in recipe["sets"].values())
        self.plan.evaluations[key] = Evaluation(key, kind, group, recipe, packs)
        return key


def _register(table: dict[str, Recipe], name: str, recipe: Recipe) -> str:
    key = f"{name}-{digest_of(recipe)[:8]}"
    table[key] = recipe
    return key

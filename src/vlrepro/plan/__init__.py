"""The plan: studies -> tables -> cells -> (recipe, evaluation) -> artefacts, from the configuration alone.

Pure: no files are read or written and nothing heavy is imported, because every job of a cluster parses the
Snakefile again. An artefact's id is a readable slug and eight hex digits of the digest of everything that
decides its content; file times play no part in its identity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vlrepro.config import Config, RecipeConfig
from vlrepro.config.training import PRETRAINED
from vlrepro.errors import UserError
from vlrepro.files import digest_of
from vlrepro.plan.data import DataPlanner
from vlrepro.plan.evaluations import EvaluationPlanner
from vlrepro.plan.model import Evaluation, Plan, Recipe, Run, TablePlan, revisions
from vlrepro.revisions import constant_of
from vlrepro.tables.saliency_columns import BRIEF, MAPS
from vlrepro.tables.study import PaperTable, Study

__all__ = ["Evaluation", "Plan", "Run", "TablePlan", "make_plan"]


def make_plan(config: Config, studies: Mapping[str, Study]) -> Plan:
    """Plan the tables of `studies` that `config` asks for.

    Raises `UserError` where a table asks for a recipe or protocol that the configuration does not have, a recipe
    does not fit its framework, or `config.tables` names a table that no study has.
    """
    plan = Plan(config)
    planner = _Planner(config, plan)
    known = {table.name for study in studies.values() for table in study.tables}
    if unknown := sorted(set(config.tables or ()) - known):
        raise UserError(f"tables: {unknown[0]!r} is in no study: choose among {', '.join(sorted(known))}")
    for study in studies.values():
        for table in study.tables:
            if table.name not in config.without and (config.tables is None or table.name in config.tables):
                planner.table(study, table)
    return plan


class _Planner:
    """Adds tables to a plan, with the runs and evaluations that they need."""

    def __init__(self, config: Config, plan: Plan) -> None:
        self.config = config
        self.plan = plan
        self.data = DataPlanner(config, plan)
        self.evaluations = EvaluationPlanner(config, plan, self.data)

    def table(self, study: Study, table: PaperTable) -> None:
        if table.saliency:
            self.saliency_table(study, table)
            return
        suites = dict.fromkeys(self.evaluations.suite(protocol) for protocol in table.evaluations)
        evaluations = tuple(key for suite in suites for key in self.evaluations.of_suite(suite))
        runs = self.runs(recipe for row in table.rows for recipe in row.all_recipes())
        self._check_encoders(table.name, runs, evaluations)
        searches = tuple(table.row(name).set or "" for name in table.searches)
        self.plan.tables[f"{study.slug}_{table.name}"] = TablePlan(
            study.slug, table.name, runs, evaluations, searches=searches
        )

    def saliency_table(self, study: Study, table: PaperTable) -> None:
        """A table of saliency scores; none where its protocol is not run at this scale."""
        name = table.saliency.protocol
        if name not in self.config.evaluation.saliency:
            raise UserError(f"evaluation.saliency: {name!r} is asked for by a table but not configured: add it")
        protocol = self.config.evaluation.saliency[name]
        if protocol is None:
            return
        if unknown := [method for method in protocol.methods if method not in MAPS]:
            raise UserError(f"evaluation.saliency.{name}.methods: {unknown[0]!r} is not one of {', '.join(MAPS)}")
        brief = set(table.saliency.scores) <= set(BRIEF)
        where, there = ("methods", protocol.methods) if brief else ("every_score", protocol.every_score)
        if unknown := [method for method in table.saliency.maps if method not in there]:
            raise UserError(f"evaluation.saliency.{name}.{where}: {unknown[0]!r} is a column of {table.name}: add it")
        trained = self.evaluations.saliency(name, "trained")
        runs = self.runs(row.recipe for row in table.rows if not row.probe)
        controls = [
            (run, self.evaluations.saliency(name, row.probe))
            for row in table.rows
            if row.probe
            for run in self.runs([row.recipe])
        ]
        self._check_imported(table.name, [*runs, *(run for run, _ in controls)], [trained])
        priors = (trained,) if any(row.prior for row in table.rows) else ()
        shown = {name: self.runs([table.row(name).recipe])[:1] for name in table.saliency.gallery}
        gallery = {name: found[0] for name, found in shown.items() if found}
        self.plan.tables[f"{study.slug}_{table.name}"] = TablePlan(
            *(study.slug, table.name, runs, (trained,)),
            saliency=True,
            controls=tuple(dict.fromkeys(controls)),
            priors=priors,
            gallery=gallery,
        )

    def runs(self, recipes: Iterable[str | None]) -> tuple[str, ...]:
        """The runs, one a seed, of those recipes that are run at this scale."""
        wanted = dict.fromkeys(name for name in recipes if name)
        run_here = [name for name in wanted if self.config.recipes.get(name, False) is not None]
        return tuple(run for name in run_here for run in self.of_every_seed(name))

    def of_every_seed(self, name: str) -> list[str]:
        """A recipe's runs; of weights that are given there is one, of the first seed."""
        given = name in self.config.recipes and self.config.recipes[name].dual_encoder
        if given:
            return [self.imported(name, given, self.config.seeds[0])]
        return [self.run(name, seed) for seed in self.config.seeds]

    def imported(self, name: str, dual_encoder: str, seed: int) -> str:
        """A run whose weights are a dual encoder's."""
        recipe = {
            "framework": PRETRAINED,
            "options": {},
            "steps": 0,
            "pack": None,
            "seed": seed,
        } | self.data.dual_encoder(dual_encoder)
        key = f"{name}-seed{seed}-{digest_of(recipe)[:8]}"
        self.plan.runs[key] = Run(key, name, seed, recipe, None, None, None, None)
        return key

    def _check_encoders(self, table: str, runs: Iterable[str], evaluations: Iterable[str]) -> None:
        """Zero-shot prompts are embedded by one encoder, which must be that of every run's captions."""
        wanted = {encoder for key in evaluations for encoder in self.evaluations.encoders(key)}
        self._check_imported(table, runs, evaluations)
        for run in runs:
            name = self.plan.runs[run].recipe_name
            if self.plan.runs[run].imported:
                continue
            encoder = self.config.recipes[name].text_encoder
            if wanted - {encoder}:
                raise UserError(
                    f"recipes.{name}: text_encoder is {encoder or 'none'}, but table {table} asks for prompts "
                    f"by {', '.join(sorted(wanted))}: give the recipe or evaluation.protocols the other's"
                )

    def _check_imported(self, table: str, runs: Iterable[str], evaluations: Iterable[str]) -> None:
        """Weights that are given bring their own encoders, which retrieval alone knows how to ask."""
        suites = [
            self.plan.evaluations[key].suite for key in evaluations if self.plan.evaluations[key].script != "retrieve"
        ]
        for name in (self.plan.runs[run].recipe_name for run in runs if self.plan.runs[run].imported):
            if suites:
                raise UserError(
                    f"recipes.{name}: table {table} asks for suite {suites[0]}, but a dual encoder that is given is "
                    "scored by retrieval alone: take the row or the evaluation out"
                )

    def run(self, name: str, seed: int) -> str:
        if name not in self.config.recipes:
            raise UserError(f"recipes: {name!r} is asked for by a table but not configured: add it under recipes")
        entry = self.config.recipes[name]
        pack_name = entry.pack or self.config.training.pack
        needs = {
            "pack": self.data.pack(pack_name),
            "pairs": self.data.pairs(entry.pairs, pack_name) if entry.pairs else None,
            "texts": self.data.embeddings(entry.text_encoder, entry.texts, None) if entry.texts else None,
        }
        if entry.concepts:
            needs["concepts"] = self.data.concepts(entry.concepts, pack_name)
        recipe = self._training(name, entry) | needs | {"seed": seed}
        key = f"{name}-seed{seed}-{digest_of(recipe)[:8]}"
        captions = self.data.captions(entry.texts) if entry.texts else None
        self.plan.runs[key] = Run(key, name, seed, recipe, **needs, captions=captions)
        return key

    def _training(self, name: str, entry: RecipeConfig) -> Recipe:
        """What decides a model apart from its data and seed: the entry over the shared defaults."""
        shared = self.config.training
        chosen = self.config.optimisers[entry.optimiser] if entry.optimiser else shared.optimiser
        optimiser = chosen.settings()
        if entry.learning_rate is not None:
            optimiser["learning_rate"] = entry.learning_rate
        return {
            "framework": entry.framework,
            "options": self._options(entry),
            "augmentations": [self.config.augmentations[view].model_dump() for view in self._views(name, entry)],
            "pictures": self.config.pictures.model_dump(),
            "backbone": self.config.backbones[entry.backbone or shared.backbone].model_dump(),
            "batch_size": entry.batch_size or shared.batch_size,
            "steps": shared.steps if entry.steps is None else entry.steps,
            "max_epochs": shared.max_epochs,
            "threads": shared.threads,
            "optimiser": optimiser,
            **entry.passes(),
            "revisions": revisions(
                [
                    f"frameworks.{entry.framework}",
                    *(["models.text"] if entry.texts else []),
                    *("models.backbones", "training.loop", "data.augment", "data.loader"),
                ]
            ),
        }

    def _options(self, entry: RecipeConfig) -> Recipe:
        """The framework's options, those that other keys of the recipe decide among them."""
        found = dict(entry.options)
        if entry.label_noise:
            found["label_noise"] = entry.label_noise.model_dump()
        if entry.concepts:
            concepts = self.config.concepts[entry.concepts]
            found |= {"objects": concepts.objects, "attributes": concepts.attributes}
        return found

    def _views(self, name: str, entry: RecipeConfig) -> tuple[str, ...]:
        """The augmentation of each view, checked against what the framework takes."""
        module = f"frameworks.{entry.framework}"
        views, texts = constant_of(module, "VIEWS"), constant_of(module, "TEXTS")
        if texts != (entry.texts is not None):
            what = "needs texts" if texts else "reads no texts"
            raise UserError(f"recipes.{name}: framework {entry.framework!r} {what}: mend the recipe")
        concepts = constant_of(module, "CONCEPTS", False)
        if concepts != (entry.concepts is not None):
            what = "needs concepts" if concepts else "reads no concepts"
            raise UserError(f"recipes.{name}: framework {entry.framework!r} {what}: mend the recipe")
        try:
            return entry.augmentations(views)
        except ValueError as error:
            raise UserError(f"recipes.{name}: {error}: list one a view, or one for all") from None

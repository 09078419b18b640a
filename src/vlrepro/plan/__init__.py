"""The plan: studies -> tables -> cells -> (recipe, evaluation) -> artefacts, from the configuration alone.

Pure: no files are read or written and nothing heavy is imported, because every job of a cluster parses the
Snakefile again. An artefact's id is a readable slug and eight hex digits of the digest of everything that
decides its content; file times play no part in its identity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vlrepro.config import Config, RecipeConfig
from vlrepro.errors import UserError
from vlrepro.files import digest_of
from vlrepro.plan.data import DataPlanner
from vlrepro.plan.model import Evaluation, Plan, Recipe, Run, TablePlan
from vlrepro.revisions import constant_of, revision_of
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
            if config.tables is None or table.name in config.tables:
                planner.table(study, table)
    return plan


class _Planner:
    """Adds tables to a plan, with the runs and evaluations that they need."""

    def __init__(self, config: Config, plan: Plan) -> None:
        self.config = config
        self.plan = plan
        self.data = DataPlanner(config, plan)

    def table(self, study: Study, table: PaperTable) -> None:
        if table.saliency:
            self.saliency_table(study, table)
            return
        groups = dict.fromkeys(self.config.sets[name].group for name in self.config.evaluation.sets)
        suites = dict.fromkeys(self.suite(protocol) for protocol in table.evaluations)
        evaluations = tuple(self.evaluation(suite, group) for suite in suites for group in groups)
        runs = self.runs(row.recipe for row in table.rows)
        self.plan.tables[f"{study.slug}_{table.name}"] = TablePlan(study.slug, table.name, runs, evaluations)

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
        trained = self.saliency_evaluation(name, "trained")
        runs = self.runs(row.recipe for row in table.rows if not row.probe)
        controls = [
            (run, self.saliency_evaluation(name, row.probe))
            for row in table.rows
            if row.probe
            for run in self.runs([row.recipe])
        ]
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
        return tuple(self.run(name, seed) for name in run_here for seed in self.config.seeds)

    def suite(self, protocol: str) -> str:
        if protocol not in self.config.evaluation.protocols:
            raise UserError(f"evaluation.protocols: {protocol!r} is asked for by a table but not configured: add it")
        return self.config.evaluation.protocols[protocol].suite

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
            "options": entry.options,
            "augmentations": [self.config.augmentations[view].model_dump() for view in self._views(name, entry)],
            "pictures": self.config.pictures.model_dump(),
            "backbone": self.config.backbones[entry.backbone or shared.backbone].model_dump(),
            "batch_size": entry.batch_size or shared.batch_size,
            "steps": shared.steps if entry.steps is None else entry.steps,
            "max_epochs": shared.max_epochs,
            "threads": shared.threads,
            "optimiser": optimiser,
            **entry.passes(),
            "revisions": _revisions(
                [
                    f"frameworks.{entry.framework}",
                    *(["models.text"] if entry.texts else []),
                    *("models.backbones", "training.loop", "data.augment", "data.loader"),
                ]
            ),
        }

    def _views(self, name: str, entry: RecipeConfig) -> tuple[str, ...]:
        """The augmentation of each view, checked against what the framework takes."""
        module = f"frameworks.{entry.framework}"
        views, texts = constant_of(module, "VIEWS"), constant_of(module, "TEXTS")
        if texts != (entry.texts is not None):
            what = "needs texts" if texts else "reads no texts"
            raise UserError(f"recipes.{name}: framework {entry.framework!r} {what}: mend the recipe")
        try:
            return entry.augmentations(views)
        except ValueError as error:
            raise UserError(f"recipes.{name}: {error}: list one a view, or one for all") from None

    def evaluation(self, suite: str, group: str) -> str:
        protocols = {
            name: protocol.model_dump(exclude={"suite"})
            for name, protocol in self.config.evaluation.protocols.items()
            if protocol.suite == suite
        }
        chosen = {name: self.config.sets[name] for name in self.config.evaluation.sets}
        sets = {name: entry for name, entry in chosen.items() if entry.group == group}
        kinds = {protocol["kind"] for protocol in protocols.values()}
        recipe = {
            "sets": {name: {"pack": self.data.pack(s.pack), "metric": s.metric} for name, s in sets.items()},
            "protocols": protocols,
            "pictures": self.config.pictures.model_dump(),
            "threads": self.config.evaluation.threads,
            "revisions": _revisions(["evaluation.features", *(f"evaluation.{kind}" for kind in sorted(kinds))]),
        }
        key = f"{suite}-{group}-{digest_of(recipe)[:8]}"
        packs = tuple(entry["pack"] for entry in recipe["sets"].values())
        self.plan.evaluations[key] = Evaluation(key, suite, group, recipe, packs)
        return key

    def saliency_evaluation(self, name: str, probe: str) -> str:
        """Saliency maps under the protocol `name`, explaining a `probe` of `vlrepro.saliency.evaluation`."""
        protocol = self.config.evaluation.saliency[name]
        pack = self.data.pack(self.config.sets[protocol.set].pack)
        modules = {
            "saliency." + ("packaged" if m.startswith("packaged") else m if m == "agf" else "cam")
            for m in protocol.methods
        }
        recipe = {
            "protocol": name,
            "set": protocol.set,
            "pack": pack,
            "probe": probe,
            "methods": list(protocol.methods),
            "every_score": list(protocol.every_score),
            "tuning_pictures": protocol.tuning_pictures,
            "pictures": self.config.pictures.model_dump() | {"canvas": protocol.canvas, "size": protocol.size},
            "threads": self.config.evaluation.threads,
            "revisions": _revisions(
                [
                    *sorted(modules),
                    *(
                        "saliency.evaluation",
                        "saliency.priors",
                        "evaluation.features",
                        "evaluation.linear",
                        "data.loader",
                    ),
                ]
            ),
        }
        suite = name if probe == "trained" else f"{name}_{probe}"
        key = f"{suite}-{protocol.set}-{digest_of(recipe)[:8]}"
        self.plan.evaluations[key] = Evaluation(key, suite, protocol.set, recipe, (pack,))
        return key


def _revisions(modules: Iterable[str]) -> dict[str, int]:
    return {module: revision_of(module) for module in modules}

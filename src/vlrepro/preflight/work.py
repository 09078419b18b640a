"""The work of a plan: what is made by which rule, of what, and which of it is there.

The rules' files decide how an artefact is made; this is their shape as data, so that costs and states can be told
without a graph of jobs. `tests/test_preflight.py` compares it with what Snakemake would run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vlrepro.plan.jobs import evaluation_jobs, training_jobs
from vlrepro.plan.model import Plan, Recipe, TablePlan, texts_of

SCRIPT_RULES = {"evaluate": "evaluate_run", "zero_shot": "zero_shot", "retrieve": "retrieve"}
_CAPTION_RULES = {"generated": "generate_captions", "refined": "refine_captions", "filtered": "filter_captions"}
_RULES = {
    "checkpoints": ("train_stand_in", ""),
    "parses": ("parse_captions", ".parquet"),
    "spotted": ("spot_text", ".parquet"),
    "scores": ("score_captions", ".parquet"),
    "embeddings": ("embed", ".safetensors"),
    "pairs": ("mine_pairs", ".parquet"),
    "concepts": ("distil_concepts", ".parquet"),
    "prompts": ("embed_prompts", ".safetensors"),
    "rankings": ("rank_pictures", ".parquet"),
}
TABLE_FORMATS = ("csv", "md", "tex", "html")


@dataclass(frozen=True)
class Work:
    """Something that a job makes.

    Attributes:
        rule: the rule that makes it, by the name of a job for it alone.
        name: the artefact's id, or <run>/<evaluation>.
        output: its file, below the folder that Snakemake runs in.
        needs: the keys of what it is made of.
        job: works of the same job share one process.
        recipe: what decides its content; empty where the plan has none.
    """

    rule: str
    name: str
    output: str
    needs: tuple[str, ...]
    job: str
    recipe: Recipe

    @property
    def key(self) -> str:
        """Unique among the works of a plan."""
        return f"{self.rule}/{self.name}"

    def made(self, root: Path) -> bool:
        """Whether its file is there."""
        return (root / self.output).exists()


def work_of(plan: Plan, root: Path, fresh: bool = False) -> dict[str, Work]:
    """Key -> everything that the tables of a plan are made of, and the tables.

    `root` is where Snakemake runs: runs that share jobs do so only if they are not made, or if all is to be made
    afresh.
    """
    return {work.key: work for work in _Inventory(plan, root, fresh).all()}


def closure(works: dict[str, Work], keys: Iterable[str]) -> dict[str, Work]:
    """Those called `keys` and all that they are made of, directly or not."""
    found: dict[str, Work] = {}
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found[key] = works[key]
            waiting += works[key].needs
    return found


def table_keys(plan: Plan, table: TablePlan) -> list[str]:
    """The key of a planned table."""
    return [f"build_table/{table.study}_{table.name}"]


class _Inventory:
    def __init__(self, plan: Plan, root: Path, fresh: bool) -> None:
        self.plan = plan
        self.fresh = fresh
        self.root = root
        self.keys = {name: f"{self.rule(kind, name)}/{name}" for kind, name in self._artefacts()}
        self.jobs = self._shared_jobs()
        self._evaluated = cache(self._made_of_beside_runs)

    def all(self) -> Iterator[Work]:
        for kind, name in self._artefacts():
            entry = getattr(self.plan, kind)[name]
            recipe = entry if isinstance(entry, dict) else entry.recipe
            yield self._recipe(kind, name)
            yield self._artefact(kind, name, recipe)
        for name in self.plan.evaluations:
            yield self._recipe("evaluations", name)
        yield from self._scored()
        for table in self.plan.tables.values():
            yield from self._table(table)

    def rule(self, kind: str, name: str) -> str:
        """The rule that makes an artefact."""
        if kind == "packs":
            return "fetch_web_pack" if "web" in self.plan.packs[name] else "fetch_pack"
        if kind == "captions":
            return _CAPTION_RULES.get(self.plan.captions[name]["method"], "make_captions")
        if kind == "runs":
            return "import_model" if self.plan.runs[name].imported else "train_model"
        return _RULES[kind][0]

    def _artefacts(self) -> Iterator[tuple[str, str]]:
        for kind in ("packs", "captions", *_RULES, "runs"):
            yield from ((kind, name) for name in getattr(self.plan, kind))

    def _output(self, kind: str, name: str) -> str:
        if kind == "packs":
            return f"results/data/{name}/index.parquet"
        if kind == "runs":
            return f"results/runs/{name}/model.safetensors"
        return f"results/{kind}/{name}{'.parquet' if kind == 'captions' else _RULES[kind][1]}"

    def _recipe(self, kind: str, name: str) -> Work:
        return Work(
            "write_recipe",
            f"{kind}/{name}",
            f"results/recipes/{kind}/{name}.json",
            (),
            f"write_recipe/{kind}/{name}",
            {},
        )

    def _artefact(self, kind: str, name: str, recipe: Recipe) -> Work:
        needs = [f"write_recipe/{kind}/{name}", *self._named_in(recipe)]
        rule = self.rule(kind, name)
        return Work(rule, name, self._output(kind, name), tuple(needs), self.jobs.get(name, f"{rule}/{name}"), recipe)

    def _named_in(self, recipe: Recipe) -> list[str]:
        """The keys of the artefacts that a recipe names."""
        return list(dict.fromkeys(self.keys[text] for text in texts_of(recipe) if text in self.keys))

    def _scored(self) -> Iterator[Work]:
        pairs = dict.fromkeys(pair for table in self.plan.tables for pair in self.plan.metrics(table))
        for run, evaluation in pairs:
            planned = self.plan.evaluations[evaluation]
            rule = "score_saliency" if planned.saliency else SCRIPT_RULES[planned.script]
            name = f"{run}/{evaluation}"
            output = f"results/{'saliency' if planned.saliency else 'metrics'}/{name}.json"
            job = self.jobs.get(name, f"{rule}/{name}")
            yield Work(rule, name, output, (self.keys[run], *self._evaluated(evaluation)), job, planned.recipe)
        for evaluation in dict.fromkeys(e for table in self.plan.tables.values() for e in table.priors):
            recipe = self.plan.evaluations[evaluation].recipe
            output, job = f"results/priors/{evaluation}.json", f"score_priors/{evaluation}"
            yield Work("score_priors", evaluation, output, self._evaluated(evaluation), job, recipe)

    def _made_of_beside_runs(self, evaluation: str) -> tuple[str, ...]:
        """What scoring under an evaluation needs, whichever run is scored."""
        recipe = f"write_recipe/evaluations/{evaluation}"
        return recipe, *self._named_in(self.plan.evaluations[evaluation].recipe)

    def _table(self, table: TablePlan) -> Iterator[Work]:
        key, scale = f"{table.study}_{table.name}", self.plan.config.scale
        metrics = [f"{self._scored_rule(e)}/{run}/{e}" for run, e in self.plan.metrics(key)]
        needs = (*metrics, *(f"score_priors/{evaluation}" for evaluation in table.priors))
        cells = f"results/{scale}/cells/{table.study}/{table.name}.parquet"
        yield Work("collect_cells", key, cells, needs, f"collect_cells/{key}", {})
        html = f"results/{scale}/tables/{table.study}/{table.name}.html"
        yield Work("build_table", key, html, (f"collect_cells/{key}",), f"build_table/{key}", {})

    def _scored_rule(self, evaluation: str) -> str:
        planned = self.plan.evaluations[evaluation]
        return "score_saliency" if planned.saliency else SCRIPT_RULES[planned.script]

    def _shared_jobs(self) -> dict[str, str]:
        """Run, or <run>/<evaluation> -> the job that makes it together with others; as workflow/rules/common.smk."""
        resources = self.plan.config.resources

        def trained(run: str) -> bool:
            made = not self.fresh and resources.runs_per_training > 1
            return made and (self.root / self._output("runs", run)).exists()

        def scored(pair: tuple[str, str]) -> bool:
            made = not self.fresh and resources.runs_per_evaluation > 1
            return made and (self.root / f"results/metrics/{'/'.join(pair)}.json").exists()

        trainings = training_jobs(self.plan, resources.runs_per_training, trained)
        jobs = {run: f"train_{job}" for job, runs in trainings.items() for run in runs}
        for script in SCRIPT_RULES:
            found = evaluation_jobs(self.plan, resources.runs_per_evaluation, script, scored)
            for job, (evaluation, runs) in found.items():
                jobs |= {f"{run}/{evaluation}": f"{script}_{job}" for run in runs}
        return jobs

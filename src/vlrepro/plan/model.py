"""What a plan holds: artefacts by id, each with the recipe that decides its content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from vlrepro.config import Config
from vlrepro.config.training import PRETRAINED
from vlrepro.files import digest_of
from vlrepro.revisions import revision_of

Recipe = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training of one recipe: the ids of what it needs; `texts` are embeddings of the caption file `captions`.

    `concepts` is what a teacher sees in the pictures. Weights that are `imported` need no data, and `pack` is None.
    """

    id: str
    recipe_name: str
    seed: int
    recipe: Recipe
    pack: str | None
    pairs: str | None
    texts: str | None
    captions: str | None
    concepts: str | None = None

    @property
    def imported(self) -> bool:
        """Whether its weights are given instead of trained."""
        return self.recipe["framework"] == PRETRAINED


@dataclass(frozen=True)
class Evaluation:
    """One suite of protocols on one group of sets, or (`saliency`) one probe's saliency maps on one set.

    `script` is the program that scores it.
    """

    id: str
    suite: str
    group: str
    recipe: Recipe
    packs: tuple[str, ...]
    script: str

    @property
    def saliency(self) -> bool:
        """Whether saliency maps are scored."""
        return "methods" in self.recipe

    @property
    def prompts(self) -> tuple[str, ...]:
        """The embedded prompts that it needs."""
        return tuple(dict.fromkeys(name for entry in self._entries() for name in entry.get("prompts", {}).values()))

    @property
    def rankings(self) -> tuple[str, ...]:
        """The rankings of pictures that its sets are chosen by."""
        return tuple(dict.fromkeys(entry["hardest"]["ranking"] for entry in self._entries() if "hardest" in entry))

    @property
    def captions(self) -> tuple[tuple[str, str], ...]:
        """(caption file, its embeddings) of the galleries that it searches."""
        pairs = [tuple(pair) for entry in self._entries() for pair in entry.get("captions", ())]
        return tuple(dict.fromkeys(pairs))

    def _entries(self) -> Iterable[Recipe]:
        """Its sets."""
        return () if self.saliency else self.recipe["sets"].values()


@dataclass(frozen=True)
class TablePlan:
    """One table of a study: its metrics are runs x evaluations, `controls` (run, evaluation) and `priors`' scores.

    `saliency`: it is about saliency maps. `priors` are evaluations under which maps of no model are scored, `gallery`
    maps the rows whose maps are shown to runs. `searches` are the sets of retrieval whose queries are shown.
    """

    study: str
    name: str
    runs: tuple[str, ...]
    evaluations: tuple[str, ...]
    saliency: bool = False
    controls: tuple[tuple[str, str], ...] = ()
    priors: tuple[str, ...] = ()
    gallery: Mapping[str, str] = field(default_factory=dict)
    searches: tuple[str, ...] = ()


@dataclass
class Plan:
    """Everything that the configuration asks for, keyed by artefact id."""

    config: Config
    packs: dict[str, Recipe] = field(default_factory=dict)
    checkpoints: dict[str, Recipe] = field(default_factory=dict)
    captions: dict[str, Recipe] = field(default_factory=dict)
    parses: dict[str, Recipe] = field(default_factory=dict)
    spotted: dict[str, Recipe] = field(default_factory=dict)
    scores: dict[str, Recipe] = field(default_factory=dict)
    embeddings: dict[str, Recipe] = field(default_factory=dict)
    pairs: dict[str, Recipe] = field(default_factory=dict)
    concepts: dict[str, Recipe] = field(default_factory=dict)
    prompts: dict[str, Recipe] = field(default_factory=dict)
    rankings: dict[str, Recipe] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    tables: dict[str, TablePlan] = field(default_factory=dict)

    def recipe_text(self, kind: str, name: str) -> str:
        """The JSON text of an artefact's recipe; `kind` is the attribute that holds it."""
        entry = getattr(self, kind)[name]
        return json.dumps(entry if isinstance(entry, dict) else entry.recipe, sort_keys=True, indent=1)

    def needed(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Kind -> the artefacts of that kind that those called `names` are made of, directly or not."""
        kinds = [entry.name for entry in fields(self) if entry.name not in ("config", "tables")]
        artefacts = [(name, entry) for kind in kinds for name, entry in getattr(self, kind).items()]
        recipes: dict[str, list[Recipe]] = {}
        for name, entry in artefacts:
            recipes.setdefault(name, []).append(entry if isinstance(entry, dict) else entry.recipe)
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += (text for text in texts_of(recipes.get(name, [])) if text in recipes and text not in found)
        return {kind: [name for name in getattr(self, kind) if name in found] for kind in kinds}

    def metrics(self, table: str) -> list[tuple[str, str]]:
        """(run, evaluation) of every run's metrics file that a table is made of, in the table's order."""
        plan = self.tables[table]
        return [(run, evaluation) for run in plan.runs for evaluation in plan.evaluations] + list(plan.controls)


def texts_of(value: Any) -> Iterator[str]:
    """Every string in a recipe."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from texts_of(entry)


def revisions(modules: Iterable[str]) -> dict[str, int]:
    """The `REVISION` of each module."""
    return {module: revision_of(module) for module in modules}


def register(table: dict[str, Recipe], name: str, recipe: Recipe) -> str:
    """Put `recipe` into `table` under `<name>-<8 hex digits of its digest>`; return that id."""
    key = f"{name}-{digest_of(recipe)[:8]}"
    table[key] = recipe
    return key

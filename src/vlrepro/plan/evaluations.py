"""The evaluation side of a plan: what is scored on which sets, and what zero-shot classification names classes by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vlrepro.config import Config
from vlrepro.config.evaluation import SetConfig
from vlrepro.errors import UserError
from vlrepro.evaluation.templates import templates_digest
from vlrepro.files import digest_of
from vlrepro.plan.data import DataPlanner
from vlrepro.plan.model import Evaluation, Plan, Recipe, register, revisions

_MODULES = {
    "linear": ["evaluation.linear"],
    "few_shot": ["evaluation.few_shot"],
    "adamw": ["evaluation.adamw_probe"],
    "zero_shot": [
        "evaluation.zero_shot",
        "evaluation.joint",
        "evaluation.hardness",
        "data.corruptions",
        "data.augment",
    ],
    "retrieval": ["evaluation.retrieval", "evaluation.galleries", "evaluation.joint"],
}
"""The modules whose revisions decide a protocol's scores."""


class EvaluationPlanner:
    """Adds evaluations to a plan, with what they need; every method returns an artefact's id."""

    def __init__(self, config: Config, plan: Plan, data: DataPlanner) -> None:
        self.config = config
        self.plan = plan
        self.data = data

    def suite(self, protocol: str) -> str:
        """The suite of a protocol. Raises `UserError` where there is no such protocol."""
        if protocol not in self.config.evaluation.protocols:
            raise UserError(f"evaluation.protocols: {protocol!r} is asked for by a table but not configured: add it")
        return self.config.evaluation.protocols[protocol].suite

    def of_suite(self, suite: str) -> list[str]:
        """The evaluations of a suite, one a group of its sets."""
        names = self.config.evaluation.sets_of_suite(suite)
        groups = dict.fromkeys(self.config.sets[name].group for name in names)
        return [self.evaluation(suite, group) for group in groups]

    def evaluation(self, suite: str, group: str) -> str:
        """A suite's protocols on the sets of one group."""
        settings = self.config.evaluation
        protocols = {name: entry for name, entry in settings.protocols.items() if entry.suite == suite}
        names = [name for name in settings.sets_of_suite(suite) if self.config.sets[name].group == group]
        sets = {name: self._set(name) for name in names}
        script = next(iter(protocols.values())).script
        for name, entry in sets.items():
            if script == "zero_shot":
                entry |= self._named(self.config.sets[name], protocols)
            elif script == "retrieve":
                entry |= self._gallery(name, protocols)
        scored = {module for entry in protocols.values() for module in _MODULES[entry.kind]}
        scored |= {"evaluation.joint" for entry in protocols.values() if getattr(entry, "features", "") == "projected"}
        recipe = {
            "sets": sets,
            "protocols": {
                name: _settings(entry.model_dump(exclude={"suite", "sets"})) for name, entry in protocols.items()
            },
            "pictures": self.config.pictures.model_dump(),
            "threads": settings.threads,
            "revisions": revisions(["evaluation.features", *sorted(scored)]),
        }
        key = f"{suite}-{group}-{digest_of(recipe)[:8]}"
        packs = tuple(entry["pack"] for entry in sets.values())
        self.plan.evaluations[key] = Evaluation(key, suite, group, recipe, packs, script)
        return key

    def _set(self, name: str) -> Recipe:
        entry = self.config.sets[name]
        return {"pack": self.data.pack(entry.pack), "metric": entry.metric}

    def _named(self, entry: SetConfig, protocols: dict[str, Any]) -> Recipe:
        """What zero-shot classification needs of a set beside its pictures."""
        prompts = {
            name: self.prompts(entry, protocol.templates, protocol.encoder) for name, protocol in protocols.items()
        }
        named = {"classes": entry.classes, "among": entry.among, "splits": list(entry.splits), "prompts": prompts}
        if entry.hardest:
            named["hardest"] = {"ranking": self.ranking(entry), "share": entry.hardest.share}
        if entry.corrupted:
            named["corrupted"] = entry.corrupted.model_dump()
        return named

    def _gallery(self, name: str, protocols: dict[str, Any]) -> Recipe:
        """What retrieval needs of a set beside its pictures: [caption file, its embeddings] of each caption source."""
        entry = self.config.sets[name]
        encoders = {protocol.encoder for protocol in protocols.values()}
        if not entry.captions or len(encoders) > 1:
            what = f"{len(encoders)} text encoders" if entry.captions else "no captions"
            raise UserError(f"sets.{name}: retrieval on it has {what}: give the set captions and its suite one encoder")
        (encoder,) = encoders
        for source in entry.captions:
            if self.config.captions[source].pack != entry.pack:
                raise UserError(f"sets.{name}: captions {source!r} are of another pack: choose those of {entry.pack}")
        pairs = [[self.data.captions(s), self.data.embeddings(encoder, s, None)] for s in entry.captions]
        gallery: Recipe = {"captions": pairs, "splits": list(entry.splits)}
        chosen = {"first": entry.first, "captions_each": entry.captions_each, "batches": entry.batches}
        chosen |= {"part": list(entry.part) if entry.part else None}
        return gallery | {key: value for key, value in chosen.items() if value}

    def prompts(self, entry: SetConfig, templates: str, encoder: str) -> str:
        """Embedded prompts: every class of a set's `names` in every template."""
        chosen = self.config.encoders[encoder]
        if chosen.sees:
            raise UserError(f"encoders.{encoder} embeds pictures: zero-shot protocols need one that embeds captions")
        recipe = self._classes(entry) | {
            "templates": templates,
            "templates_digest": templates_digest(templates),
            "kind": chosen.kind,
            "encoder": chosen.reader(),
            "repeated_names": entry.repeated_names,
            "threads": self.data.threads,
            "revisions": revisions(["pairs.encoding"]),
        }
        return register(self.plan.prompts, f"{templates}_by_{encoder}", recipe)

    def ranking(self, entry: SetConfig) -> str:
        """How hard each picture of a set's pack is for a scorer: the rank of its own class's name."""
        scorer = self.config.scorers[entry.hardest.scorer]
        recipe = self.data.checkpoint("scorer", entry.hardest.scorer, scorer) | self._classes(entry)
        recipe |= {
            "pictures": self.data.pack(entry.pack),
            "batch_size": scorer.batch_size,
            "threads": self.data.threads,
            "ranking_revision": revisions(["captions.ranking"])["captions.ranking"],
        }
        return register(self.plan.rankings, f"{entry.pack}_by_{entry.hardest.scorer}", recipe)

    def _classes(self, entry: SetConfig) -> Recipe:
        return {"names": self.data.pack(entry.names or entry.pack), "classes": entry.classes}

    def encoders(self, evaluation: str) -> Iterator[str]:
        """The text encoders whose runs an evaluation can score; none for one that needs none."""
        suite = self.plan.evaluations[evaluation].suite
        for entry in self.config.evaluation.protocols.values():
            if entry.suite == suite and hasattr(entry, "encoder"):
                yield entry.encoder

    def saliency(self, name: str, probe: str) -> str:
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
            "revisions": revisions(
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
        self.plan.evaluations[key] = Evaluation(key, suite, protocol.set, recipe, (pack,), "score_saliency")
        return key


def _settings(protocol: dict[str, Any]) -> dict[str, Any]:
    """A protocol as a recipe has it: linear probes on the trunk were there before there was a choice of features."""
    before = protocol["kind"] == "linear" and protocol["features"] == "trunk"
    return {name: value for name, value in protocol.items() if not (before and name == "features")}

"""The data side of a plan: packs, checkpoints, captions, scores, embeddings, pairs, concepts."""

from __future__ import annotations

from pathlib import PurePath

from vlrepro.config import Config
from vlrepro.config.data import CaptionConfig, CheckpointConfig, EncoderConfig
from vlrepro.config.packs import ComposeConfig
from vlrepro.errors import UserError
from vlrepro.files import digest_of
from vlrepro.plan.model import Plan, Recipe, register
from vlrepro.revisions import revision_of


class DataPlanner:
    """Adds artefacts to a plan, each with what it is made of; every method returns an artefact's id."""

    def __init__(self, config: Config, plan: Plan) -> None:
        self.config = config
        self.plan = plan
        self.threads = config.training.threads

    def pack(self, name: str) -> str:
        """A verified image set."""
        pack = self.config.packs[name]
        if pack.compose:
            return self._composed(name, pack.compose)
        entry = {"source": pack.source, "path": pack.path, "digest": pack.digest}
        identified: list[object] = [pack.source, pack.revision]
        if pack.web:
            entry["web"] = pack.web.rules()
            identified += [entry["web"], revision_of("data.download.pictures")]
        if pack.source == "webdataset":
            identified.append(revision_of("data.download.pictures"))
        key = f"{name}-{(pack.digest or digest_of(identified))[:8]}"
        self.plan.packs[key] = entry
        return key

    def _composed(self, name: str, compose: ComposeConfig) -> str:
        """A set made here; its recipe holds those of the packs it is made of, which need not be fetched for it."""
        parts = {}
        for role in ("objects", "backgrounds"):
            part = self.config.packs[getattr(compose, role)]
            if part.compose or part.digest is None:
                raise UserError(
                    f"packs.{name}.compose.{role}: {getattr(compose, role)!r} has no digest: choose one with"
                )
            parts[role] = {"source": part.source, "path": part.path, "digest": part.digest}
        entry = compose.model_dump(mode="json") | parts
        identity = entry | {role: part["digest"] for role, part in parts.items()}
        key = f"{name}-{digest_of([identity, revision_of('data.sources.composed')])[:8]}"
        self.plan.packs[key] = {"source": "composed", "path": None, "digest": None, "compose": entry}
        return key

    def checkpoint(self, kind: str, name: str, entry: CheckpointConfig) -> Recipe:
        """What identifies a captioner or scorer: a stand-in's id or a model's name, as `model`."""
        if entry.stand_in is None:
            return {"model": entry.model, "revision": entry.revision, "stand_in": False}
        recipe = {
            "kind": kind,
            "pack": self.pack(entry.stand_in.pack),
            "seed": entry.stand_in.seed,
            "options": entry.stand_in.options,
            "threads": self.threads,
            "revision": revision_of("captions.stand_ins"),
        }
        return {"model": register(self.plan.checkpoints, name, recipe), "revision": None, "stand_in": True}

    def dual_encoder(self, name: str) -> Recipe:
        """What identifies a dual encoder that is given: its kind and weights; where these lie is no part of it."""
        entry = self.config.dual_encoders[name]
        if entry.scorer:
            weights = self.checkpoint("scorer", entry.scorer, self.config.scorers[entry.scorer])
        elif entry.kind == "diht":
            weights = {"weights": entry.digest or PurePath(entry.path).name, "stand_in": False}
        else:
            weights = {"model": entry.model, "revision": entry.revision, "stand_in": False}
        module = f"dual_encoders.{entry.kind}"
        chosen = {"kind": entry.kind, **weights, "prompt": entry.prompt}
        return {"dual_encoder": chosen, "revisions": {module: revision_of(module)}}

    def captions(self, name: str) -> str:
        """The captions of a pack by one source."""
        entry = self.config.captions[name]
        recipe = {
            "method": entry.method,
            "pack": self.pack(entry.pack),
            "sources_revision": revision_of("captions.sources"),
        }
        return register(self.plan.captions, name, recipe | self._method(name, entry))

    def _method(self, name: str, entry: CaptionConfig) -> Recipe:
        if entry.method == "every":
            return {"every_revision": revision_of("captions.every")}
        if entry.method == "noise":
            chosen = entry.model_dump(include={"seed", "rates", "group_spread"})
            chosen |= {"draws": entry.draws} if entry.draws > 1 else {}
            return chosen | {"noise_revision": revision_of("captions.noise")}
        if entry.method == "generated":
            captioner = self.config.captioners[entry.captioner]
            asked = captioner.model_dump(include={"prompt", "max_new_tokens", "num_beams", "batch_size"})
            model = self.checkpoint("captioner", entry.captioner, captioner)
            return model | asked | {"threads": self.threads, "captioner_revision": revision_of("captions.captioner")}
        if entry.method == "refined":
            sources = {"original": entry.original, "generated": entry.generated}
            return {
                "sources": {role: self.captions(source) for role, source in sources.items()},
                "scores": {role: self.scores(source, entry.scorer) for role, source in sources.items()},
                "refine_revision": revision_of("captions.refine"),
            }
        if entry.method == "filtered":
            return self._filtered(name, entry)
        return {}

    def _filtered(self, name: str, entry: CaptionConfig) -> Recipe:
        if self.config.captions[entry.original].pack != entry.pack:
            raise UserError(f"captions.{name}: pack {entry.pack!r} is not that of {entry.original!r}: give the same")
        return {
            "sources": {"original": self.captions(entry.original)},
            "parses": self.parses(entry.original) if entry.cat.parses else None,
            "spotted": self.spotted(entry.pack) if entry.cat.reads else None,
            "rules": entry.cat.model_dump(),
            "filter_revision": revision_of("captions.cat_filter"),
        }

    def scores(self, captions: str, scorer: str) -> str:
        """How well each caption of a source fits its picture, by a scorer."""
        entry = self.config.scorers[scorer]
        recipe = self.checkpoint("scorer", scorer, entry) | {
            "captions": self.captions(captions),
            "batch_size": entry.batch_size,
            "threads": self.threads,
            "scorer_revision": revision_of("captions.scorer"),
        }
        return register(self.plan.scores, f"{captions}_by_{scorer}", recipe)

    def embeddings(self, encoder: str, captions: str | None, pack: str | None) -> str:
        """Embeddings of a source's captions, or of a pack's pictures.

        Raises `UserError` where captions are to be embedded by an encoder of pictures.
        """
        entry = self.config.encoders[encoder]
        if captions and entry.sees:
            raise UserError(f"encoders.{encoder} embeds pictures, and captions {captions!r} need one that reads them")
        if entry.weights:
            return self._torchvision(encoder, entry, pack)
        chosen = entry.reader()
        if entry.scorer:
            chosen = self.checkpoint("scorer", entry.scorer, self.config.scorers[entry.scorer])
        recipe = {
            "kind": entry.kind,
            "encoder": chosen,
            "captions": self.captions(captions) if captions else None,
            "pack": self.pack(pack) if pack else None,
            "threads": self.threads,
            "revision": revision_of("pairs.encoding"),
        }
        return register(self.plan.embeddings, f"{encoder}_of_{captions or pack}", recipe)

    def _torchvision(self, name: str, entry: EncoderConfig, pack: str) -> str:
        """Features of a pack's pictures; where the weights lie and whose licence they have are no part of the id."""
        weights = entry.weights.model_dump()
        chosen = {"model": entry.model} | {key: weights[key] for key in ("digest", "size")}
        recipe = {
            "kind": entry.kind,
            "encoder": chosen,
            "captions": None,
            "pack": self.pack(pack),
            "threads": self.threads,
            "revision": revision_of("pairs.torchvision_encoding"),
        }
        key = register(self.plan.embeddings, f"{name}_of_{pack}", recipe)
        self.plan.embeddings[key] = recipe | {"encoder": chosen | weights}
        return key

    def parses(self, captions: str) -> str:
        """What the captions of a source name, and how complex they are."""
        recipe = {
            "captions": self.captions(captions),
            "parser": self.config.parser.model_dump(),
            "revision": revision_of("captions.parsing"),
        }
        return register(self.plan.parses, captions, recipe)

    def spotted(self, pack: str) -> str:
        """The texts in a pack's pictures."""
        chosen = self.config.spotter.model_dump()
        recipe = {"pack": self.pack(pack), **chosen, "revision": revision_of("captions.text_spotting")}
        return register(self.plan.spotted, pack, recipe)

    def concepts(self, name: str, pack: str) -> str:
        """What a teacher sees in a pack's pictures.

        Raises `UserError` where the captions are another pack's, or the teacher is no image encoder.
        """
        entry = self.config.concepts[name]
        of = self.config.captions[entry.captions].pack
        if of != pack:
            raise UserError(f"concepts.{name}.captions: {entry.captions!r} is of {of}, not of {pack}: choose {pack}'s")
        if not self.config.encoders[entry.encoder].sees:
            raise UserError(f"concepts.{name}.encoder: {entry.encoder!r} reads no pictures: choose one that does")
        recipe = entry.model_dump(exclude={"captions", "encoder"}) | {
            "pack": self.pack(pack),
            "parses": self.parses(entry.captions),
            "embeddings": self.embeddings(entry.encoder, None, pack),
            "threads": self.threads,
            "revision": revision_of("captions.concepts"),
        }
        return register(self.plan.concepts, name, recipe)

    def pairs(self, name: str, pack: str) -> str:
        """The neighbours of a pack's pictures."""
        entry = self.config.pairs[name]
        embeddings = None
        if entry.encoder:
            embeddings = self.embeddings(entry.encoder, entry.captions, None if entry.captions else pack)
        recipe = entry.model_dump(exclude={"encoder"}) | {
            "pack": self.pack(pack),
            "captions": self.captions(entry.captions) if entry.captions else None,
            "embeddings": embeddings,
            "threads": self.threads,
            "revision": revision_of("pairs.mining"),
        }
        return register(self.plan.pairs, name, recipe)

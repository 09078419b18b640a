"""Strict models of `config/*.yaml`: an unknown key, a missing one or a wrong type is one clear error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from vlrepro.config.base import Positive, Share, Slug, Strict, validate
from vlrepro.config.data import (
    CaptionConfig,
    CaptionerConfig,
    CheckpointConfig,
    ConceptConfig,
    EncoderConfig,
    PairConfig,
    ParserConfig,
    SpotterConfig,
)
from vlrepro.config.dual_encoders import DualEncoderConfig
from vlrepro.config.evaluation import EvaluationConfig, SetConfig
from vlrepro.config.packs import PackConfig
from vlrepro.config.training import (
    AugmentationConfig,
    BackboneConfig,
    OptimiserConfig,
    PictureConfig,
    RecipeConfig,
    TrainingConfig,
)


class LimitConfig(Strict):
    """Share of a pack's rows that may be skipped for a picture or caption that is unusable."""

    bad_pictures: Share = 0.01
    bad_captions: Share = 0.01


class ResourceConfig(Strict):
    """What does not change results: memory and minutes that jobs ask for, GPUs, seconds between checkpoints.

    `runs_per_training` and `runs_per_evaluation`: how many runs that read the same data one job may train or score.
    `train_gpus`: of a training; other jobs that can use a GPU ask for one where trainings have any. `train_processes`:
    that share a training's batches, one a GPU unless said; more than one without GPUs share its processors' time.
    Mining asks for what training does, where nothing else is said.
    `gpu_flops` and `cpu_flops`: floating-point operations a second that a GPU or a core gets through in training, for
    the budget where nothing of the kind has finished yet.
    `train_retries`: how often a training is started again that got near `train_minutes` (or whose node failed): it
    goes on from its state, so a long one needs its hours divided by the limit's; 0 is as other jobs are.
    `reserve_seconds`: how long before the limit it saves and ends, within a Slurm job, whose start is counted to it.
    """

    runs_per_training: Positive = 1
    runs_per_evaluation: Positive = 1
    train_memory_mb: Positive
    train_minutes: Positive
    train_gpus: int = Field(0, ge=0)
    mine_memory_mb: Positive | None = None
    mine_minutes: Positive | None = None
    mine_gpus: int | None = Field(None, ge=0)
    train_processes: Positive | None = None
    evaluate_memory_mb: Positive
    evaluate_minutes: Positive
    checkpoint_seconds: float = Field(60, gt=0)
    gpu_flops: float = Field(2.3e13, gt=0)
    cpu_flops: float = Field(2e10, gt=0)
    train_retries: int = Field(0, ge=0)
    reserve_seconds: float = Field(300, ge=0)

    @model_validator(mode="after")
    def _a_process_a_gpu(self) -> ResourceConfig:
        if self.train_gpus and self.processes != self.train_gpus:
            raise ValueError(f"{self.processes} train_processes for {self.train_gpus} train_gpus: leave them out")
        return self

    @property
    def processes(self) -> int:
        """How many processes a training is of."""
        return self.train_processes or max(1, self.train_gpus)

    @property
    def gpus(self) -> int:
        """How many GPUs a job that is of one process asks for."""
        return min(1, self.train_gpus)


class Config(Strict):
    """The whole configuration of one scale.

    `tables` are those to build, of each paper; null is all of them, less those of `without` (which may
    be of other papers). A recipe that is null is
    not run at this scale.
    """

    scale: Literal["tiny", "pocket", "evidence", "paper"]
    seeds: tuple[int, ...] = Field(min_length=1)
    papers: tuple[Slug, ...]
    tables: tuple[Slug, ...] | None = None
    without: tuple[Slug, ...] = ()
    packs: dict[Slug, PackConfig]
    captioners: dict[Slug, CaptionerConfig]
    scorers: dict[Slug, CheckpointConfig]
    parser: ParserConfig = ParserConfig()
    spotter: SpotterConfig = SpotterConfig()
    dual_encoders: dict[Slug, DualEncoderConfig] = Field(default_factory=dict)
    captions: dict[Slug, CaptionConfig]
    encoders: dict[Slug, EncoderConfig]
    pairs: dict[Slug, PairConfig]
    concepts: dict[Slug, ConceptConfig] = Field(default_factory=dict)
    pictures: PictureConfig
    augmentations: dict[Slug, AugmentationConfig]
    backbones: dict[Slug, BackboneConfig]
    optimisers: dict[Slug, OptimiserConfig] = Field(default_factory=dict)
    training: TrainingConfig
    recipes: dict[Slug, RecipeConfig | None]
    sets: dict[Slug, SetConfig]
    evaluation: EvaluationConfig
    limits: LimitConfig
    resources: ResourceConfig

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed is given twice")
        return seeds

    @model_validator(mode="after")
    def _references(self) -> Config:
        for place, name, table in self._names():
            if name is not None and name not in getattr(self, table):
                raise ValueError(f"{place} names {name!r}, which is not under {table}")
        return self

    @model_validator(mode="after")
    def _one_caption_a_picture(self) -> Config:
        for place, name, table in self._names():
            several = table == "captions" and name is not None and self.captions[name].several
            if several and place.split(".")[0] in ("captions", "pairs", "recipes"):
                raise ValueError(f"{place} names {name!r}, but needs one caption a picture, not several")
        return self

    def _names(self) -> Iterator[tuple[str, str | None, str]]:
        """Every (place, name, table that must hold the name)."""
        yield "training.pack", self.training.pack, "packs"
        yield "training.backbone", self.training.backbone, "backbones"
        for name in self.evaluation.sets:
            yield "evaluation.sets", name, "sets"
        for key, protocol in self.evaluation.protocols.items():
            for name in protocol.sets or ():
                yield f"evaluation.protocols.{key}.sets", name, "sets"
            yield f"evaluation.protocols.{key}.encoder", getattr(protocol, "encoder", None), "encoders"
        for key, entry in self.sets.items():
            if entry.hardest:
                yield f"sets.{key}.hardest.scorer", entry.hardest.scorer, "scorers"
            for name in entry.captions:
                yield f"sets.{key}.captions", name, "captions"
        for key, protocol in self.evaluation.saliency.items():
            if protocol:
                yield f"evaluation.saliency.{key}.set", protocol.set, "sets"
        for key, recipe in self.recipes.items():
            if recipe is None:
                continue
            listed = (
                ()
                if recipe.augmentation is None
                else (recipe.augmentation,)
                if isinstance(recipe.augmentation, str)
                else recipe.augmentation
            )
            for name in listed:
                yield f"recipes.{key}.augmentation", name, "augmentations"
        for section, fields in _REFERENCES.items():
            for key, entry in getattr(self, section).items():
                for field, table in fields.items():
                    yield f"{section}.{key}.{field}", getattr(entry, field, None), table
        for key, pack in self.packs.items():
            if pack.compose:
                yield f"packs.{key}.compose.objects", pack.compose.objects, "packs"
                yield f"packs.{key}.compose.backgrounds", pack.compose.backgrounds, "packs"
        for section in ("captioners", "scorers"):
            for key, entry in getattr(self, section).items():
                if entry.stand_in:
                    yield f"{section}.{key}.stand_in.pack", entry.stand_in.pack, "packs"


_REFERENCES = {
    "captions": {
        "pack": "packs",
        "captioner": "captioners",
        "original": "captions",
        "generated": "captions",
        "scorer": "scorers",
    },
    "dual_encoders": {"scorer": "scorers"},
    "encoders": {"scorer": "scorers"},
    "pairs": {"captions": "captions", "encoder": "encoders"},
    "concepts": {"captions": "captions", "encoder": "encoders"},
    "sets": {"pack": "packs", "names": "packs"},
    "recipes": {
        "pairs": "pairs",
        "texts": "captions",
        "text_encoder": "encoders",
        "concepts": "concepts",
        "pack": "packs",
        "backbone": "backbones",
        "optimiser": "optimisers",
        "dual_encoder": "dual_encoders",
    },
}
"""Section -> field -> the section that must hold the field's value."""


def load_config(values: dict[str, Any]) -> Config:
    """Check a configuration as Snakemake hands it over.

    Raises `UserError`: one line with the key and what is wrong with it.
    """
    return validate(Config, values, "config")

"""Strict models of `config/*.yaml`: an unknown key, a missing one or a wrong type is one clear error.

Imported while Snakemake parses, so nothing heavy: pydantic and the standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vlrepro.errors import UserError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
ModelT = TypeVar("ModelT", bound="Strict")


class Strict(BaseModel):
    """A model that refuses keys it does not know and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PackConfig(Strict):
    """Where an image set comes from. `digest` is the SHA-256 of the pack's SHA256SUMS."""

    source: str
    path: str
    digest: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    revision: str | None = None

    @model_validator(mode="after")
    def _identified(self) -> PackConfig:
        if (self.digest is None) == (self.revision is None):
            raise ValueError("give either digest or revision")
        return self


class NoiseRates(Strict):
    """Shares of captions of each noisy kind; what is left is faithful."""

    vague: Share
    off_topic: Share
    wrong: Share
    other_language: Share
    short: Share

    @model_validator(mode="after")
    def _sum(self) -> NoiseRates:
        total = sum(self.model_dump().values())
        if total > 1:
            raise ValueError(f"the rates sum to {total:g}, over 1")
        return self


class CaptionConfig(Strict):
    """A caption source: the pack's own captions, or those after the documented noise model."""

    method: Literal["clean", "noise"]
    pack: Slug
    seed: int = 0
    rates: NoiseRates | None = None
    group_spread: Share = 0.0

    @model_validator(mode="after")
    def _rates(self) -> CaptionConfig:
        if (self.method == "noise") != (self.rates is not None):
            raise ValueError("method noise needs rates, and only it")
        return self


class EncoderConfig(Strict):
    """A sentence encoder that sentence-transformers loads: from a Python package, a folder or by name."""

    model: str
    package: str | None = None
    digest: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")


class PairConfig(Strict):
    """How each picture finds its neighbour: the nearest caption in scope."""

    captions: Slug
    encoder: Slug
    scope: Literal["global", "group"] = "global"
    minimum_cosine: float = Field(-1.0, ge=-1, le=1)


class AugmentationConfig(Strict):
    """One augmentation; see `vlrepro.data.augment.AugmentationOptions` for the meaning of each value."""

    scale: tuple[float, float]
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: Share = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_probability: Share = 0.0
    grey_probability: Share = 0.0
    blur_probability: Share = 0.0
    blur_kernel: Positive = 3
    blur_sigma: tuple[float, float] = (0.1, 2.0)


class PictureConfig(Strict):
    """Sizes in pixels (the stored square canvas, the network's input) and normalisation of pictures."""

    canvas: Positive
    size: Positive
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class OptimiserConfig(Strict):
    """AdamW, linear warm-up from `warmup_start` to the learning rate, cosine to `final_rate`."""

    learning_rate: float = Field(gt=0)
    reference_batch: Positive
    weight_decay: float = Field(ge=0)
    decay_all: bool = True
    warmup_steps: int = Field(ge=0)
    warmup_start: float = Field(ge=0)
    final_rate: float = Field(ge=0)


class BackboneConfig(BaseModel):
    """A backbone of `vlrepro.models.backbones` by name; any other key is an option of its builder."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str


class TrainingConfig(Strict):
    """What all recipes share unless they say otherwise."""

    pack: Slug
    backbone: Slug
    batch_size: Positive
    steps: int = Field(ge=0)
    max_epochs: Positive
    threads: Positive
    optimiser: OptimiserConfig


class RecipeConfig(Strict):
    """One trained model: a framework and where it departs from `training`."""

    framework: str
    options: dict[str, Any] = {}
    augmentation: Slug
    pairs: Slug | None = None
    pack: Slug | None = None
    backbone: Slug | None = None
    batch_size: Positive | None = None
    steps: int | None = Field(None, ge=0)
    learning_rate: float | None = Field(None, gt=0)


class SetConfig(Strict):
    """An evaluation set: a pack with labels and splits."""

    title: str
    pack: Slug
    metric: Literal["accuracy", "mean_per_class"] = "accuracy"
    shows: str
    group: Slug = "main"


class LinearConfig(Strict):
    """The linear probe's protocol."""

    penalty: Literal["squared", "frobenius"] = "squared"
    max_iterations: Positive = 200
    search_tolerance: float = Field(1e-3, gt=0)
    tolerance: float = Field(1e-6, gt=0)


class FewShotConfig(Strict):
    """The few-shot protocol."""

    ways: int = Field(5, ge=2)
    shots: Positive = 5
    queries: Positive = 6
    episodes: Positive = 5000
    seed: int = 0
    pool: Literal["train/test", "all"] = "train/test"
    centre: bool = True
    normalise: bool = True


class EvaluationConfig(Strict):
    """Which sets are evaluated on, and the protocols; `threads` decides the order of floating-point sums."""

    sets: tuple[Slug, ...] = Field(min_length=1)
    threads: Positive
    linear: LinearConfig
    few_shot: FewShotConfig


class LimitConfig(Strict):
    """Share of a pack's rows that may be skipped for a picture or caption that is unusable."""

    bad_pictures: Share = 0.01
    bad_captions: Share = 0.01


class ResourceConfig(Strict):
    """What does not change results: memory and minutes that jobs ask for, GPUs, seconds between checkpoints."""

    train_memory_mb: Positive
    train_minutes: Positive
    train_gpus: int = Field(0, ge=0)
    evaluate_memory_mb: Positive
    evaluate_minutes: Positive
    checkpoint_seconds: float = Field(60, gt=0)


class Config(Strict):
    """The whole configuration of one scale."""

    scale: Literal["tiny", "pocket", "evidence", "paper"]
    seeds: tuple[int, ...] = Field(min_length=1)
    papers: tuple[Slug, ...]
    packs: dict[Slug, PackConfig]
    captions: dict[Slug, CaptionConfig]
    encoders: dict[Slug, EncoderConfig]
    pairs: dict[Slug, PairConfig]
    pictures: PictureConfig
    augmentations: dict[Slug, AugmentationConfig]
    backbones: dict[Slug, BackboneConfig]
    training: TrainingConfig
    recipes: dict[Slug, RecipeConfig]
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
            if name not in getattr(self, table):
                raise ValueError(f"{place} names {name!r}, which is not under {table}")
        return self

    def _names(self) -> Iterator[tuple[str, str, str]]:
        """Every (place, name, table that must hold the name)."""
        yield "training.pack", self.training.pack, "packs"
        yield "training.backbone", self.training.backbone, "backbones"
        for name in self.evaluation.sets:
            yield "evaluation.sets", name, "sets"
        for key, captions in self.captions.items():
            yield f"captions.{key}.pack", captions.pack, "packs"
        for key, pairs in self.pairs.items():
            yield f"pairs.{key}.captions", pairs.captions, "captions"
            yield f"pairs.{key}.encoder", pairs.encoder, "encoders"
        for key, entry in self.sets.items():
            yield f"sets.{key}.pack", entry.pack, "packs"
        for key, recipe in self.recipes.items():
            yield f"recipes.{key}.augmentation", recipe.augmentation, "augmentations"
            for field, table in (("pairs", "pairs"), ("pack", "packs"), ("backbone", "backbones")):
                if getattr(recipe, field) is not None:
                    yield f"recipes.{key}.{field}", getattr(recipe, field), table


def load_config(values: dict[str, Any]) -> Config:
    """Check a configuration as Snakemake hands it over.

    Raises `UserError`: one line with the key and what is wrong with it.
    """
    return validate(Config, values, "config")


def validate(model: type[ModelT], values: Any, place: str) -> ModelT:
    """`model` of `values`, with pydantic's complaints as one `UserError` line that names `place` and the key."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        what = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise UserError(f"{place}: {where}: {what}{more}: mend it in the config file") from None


def steps_allowed(pictures: int, batch_size: int, max_epochs: int) -> int:
    """Optimiser steps that `pictures` allow: whole batches an epoch times `max_epochs`."""
    return math.floor(pictures / batch_size) * max_epochs

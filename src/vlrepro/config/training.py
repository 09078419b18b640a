"""How models are trained: pictures, augmentations, backbones, the optimiser, recipes."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vlrepro.config.base import Positive, Share, Slug, Strict

PRETRAINED = "pretrained"
"""The framework of recipes whose weights are imported, not trained."""

Momentum = Annotated[float, Field(ge=0, lt=1)]


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
    """AdamW, linear warm-up from `warmup_start` to the learning rate, cosine to `final_rate`.

    `schedule_offset` steps are skipped at the schedule's start and run past its end, where the cosine rises again: so
    does a code base whose count of epochs starts at 1 (CyCLIP's, by the batches of an epoch).
    """

    learning_rate: float = Field(gt=0)
    reference_batch: Positive
    weight_decay: float = Field(ge=0)
    decay_all: bool = True
    warmup_steps: int = Field(ge=0)
    warmup_start: float = Field(ge=0)
    final_rate: float = Field(ge=0)
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    schedule_offset: int = Field(0, ge=0)

    def settings(self) -> dict[str, Any]:
        """As a recipe has it: what was added since recipes exist is left out at its default, so that none changed."""
        added = ("betas", "eps", "schedule_offset")
        return self.model_dump(exclude={name for name in added if getattr(self, name) == _default(self, name)})


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


class LabelNoiseConfig(Strict):
    """Stochastic label augmentation of the framework `clip_label_noise`: see `draw` there for what each value does."""

    strategy: Literal["reselection", "permutation", "secondary", "secondary_blend"]
    rate: float = Field(gt=0, lt=1)
    columns: Literal["shared", "inverse", "independent", "clean"] = "shared"


class RecipeConfig(Strict):
    """One trained model: a framework and where it departs from `training`.

    `augmentation` is one for all views or a list of one for each. `pairs` says where the second view's picture
    comes from; `texts` and `text_encoder` which captions a framework with a text side reads, and how; `concepts`
    what a teacher sees in the pictures, for a framework that distils it. `optimiser` names one of `optimisers` in place
    of the shared one. Towers compute in `precision`, and in `accumulate` equal parts of the batch where it does not fit
    the memory: see `vlrepro.training.passes`. With `compile` they are compiled, and `layout` says how pictures lie in
    memory where that is not to be chosen by the model (`vlrepro.training.compiling`). The framework `pretrained` trains
    nothing: its weights are those of `dual_encoder`, the same for every seed, and nothing else of the recipe counts.
    """

    framework: str
    options: dict[str, Any] = Field(default_factory=dict)
    label_noise: LabelNoiseConfig | None = None
    dual_encoder: Slug | None = None
    augmentation: Slug | tuple[Slug, ...] | None = None
    pairs: Slug | None = None
    texts: Slug | None = None
    text_encoder: Slug | None = None
    concepts: Slug | None = None
    pack: Slug | None = None
    backbone: Slug | None = None
    batch_size: Positive | None = None
    steps: int | None = Field(None, ge=0)
    optimiser: Slug | None = None
    learning_rate: float | None = Field(None, gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    accumulate: Positive = 1
    compile: bool = False
    layout: Literal["channels_last", "contiguous"] | None = None

    @model_validator(mode="after")
    def _texts_are_encoded(self) -> RecipeConfig:
        if (self.texts is None) != (self.text_encoder is None):
            raise ValueError("texts and text_encoder go together")
        return self

    @model_validator(mode="after")
    def _trained_or_given(self) -> RecipeConfig:
        if (self.dual_encoder is not None) != (self.framework == PRETRAINED):
            raise ValueError("framework pretrained and dual_encoder go together")
        if self.augmentation is None and self.framework != PRETRAINED:
            raise ValueError("give an augmentation")
        return self

    @model_validator(mode="after")
    def _noise_has_its_framework(self) -> RecipeConfig:
        if (self.label_noise is not None) != (self.framework == "clip_label_noise"):
            raise ValueError("framework clip_label_noise and label_noise go together")
        return self

    def passes(self) -> dict[str, Any]:
        """How towers compute where it is not the default, which older recipes do not name."""
        return {
            name: value
            for name in ("precision", "accumulate", "compile", "layout")
            if (value := getattr(self, name)) != _default(self, name)
        }

    def augmentations(self, views: int) -> tuple[Slug, ...]:
        """The augmentation of each of `views` views. Raises `ValueError` where another number is listed."""
        if isinstance(self.augmentation, str):
            return (self.augmentation,) * views
        if len(self.augmentation) != views:
            raise ValueError(f"{len(self.augmentation)} augmentations for {views} views")
        return self.augmentation


def steps_allowed(pictures: int, batch_size: int, max_epochs: int) -> int:
    """Optimiser steps that `pictures` allow: whole batches an epoch times `max_epochs`."""
    return math.floor(pictures / batch_size) * max_epochs


def _default(model: BaseModel, name: str) -> Any:
    return type(model).model_fields[name].default

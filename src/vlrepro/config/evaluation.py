"""What models are scored on, and by which protocols."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vlrepro.config.base import Positive, Slug, Strict


class SetConfig(Strict):
    """An evaluation set: a pack with labels and splits."""

    title: str
    pack: Slug
    metric: Literal["accuracy", "mean_per_class"] = "accuracy"
    shows: str
    group: Slug = "main"


class LinearConfig(Strict):
    """A linear probe; `suite` is the job that scores it, together with the suite's other protocols."""

    kind: Literal["linear"]
    suite: Slug = "main"
    penalty: Literal["squared", "frobenius"] = "squared"
    search: Literal["window", "bisection", "grid"] = "window"
    max_iterations: Positive = 200
    search_tolerance: float = Field(1e-5, gt=0)
    tolerance: float = Field(1e-6, gt=0)


class FewShotConfig(Strict):
    """Few-shot classification by class means; `suite` as in `LinearConfig`."""

    kind: Literal["few_shot"]
    suite: Slug = "main"
    ways: int = Field(5, ge=2)
    shots: Positive = 5
    queries: Positive = 6
    episodes: Positive = 5000
    seed: int = 0
    pool: Literal["train/test", "all"] = "train/test"
    centre: bool = True
    normalise: bool = True


ProtocolConfig = Annotated[LinearConfig | FewShotConfig, Field(discriminator="kind")]


class SaliencyConfig(Strict):
    """Saliency maps of a linear probe on `set`, which has masks, scored against them (`vlrepro.saliency.evaluation`).

    `canvas` and `size` in pixels are the set's own: a map needs more of them than a feature. `methods` are those of
    `vlrepro.saliency.methods`; those of `every_score` also get the scores that no main table shows, with a threshold
    that is tuned. `tuning_pictures` is how many training masks thresholds and priors are tuned on.
    """

    set: Slug
    canvas: Positive
    size: Positive
    methods: tuple[Slug, ...] = Field(min_length=1)
    every_score: tuple[Slug, ...] = ()
    tuning_pictures: Positive = 500

    @model_validator(mode="after")
    def _consistent(self) -> SaliencyConfig:
        if absent := [method for method in self.every_score if method not in self.methods]:
            raise ValueError(f"every_score: {absent[0]!r} is not under methods")
        for key, names in (("methods", self.methods), ("every_score", self.every_score)):
            if repeated := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"{key}: {repeated[0]!r} is given twice")
        return self


class EvaluationConfig(Strict):
    """Which sets are evaluated on, and the protocols; `threads` decides the order of floating-point sums.

    A protocol of `saliency` that is null is not run at this scale.
    """

    sets: tuple[Slug, ...] = Field(min_length=1)
    threads: Positive
    protocols: dict[Slug, ProtocolConfig] = Field(min_length=1)
    saliency: dict[Slug, SaliencyConfig | None] = Field(default_factory=dict)

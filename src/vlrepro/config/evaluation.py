"""What models are scored on, and by which protocols."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

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


class EvaluationConfig(Strict):
    """Which sets are evaluated on, and the protocols; `threads` decides the order of floating-point sums."""

    sets: tuple[Slug, ...] = Field(min_length=1)
    threads: Positive
    protocols: dict[Slug, ProtocolConfig] = Field(min_length=1)

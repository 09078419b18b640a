"""What models are scored on, and by which protocols."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vlrepro.config.base import Positive, Slug, Strict


class HardestConfig(Strict):
    """The `share` of a pack's pictures that a model of its own, `scorer`, finds hardest to name."""

    scorer: Slug
    share: float = Field(gt=0, le=1)


class CorruptionConfig(Strict):
    """Corrupted pictures: see `vlrepro.data.corruptions`."""

    seed: int = 0
    severity: int = Field(3, ge=1, le=5)


class SetConfig(Strict):
    """An evaluation set: a pack with labels and, for probes, splits.

    What follows `group` is for zero-shot classification: `classes` are labels or concepts, named as in the pack
    `names` (where its first picture of a class is captioned so), of which `repeated_names` may be double. `among`:
    a picture is told apart from all of these classes, or from those that the set's pictures show. Pictures are those
    of `splits`, and all of a pack without splits.

    A set with `captions`, one or more caption sources of its pack, is for retrieval: its gallery are the pictures that
    have one, at most the `first` of them, with at most `captions_each` captions. `part` [number, of] keeps one of so
    many consecutive parts, as long as one another; with `batches` each such part is a gallery of its own and the score
    the mean over them.
    """

    title: str
    pack: Slug
    metric: Literal["accuracy", "mean_per_class"] = "accuracy"
    shows: str
    group: Slug = "main"
    classes: Literal["label", "concept"] = "label"
    names: Slug | None = None
    repeated_names: int = Field(0, ge=0)
    among: Literal["all", "own"] = "all"
    hardest: HardestConfig | None = None
    corrupted: CorruptionConfig | None = None
    splits: tuple[Literal["train", "val", "test"], ...] = ("test",)
    captions: tuple[Slug, ...] = ()
    first: Positive | None = None
    captions_each: Positive | None = None
    part: tuple[Positive, Positive] | None = None
    batches: Positive | None = None

    @model_validator(mode="after")
    def _galleries_have_captions(self) -> SetConfig:
        if (self.first or self.captions_each or self.part or self.batches) and not self.captions:
            raise ValueError("first, captions_each, part and batches are for retrieval: give captions too")
        if self.part and self.batches:
            raise ValueError("give either part or batches")
        if self.part and self.part[0] > self.part[1]:
            raise ValueError(f"part {self.part[0]} of {self.part[1]}: count parts from 1")
        return self


class _Protocol(Strict):
    """`suite` is the job that scores a protocol, together with the suite's others; `sets` those of `evaluation.sets`
    unless they are given; all protocols of a suite have the same."""

    suite: Slug = "main"
    sets: tuple[Slug, ...] | None = Field(None, min_length=1)

    @property
    def script(self) -> str:
        """The program that scores protocols of this kind."""
        return {"zero_shot": "zero_shot", "retrieval": "retrieve"}.get(self.kind, "evaluate")  # type: ignore[attr-defined]


class LinearConfig(_Protocol):
    """A linear probe, on the backbone's features or as they are projected into the space shared with captions."""

    kind: Literal["linear"]
    features: Literal["trunk", "projected"] = "trunk"
    penalty: Literal["squared", "frobenius"] = "squared"
    search: Literal["window", "bisection", "grid"] = "window"
    max_iterations: Positive = 200
    search_tolerance: float = Field(1e-5, gt=0)
    tolerance: float = Field(1e-6, gt=0)


class AdamWConfig(_Protocol):
    """CyCLIP's linear probe, trained for a fixed time (`vlrepro.evaluation.adamw_probe`)."""

    kind: Literal["adamw"]
    features: Literal["trunk", "projected"] = "projected"
    epochs: Positive = 32
    batch_size: Positive = 128
    learning_rate: float = Field(0.005, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    seed: int = 0


class FewShotConfig(_Protocol):
    """Few-shot classification by class means."""

    kind: Literal["few_shot"]
    ways: int = Field(5, ge=2)
    shots: Positive = 5
    queries: Positive = 6
    episodes: Positive = 5000
    seed: int = 0
    pool: Literal["train/test", "all"] = "train/test"
    centre: bool = True
    normalise: bool = True


class ZeroShotConfig(_Protocol):
    """Zero-shot classification, right where the true class is among the `top` nearest.

    `templates` are those of `vlrepro.evaluation.templates`; `encoder` is the text encoder of the runs that are scored.
    """

    kind: Literal["zero_shot"]
    top: Positive = 1
    templates: Literal["imagenet_80", "imagenet_7", "photo", "name"] = "imagenet_80"
    encoder: Slug


class RetrievalConfig(_Protocol):
    """Recall at `top`: pictures searched by captions, or captions by pictures.

    `encoder` is the text encoder of the runs that are scored; a pre-trained dual encoder brings its own.
    """

    kind: Literal["retrieval"]
    direction: Literal["text_to_image", "image_to_text"]
    top: Positive = 1
    encoder: Slug


ProtocolConfig = Annotated[
    LinearConfig | AdamWConfig | FewShotConfig | ZeroShotConfig | RetrievalConfig, Field(discriminator="kind")
]


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

    @model_validator(mode="after")
    def _suites_are_of_a_piece(self) -> EvaluationConfig:
        for name, protocol in self.protocols.items():
            for other, another in self.protocols.items():
                if protocol.suite == another.suite and self.sets_of(name) != self.sets_of(other):
                    raise ValueError(f"protocols {name!r} and {other!r} share suite {protocol.suite!r} but not sets")
                if protocol.suite == another.suite and protocol.script != another.script:
                    kinds = f"{protocol.kind} and {another.kind} need one each"
                    raise ValueError(f"protocols {name!r} and {other!r} share suite {protocol.suite!r}: {kinds}")
        return self

    def sets_of(self, protocol: str) -> tuple[Slug, ...]:
        """The sets that a protocol scores."""
        return self.protocols[protocol].sets or self.sets

    def sets_of_suite(self, suite: str) -> tuple[Slug, ...]:
        """The sets that a suite's protocols score. Raises `StopIteration` where there is no such suite."""
        return self.sets_of(next(name for name, entry in self.protocols.items() if entry.suite == suite))

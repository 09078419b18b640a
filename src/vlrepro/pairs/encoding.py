"""Embeddings of captions and pictures, from a Python package, a folder or a model's name.

Sentences go through sentence-transformers, pictures through the image side of a CLIP-like transformers checkpoint.
Weights are read from safetensors files only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.files import file_digest

if TYPE_CHECKING:
    from vlrepro.captions.checkpoints import Checkpoint

REVISION = 1


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
        model = SentenceTransformer(location, device=None, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        raise UserError(f"encoder {location}: cannot be loaded ({error}): check the name or the folder") from error
    distinct = sorted(set(captions))
    vectors = model.encode(distinct, batch_size=batch_size, normalize_embeddings=True, show_progress_bar=True)
    row = {caption: number for number, caption in enumerate(distinct)}
    return np.asarray(vectors, np.float32)[[row[caption] for caption in captions]]


def embed_pictures(pack: Pack, location: str | Path, revision: str | None = None, batch_size: int = 256) -> np.ndarray:
    """Unit-length picture embeddings of all of a pack, (n, d) float32, by a CLIP-like checkpoint's image side.

    The checkpoint is a scorer (`vlrepro.captions.scorer`) by folder or hub name. Pictures are decoded to the square
    that it reads and prepared by its own processor.

    Raises:
        UserError: the checkpoint cannot be loaded; or a picture does not decode or has no finite embedding of positive
            length (named by its key).
    """
    from vlrepro.captions.scorer import load_scorer  # seconds to import, and sentences do not need it

    return embed_pictures_by(load_scorer(location, revision), pack, batch_size)


def embed_pictures_by(scorer: Checkpoint, pack: Pack, batch_size: int = 256) -> np.ndarray:
    """As `embed_pictures`, by a scorer that is loaded."""
    import torch

    pictures = Pictures(pack, scorer.canvas, cache_bytes=0, threads=torch.get_num_threads())
    parts = []
    for start in range(0, len(pack), batch_size):
        batch = pictures.batch(range(start, min(start + batch_size, len(pack))))
        pixels = scorer.processor(images=list(batch), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            features = scorer.model.get_image_features(pixel_values=pixels.to(scorer.device, scorer.model.dtype))
        features = getattr(features, "pooler_output", features)  # transformers 5 wraps what 4 returned
        parts.append(features.float().cpu().numpy())
        print(f"embedded {start + len(batch):,} of {len(pack):,} pictures", flush=True)
    return _unit(np.concatenate(parts), pack)


def _unit(vectors: np.ndarray, pack: Pack) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(bad):
        where = f"{pack.folder}: picture {pack.rows[bad[0]].key}"
        raise UserError(f"{where}: {len(bad)} pictures have no finite embedding: choose another image encoder")
    return vectors / norms

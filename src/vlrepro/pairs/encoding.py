"""Embeddings of captions and pictures, from a Python package, a folder or a model's name; captions as token ids.

Sentences go through sentence-transformers, pictures through the image side of a CLIP-like transformers checkpoint.
Weights are read from safetensors files only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.files import file_digest
from vlrepro.models.text import CONTEXT, tokenise
from vlrepro.pairs.columns import column, in_order

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from vlrepro.captions.checkpoints import Checkpoint

REVISION = 1
CAPTIONS = 100_000  # distinct captions of a block; changes the last bits of what is more than that


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
    distinct = sorted(set(captions))
    vectors = _encode(load_sentences(encoder), distinct, batch_size)
    row = {caption: number for number, caption in enumerate(distinct)}
    return vectors[[row[caption] for caption in captions]]


def load_sentences(encoder: Mapping[str, Any]) -> SentenceTransformer:
    """A sentence encoder. Raises `UserError` as `locate_encoder`, or where it cannot be loaded."""
    from sentence_transformers import SentenceTransformer

    location = locate_encoder(encoder)
    try:
        return SentenceTransformer(location, device=None, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        raise UserError(f"encoder {location}: cannot be loaded ({error}): check the name or the folder") from error


def _encode(model: SentenceTransformer, captions: list[str], batch_size: int) -> np.ndarray:
    vectors = model.encode(captions, batch_size=batch_size, normalize_embeddings=True, show_progress_bar=True)
    return np.asarray(vectors, np.float32)


class SentenceBlocks:
    """The embeddings of millions of captions, a block of distinct captions at a time.

    Distinct captions are sorted and cut into blocks of `CAPTIONS`; up to as many make one block, which is what `embed`
    encodes. The encoder is loaded when the first block is asked for.
    """

    def __init__(self, captions: pa.Array | pa.ChunkedArray, encoder: Mapping[str, Any], batch_size: int = 256) -> None:
        encoded = column(captions).dictionary_encode()
        self._encoder, self._batch_size, self._model = encoder, batch_size, None
        order = in_order(encoded.dictionary)
        self._distinct = encoded.dictionary.take(pa.array(order))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        self._rank = rank[encoded.indices.to_numpy()]
        self._rows = np.argsort(self._rank, kind="stable")  # by caption, then by position

    def __len__(self) -> int:
        return -(-len(self._distinct) // CAPTIONS)

    def block(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The positions of the captions of a block, (p,) ascending, and their unit-length embeddings (p, d) float32."""
        self._model = self._model or load_sentences(self._encoder)
        first = number * CAPTIONS
        texts = self._distinct.slice(first, CAPTIONS).to_pylist()
        vectors = _encode(self._model, texts, self._batch_size)
        ends = np.searchsorted(self._rank[self._rows], [first, first + len(texts)])
        positions = np.sort(self._rows[ends[0] : ends[1]])
        return positions, vectors[self._rank[positions] - first]


class Tokens(NamedTuple):
    """Token ids (n, 77) int64, 0 after a caption's end, and how many captions were longer than that and cut."""

    ids: Tensor
    cut: int


def token_ids(captions: Sequence[str], encoder: Mapping[str, Any]) -> Tokens:
    """Captions as a text tower that is trained along reads them: by `model`'s own tokeniser or, without one, CLIP's.

    Of a caption that is too long the first tokens are kept, and the mark of its end after them.

    Raises:
        UserError: the tokeniser cannot be loaded, or fills up with another id than 0.
    """
    if encoder.get("model"):
        return _own_tokens(captions, locate_encoder(encoder))
    longer = tokenise(captions, CONTEXT + 1)  # its last column is of those alone that do not fit
    too_long = longer[:, CONTEXT] != 0
    ids = longer[:, :CONTEXT].clone()
    ids[too_long, -1] = longer[too_long, CONTEXT]
    return Tokens(ids, int(too_long.sum()))


def _own_tokens(captions: Sequence[str], location: str) -> Tokens:
    from transformers import AutoTokenizer  # seconds to import, and CLIP's tokens do not need it

    try:
        tokeniser = AutoTokenizer.from_pretrained(location)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"tokeniser {location}: cannot be loaded ({reason}): check the name or the folder") from error
    if tokeniser.pad_token_id != 0:
        raise UserError(
            f"tokeniser {location}: fills up with the id {tokeniser.pad_token_id}, and text towers read 0 as nothing: "
            "choose one that fills up with 0, as BERT's"
        )
    context = min(CONTEXT, tokeniser.model_max_length)
    cut = sum(len(ids) > context for ids in tokeniser(list(captions))["input_ids"]) if captions else 0
    fitted = {"truncation": True, "max_length": context, "padding": "max_length"}
    rows = tokeniser(list(captions), **fitted)["input_ids"] if captions else []
    return Tokens(torch.tensor(rows, dtype=torch.int64).reshape(-1, context), cut)


PictureRows = Callable[[int, int], np.ndarray]
"""From the first and the last position, exclusive, to unit-length embeddings of a pack's pictures, (p, d) float32."""


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
    return picture_rows_by(scorer, pack, batch_size)(0, len(pack))


def picture_rows_by(scorer: Checkpoint, pack: Pack, batch_size: int = 256) -> PictureRows:
    """As `embed_pictures_by`, some pictures at a time."""
    from vlrepro.captions.scorer import embed_pictures as embed_batch

    pictures = Pictures(pack, scorer.canvas, cache_bytes=0, threads=torch.get_num_threads())

    def rows(first: int, last: int) -> np.ndarray:
        parts = []
        for start in range(first, last, batch_size):
            batch = pictures.batch(range(start, min(start + batch_size, last)))
            parts.append(embed_batch(scorer, batch).numpy())
            print(f"embedded {start + len(batch):,} of {len(pack):,} pictures", flush=True)
        return _unit(np.concatenate(parts), pack, first)

    return rows


def _unit(vectors: np.ndarray, pack: Pack, first: int) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(bad):
        where = f"{pack.folder}: picture {pack.rows[first + bad[0]].key}"
        raise UserError(f"{where}: {len(bad)} pictures have no finite embedding: choose another image encoder")
    return vectors / norms

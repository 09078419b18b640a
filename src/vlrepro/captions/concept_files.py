"""Files of concepts: what captions name, read, and what a teacher sees, written and read; without torch.

A concept file is Parquet, one row a picture of a pack in the pack's order: key, and for objects and for attributes the
places in their vocabulary (`objects`, `attributes`: list<int32>, the likeliest first) with weights that sum to 1
(`object_weights`, `attribute_weights`: list<float32>). The vocabularies are JSON lists in the schema's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.errors import UserError
from vlrepro.files import atomic_path, digest_of

KINDS = {"objects": "object_weights", "attributes": "attribute_weights"}
"""Kind of concept -> the column of its weights."""


class Named(NamedTuple):
    """What captions name: the pictures' keys and, for each kind of concept, each caption's words."""

    keys: list[str]
    words: dict[str, list[list[str]]]


class Seen(NamedTuple):
    """What a teacher sees in n pictures, of one kind: places (n, k) int32, weights (n, k) float32, the vocabulary."""

    places: np.ndarray
    weights: np.ndarray
    vocabulary: list[str]


class ConceptFile(NamedTuple):
    """A concept file: the pictures' keys in its order and, for each kind, what is seen in them."""

    keys: list[str]
    seen: dict[str, Seen]


def read_named(path: str | Path) -> Named:
    """Objects and attributes of a file of parsed captions. Raises `UserError` where it is unreadable."""
    try:
        columns = pq.read_table(path, columns=["key", *KINDS]).to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not readable as parsed captions ({error}): parse them again") from error
    return Named(columns["key"], {kind: [list(words or ()) for words in columns[kind]] for kind in KINDS})


def write_concepts(path: str | Path, concepts: ConceptFile, recipe: Mapping[str, Any]) -> None:
    """Write a concept file, atomically, with the digest of its recipe in the metadata."""
    columns: dict[str, Any] = {"key": concepts.keys}
    metadata = {"recipe": digest_of(dict(recipe))}
    for kind, weights in KINDS.items():
        seen = concepts.seen[kind]
        columns[kind] = pa.array(list(seen.places), pa.list_(pa.int32()))
        columns[weights] = pa.array(list(seen.weights), pa.list_(pa.float32()))
        metadata[kind] = json.dumps(seen.vocabulary, ensure_ascii=False)
    with atomic_path(path) as part:
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), part, compression="zstd")


def read_concepts(path: str | Path) -> ConceptFile:
    """A concept file as it was written.

    Raises `UserError` where it is unreadable or its rows are not of one length, of places in the vocabulary.
    """
    try:
        table = pq.read_table(path)
        found = {kind: _seen(table, kind, weights) for kind, weights in KINDS.items()}
        return ConceptFile(table.column("key").to_pylist(), found)
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not readable as a concept file ({error}): delete it and distil again") from error


def _seen(table: pa.Table, kind: str, weights: str) -> Seen:
    vocabulary = json.loads((table.schema.metadata or {})[kind.encode()])
    places = _rectangle(table.column(kind).to_pylist(), np.int32)
    shares = _rectangle(table.column(weights).to_pylist(), np.float32)
    if places.shape != shares.shape:
        raise ValueError(f"{kind} and {weights} differ in length")
    if places.size and not (places.min() >= 0 and places.max() < len(vocabulary)):
        raise ValueError(f"{kind} has a place outside its vocabulary of {len(vocabulary)}")
    return Seen(places, shares, vocabulary)


def _rectangle(rows: Sequence[Sequence[Any]], kind: type) -> np.ndarray:
    return np.array(rows, kind).reshape(len(rows), -1)

"""The embedding file: one safetensors tensor, a row for each caption of a caption file or each picture of a pack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vlrepro.errors import UserError
from vlrepro.files import atomic_path, digest_of


def write_embeddings(path: str | Path, rows: Tensor, recipe: Mapping[str, Any]) -> None:
    """Write float rows as the tensor `embeddings` or int64 rows as `tokens`, with the digest of their recipe."""
    name = "embeddings" if rows.is_floating_point() else "tokens"
    with atomic_path(path) as part:
        save_file({name: rows.contiguous()}, part, metadata={"recipe": digest_of(dict(recipe))})


def read_embeddings(path: str | Path, count: int, of: str | Path) -> Tensor:
    """The rows of an embedding file, (count, d) float32 embeddings or (count, L) int64 token ids.

    Raises `UserError` where the file is unreadable, or does not have one row for each of the `count` rows of the
    file `of`.
    """
    try:
        with safe_open(path, "pt") as file:
            (name,) = file.keys()
            rows = file.get_tensor(name)
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{path}: not a readable embedding file ({error}): delete it and embed again") from error
    _check_count(path, len(rows), count, of)
    return rows


def map_embeddings(path: str | Path, count: int, of: str | Path) -> np.ndarray:
    """The float32 rows of an embedding file, (count, d), where they lie on disk: only what is read takes memory.

    Raises `UserError` as `read_embeddings`, or where the rows are token ids.
    """
    try:
        with safe_open(path, "np") as file:
            (name,) = file.keys()
            shape, kind = file.get_slice(name).get_shape(), file.get_slice(name).get_dtype()
        with open(path, "rb") as stream:
            header = int.from_bytes(stream.read(8), "little")
            start = 8 + header + json.loads(stream.read(header))[name]["data_offsets"][0]
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{path}: not a readable embedding file ({error}): delete it and embed again") from error
    if kind != "F32" or len(shape) != 2:
        raise UserError(f"{path}: {kind} of shape {shape}, not float32 rows: pairs need embeddings, not token ids")
    _check_count(path, shape[0], count, of)
    if not count:
        return np.zeros((0, shape[1]), np.float32)  # nothing cannot be mapped
    return np.memmap(path, np.float32, "r", start, (shape[0], shape[1]))


def _check_count(path: str | Path, found: int, count: int, of: str | Path) -> None:
    if found != count:
        raise UserError(f"{path}: {found} rows for the {count} of {of}: delete it and embed again")

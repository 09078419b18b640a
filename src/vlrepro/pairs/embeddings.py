"""The embedding file: one safetensors tensor, a row for each caption of a caption file or each picture of a pack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    if len(rows) != count:
        raise UserError(f"{path}: {len(rows)} rows for the {count} of {of}: delete it and embed again")
    return rows

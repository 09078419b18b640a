"""Files of caption scores, and the captions that they are of; without torch, which reading them does not need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.errors import UserError
from vlrepro.files import atomic_path, digest_of

UNSCORED = float("nan")


def read_texts(path: str | Path) -> dict[str, str]:
    """Key -> caption of a caption file. Raises `UserError` where it is unreadable, or has several a picture."""
    columns = _read(path, ["key", "caption"])
    check_one_a_picture(columns["key"], path)
    return dict(zip(columns["key"], columns["caption"], strict=True))


def check_one_a_picture(keys: Sequence[str], path: str | Path) -> None:
    """Raise `UserError` where a key repeats: the caption file at `path` has several captions of a picture."""
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise UserError(
                f"{path}: several captions of picture {key}, where one a picture is needed: choose a caption source of "
                "another method than every"
            )
        seen.add(key)


def read_scores(path: str | Path) -> dict[str, float]:
    """Key -> score of a score file. Raises `UserError` where it is unreadable."""
    columns = _read(path, ["key", "score"])
    return dict(zip(columns["key"], columns["score"], strict=True))


def write_scores(path: str | Path, scores: Mapping[str, float], recipe: Mapping[str, Any]) -> None:
    """Write a score file, atomically, with the digest of its recipe in the metadata."""
    table = pa.table({"key": list(scores), "score": pa.array(scores.values(), pa.float32())})
    with atomic_path(path) as part:
        pq.write_table(table.replace_schema_metadata({"recipe": digest_of(dict(recipe))}), part, compression="zstd")


def _read(path: str | Path, names: list[str]) -> dict[str, list[Any]]:
    try:
        return pq.read_table(path, columns=names).to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not readable with {', '.join(names)} ({error}): make it again") from error

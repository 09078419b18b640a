"""Caption sources: which caption each picture of a pack is known by in mining and training.

A caption file is Parquet: key, caption, kind (how it was made), clean (the pack's own caption, for measuring
only), group, concept, label, author, year. Captions that are unusable are counted, listed and left out, up to a limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.captions.every import every_caption
from vlrepro.captions.noise import Caption, noisy_captions
from vlrepro.data.pack import Row
from vlrepro.errors import UserError
from vlrepro.files import atomic_path, digest_of

REVISION = 1


def original_captions(rows: Sequence[Row], recipe: Mapping[str, Any]) -> list[Caption]:
    """The captions of a pack by the recipe's method: `clean` (as they are) or `noise` (after the noise model)."""
    if recipe["method"] == "noise":
        return noisy_captions(rows, recipe["rates"], recipe["group_spread"], recipe["seed"])
    return [Caption(row.caption, "clean") for row in rows]


def captioned(rows: Sequence[Row], recipe: Mapping[str, Any]) -> list[tuple[Row, Caption]]:
    """Each (picture, caption) by the recipe's method: one a picture, every one, or several draws of the noise model.

    Draws have consecutive seeds, the recipe's first.
    """
    if recipe["method"] == "every":
        return every_caption(rows)
    seed = recipe.get("seed", 0)
    draws = [recipe | {"seed": seed + draw} for draw in range(recipe.get("draws", 1))]
    return [pair for draw in draws for pair in zip(rows, original_captions(rows, draw), strict=True)]


def split_usable(
    rows: Sequence[Row], captions: Sequence[Caption], limit: float, place: str | Path
) -> tuple[list[tuple[Row, Caption]], list[tuple[str, str]]]:
    """Separate usable captions from unusable ones (empty after stripping, or not encodable as UTF-8).

    Returns the usable (row, caption) and the rejected (key, reason). Raises `UserError` where the share of
    rejected captions exceeds `limit`, naming `place` and the first of them.
    """
    usable, rejected = [], []
    for row, caption in zip(rows, captions, strict=True):
        reason = _reason(caption.text)
        if reason:
            rejected.append((row.key, reason))
        else:
            usable.append((row, Caption(" ".join(caption.text.split()), caption.kind)))
    if len(rejected) > limit * len(rows):
        key, reason = rejected[0]
        raise UserError(
            f"{place}: {len(rejected)} of {len(rows)} captions are unusable (first: {key}: {reason}), over the limit "
            f"of {limit:.1%}: mend the captions or raise limits.bad_captions"
        )
    return usable, rejected


def _reason(text: str) -> str:
    if not text.strip():
        return "the caption is empty"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "the caption is not UTF-8"
    return ""


def caption_columns(usable: Sequence[tuple[Row, Caption]]) -> dict[str, Any]:
    """The columns of a caption file, by name."""
    return {
        "key": [row.key for row, _ in usable],
        "caption": [caption.text for _, caption in usable],
        "kind": [caption.kind for _, caption in usable],
        "clean": [row.caption for row, _ in usable],
        "group": [row.group for row, _ in usable],
        "concept": [row.concept for row, _ in usable],
        "label": [row.label for row, _ in usable],
        "author": [row.author for row, _ in usable],
        "year": [row.date[:4] for row, _ in usable],
    }


def write_captions(path: str | Path, usable: Sequence[tuple[Row, Caption]], recipe: Mapping[str, Any]) -> None:
    """Write a caption file, atomically, with the digest of its recipe in the metadata."""
    table = pa.table(caption_columns(usable)).replace_schema_metadata({"recipe": digest_of(dict(recipe))})
    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd")

"""Unit rows in batches: what every dual encoder ends with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError

_SECONDS = 10.0  # between two lines on how far it is

Item = TypeVar("Item")


def unit_rows(
    items: Sequence[Item], batch: int, encode: Callable[[Sequence[Item]], Tensor], named: Callable[[Item], str]
) -> Tensor:
    """Embeddings (n, d) float32 of unit length: `encode` maps up to `batch` items to their rows, of any length.

    Prints how far it is every ten seconds. Raises `UserError` where an embedding is not finite or zero, with the
    item as `named`; `ValueError` without items.
    """
    if not len(items):
        raise ValueError("nothing to embed")
    parts, last = [], time.monotonic()
    for start in range(0, len(items), batch):
        part = items[start : start + batch]
        parts.append(_unit(encode(part), part, named))
        if time.monotonic() - last > _SECONDS:
            last = time.monotonic()
            print(f"embedded {start + len(part):,} of {len(items):,}", flush=True)
    return torch.cat(parts)


def picture_rows(
    pictures: Pictures, positions: Sequence[int], batch: int, encode: Callable[[Tensor], Tensor]
) -> Tensor:
    """As `unit_rows`, of the pictures at `positions`; `encode` gets them as uint8 (B, 3, S, S)."""
    return unit_rows(
        [int(position) for position in positions],
        batch,
        lambda part: encode(pictures.batch(part)),
        lambda position: _picture_name(pictures.pack, position),
    )


def picture_side_size(model: nn.Module) -> dict[str, int]:
    """Parameters (a count) of the picture side of transformers' CLIP with its projection, and the rows' width."""
    sides = (model.vision_model, model.visual_projection)
    parameters = sum(parameter.numel() for side in sides for parameter in side.parameters())
    return {"parameters": parameters, "feature_width": model.visual_projection.out_features}


def text_name(text: str) -> str:
    """A text as messages have it, cut short."""
    return f"text {text[:60]!r}"


def _picture_name(pack: Pack, position: int) -> str:
    return f"{pack.folder}: picture {pack.rows[position].key}"


def _unit(rows: Tensor, items: Sequence[Item], named: Callable[[Item], str]) -> Tensor:
    norms = torch.linalg.vector_norm(rows.double(), dim=1, keepdim=True)
    bad = (~(norms.isfinite() & (norms > 0))).squeeze(1).nonzero().flatten().tolist()
    if bad:
        raise UserError(f"{named(items[bad[0]])}: no finite embedding of positive length: choose another model")
    return (rows.double() / norms).float()

"""What tests of image-text training share: embedded captions of `shape_pack`, and a recipe that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pass_models import OPTIONS, WIDTH

from vlrepro.pairs.embeddings import write_embeddings
from vlrepro.training.loop import Files


def caption_files(folder: Path, pack: Path, poisoned: int | None = None) -> Files:
    """Files of a training on `pack` with random embeddings; that of picture `poisoned` is not finite."""
    rows = torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(0))
    if poisoned is not None:
        rows[poisoned] = float("inf")
    keys = [f"p{number:04d}" for number in range(64)]
    pq.write_table(pa.table({"key": keys, "caption": keys}), folder / "captions.parquet")
    write_embeddings(folder / "texts.safetensors", rows, {})
    return Files(pack, texts=folder / "texts.safetensors", captions=folder / "captions.parquet")


def caption_recipe(recipe: dict[str, Any], framework: str = "clip", **options: Any) -> dict[str, Any]:
    """The fixture `recipe` with an image-text framework in the place of its own."""
    named = {"framework": framework, "options": OPTIONS | options}
    return recipe | named | {"augmentations": recipe["augmentations"][:1]}

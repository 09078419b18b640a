"""What tests of image-text training share: embedded captions of `shape_pack`, and a recipe that reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pass_models import OPTIONS, WIDTH

from vlrepro.frameworks import Batch
from vlrepro.pairs.embeddings import write_embeddings
from vlrepro.training.loop import Files
from vlrepro.training.trainer import Trainer


def caption_files(folder: Path, pack: Path, poisoned: int | None = None) -> Files:
    """Files of a training on `pack` with random embeddings; that of picture `poisoned` is not finite."""
    rows = torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(0))
    if poisoned is not None:
        rows[poisoned] = float("inf")
    keys = [f"p{number:04d}" for number in range(64)]
    pq.write_table(pa.table({"key": keys, "caption": keys}), folder / "captions.parquet")
    write_embeddings(folder / "texts.safetensors", rows, {})
    return Files(pack, texts=folder / "texts.safetensors", captions=folder / "captions.parquet")


def assert_resumes(
    run: Callable[[Path, int], object],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: Callable[[Trainer, Batch], object] = lambda trainer, batch: None,
) -> None:
    """`run` (output folder, seconds between checkpoints) gives the same bits whole and stopped at step 7 and resumed.

    `before` is called ahead of every step.
    """
    take, stop_at = Trainer.take, [None]

    def stopping(trainer: Trainer, batch: Batch) -> None:
        if batch.step == stop_at[0]:
            raise KeyboardInterrupt
        before(trainer, batch)
        take(trainer, batch)

    monkeypatch.setattr(Trainer, "take", stopping)
    run(folder / "whole", 60)
    stop_at[0] = 7
    with pytest.raises(KeyboardInterrupt):
        run(folder / "resumed", 0)
    stop_at[0] = None
    run(folder / "resumed", 60)
    for name in ("model.safetensors", "history.jsonl"):
        assert (folder / "whole" / name).read_bytes() == (folder / "resumed" / name).read_bytes()


def caption_recipe(recipe: dict[str, Any], framework: str = "clip", **options: Any) -> dict[str, Any]:
    """The fixture `recipe` with an image-text framework in the place of its own."""
    named = {"framework": framework, "options": OPTIONS | options}
    return recipe | named | {"augmentations": recipe["augmentations"][:1]}

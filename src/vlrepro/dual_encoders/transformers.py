"""CLIP-like checkpoints of transformers, by folder or hub name: the kinds that score captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel

from vlrepro.captions.checkpoints import Checkpoint, load_checkpoint
from vlrepro.captions.scorer import KINDS, embed_pictures, embed_texts
from vlrepro.data.decoding import decode_exactly
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.dual_encoders.folder import CAPTION, describe, prompt_of, read_description, written
from vlrepro.dual_encoders.rows import picture_rows, picture_side_size, text_name, unit_rows

REVISION = 1
LOCATION = "model"
_PICTURES, _TEXTS = 32, 256  # at a time: ViT-L/14's layers hold some megabytes for each


class Transformers:
    """A `DualEncoder`; pictures are cut to the model's square first, then its own processor prepares them.

    `scale` is what CLIP multiplies cosines with before the softmax.
    """

    def __init__(self, name: str, prompt: str, checkpoint: Checkpoint) -> None:
        self.name, self.prompt = name, prompt
        self.scale = checkpoint.model.logit_scale.exp().item()
        self._checkpoint = checkpoint
        self.size = picture_side_size(checkpoint.model)

    def pictures(self, pack: Pack, positions: Sequence[int]) -> Tensor:
        """See `DualEncoder.pictures`."""
        threads = torch.get_num_threads()
        source = Pictures(pack, self._checkpoint.canvas, cache_bytes=0, threads=threads, decoder=decode_exactly)
        return picture_rows(source, positions, _PICTURES, lambda batch: embed_pictures(self._checkpoint, batch))

    def texts(self, texts: Sequence[str], embedded: Tensor | None = None) -> Tensor:
        """See `DualEncoder.texts`; `embedded` is not read."""
        return unit_rows(texts, _TEXTS, lambda part: embed_texts(self._checkpoint, part), text_name)


def import_model(entry: Mapping[str, Any], folder: Path) -> None:
    """Copy `entry["model"]`, a folder or a hub name, at `entry["revision"]` to `folder`, as float32.

    Raises `UserError` as `load_checkpoint` does: a model of another kind, broken or out of reach; or as
    `prompt_of`.
    """
    prompt = prompt_of(entry, CAPTION)
    checkpoint = _checkpoint(entry["model"], entry.get("revision"))
    with written(folder) as part:
        checkpoint.model.save_pretrained(part, max_shard_size="1TB")
        checkpoint.processor.save_pretrained(part)
        describe(part, entry["kind"], prompt, {key: entry.get(key) for key in ("model", "revision")})


def load(folder: Path) -> Transformers:
    """The model that `import_model` wrote to a run's folder; raises `UserError` where it is not whole."""
    return Transformers(folder.name, read_description(folder)["prompt"], _checkpoint(folder))


def _checkpoint(location: str | Path, revision: str | None = None) -> Checkpoint:
    return load_checkpoint("dual encoder", location, KINDS, AutoModel, revision, torch.float32)

"""Captions by a captioner: BLIP-2 at full scale, a stand-in at pocket scale, through the same code.

*Impact of Language Guidance*, section 4.2: BLIP-2 writes a caption for every picture. Decoding is greedy or by beam
search, never sampled, so a picture has one caption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from transformers import AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from vlrepro.captions.checkpoints import Checkpoint, identity_of, load_checkpoint, read_pictures
from vlrepro.captions.shards import by_shard
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError

REVISION = 1


def load_captioner(location: str | Path, revision: str | None = None) -> Checkpoint:
    """Load a captioner by folder or hub name; raises `UserError` as `load_checkpoint` does."""
    kinds = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    return load_checkpoint("captioner", location, kinds, AutoModelForImageTextToText, revision)


@torch.inference_mode()
def generate(captioner: Checkpoint, pictures: Sequence[torch.Tensor], asked: Mapping[str, Any]) -> list[str]:
    """Captions of pictures, each (3, S, S) uint8, without the prompt; one batch.

    `asked` holds `prompt` ("" for none), `max_new_tokens` and `num_beams` (1 is greedy). Raises `UserError` where
    the captioner takes no prompt.
    """
    model, prompt = captioner.model, asked["prompt"]
    if prompt and model.config.model_type == "vision-encoder-decoder":
        raise UserError(f"captioner {model.name_or_path}: takes no prompt: leave prompt empty")
    texts = {"text": [prompt] * len(pictures)} if prompt else {}
    inputs = captioner.processor(images=list(pictures), return_tensors="pt", **texts)
    inputs = inputs.to(captioner.device, model.dtype)  # casts the pictures only, not the token ids
    limits = {"num_beams": asked["num_beams"], "max_new_tokens": asked["max_new_tokens"]}
    ids = model.generate(**inputs, do_sample=False, **limits)
    decoded = captioner.processor.batch_decode(ids, skip_special_tokens=True)
    # Decoder-only models hand the prompt back before their answer.
    return [" ".join(text.strip().removeprefix(prompt).split()) for text in decoded]


def caption_pack(recipe: Mapping[str, Any], pack: Pack, location: str | Path, state: str | Path) -> list[str]:
    """One caption a picture of `pack`, in index order; "" where the picture does not decode.

    Resumes by shard from `state`. Raises `UserError` as `load_captioner` and `generate` do.
    """
    torch.set_num_threads(recipe["threads"])
    captioner = load_captioner(location, recipe["revision"])

    def work(positions: Sequence[int]) -> list[str]:
        captions = dict.fromkeys(positions, "")
        for start in range(0, len(positions), recipe["batch_size"]):
            pictures = read_pictures(pack, positions[start : start + recipe["batch_size"]], captioner.canvas)
            if pictures:
                captions |= dict(zip(pictures, generate(captioner, list(pictures.values()), recipe), strict=True))
        return list(captions.values())

    return by_shard(pack, state, identity_of(recipe, pack, location), work, pa.string())

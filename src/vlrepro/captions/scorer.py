"""How well captions fit their pictures: CLIP at full scale, a stand-in at pocket scale, through the same code.

*Impact of Language Guidance*, section 4.2: the CLIP similarity of a picture and a caption, that is the cosine of
their embeddings (Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from transformers import AutoModel, PreTrainedConfig

from vlrepro.captions.checkpoints import Checkpoint, identity_of, load_checkpoint, read_pictures
from vlrepro.captions.score_files import UNSCORED, read_texts
from vlrepro.captions.shards import by_shard
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError

REVISION = 1
KINDS = ("clip", "vision-text-dual-encoder")


def load_scorer(location: str | Path, revision: str | None = None) -> Checkpoint:
    """Load a scorer by folder or hub name; raises `UserError` as `load_checkpoint` does."""
    return load_checkpoint("scorer", location, KINDS, AutoModel, revision)


@torch.inference_mode()
def score(scorer: Checkpoint, pictures: Sequence[torch.Tensor], captions: Sequence[str]) -> list[float]:
    """The cosine of each picture, (3, S, S) uint8, and its caption; one batch. Long captions are cut."""
    inputs = scorer.processor(
        images=list(pictures),
        text=list(captions),
        return_tensors="pt",
        padding=True,
        truncation=True,
        max_length=_longest(scorer.model.config),
    ).to(scorer.device)
    inputs["pixel_values"] = inputs["pixel_values"].to(scorer.model.dtype)
    output = scorer.model(**inputs)
    image, text = (
        torch.nn.functional.normalize(rows.float(), dim=1) for rows in (output.image_embeds, output.text_embeds)
    )
    return (image * text).sum(1).tolist()


@torch.inference_mode()
def embed_texts(scorer: Checkpoint, texts: Sequence[str]) -> torch.Tensor:
    """Embeddings (n, d) float32 of texts in the space shared with pictures, of any length; long texts are cut."""
    inputs = scorer.processor(
        text=list(texts),
        return_tensors="pt",
        padding=True,
        truncation=True,
        max_length=_longest(scorer.model.config),
    ).to(scorer.device)
    features = scorer.model.get_text_features(**inputs)
    return getattr(features, "pooler_output", features).float().cpu()  # transformers 5 wraps what 4 returned


@torch.inference_mode()
def embed_pictures(scorer: Checkpoint, pictures: torch.Tensor) -> torch.Tensor:
    """Embeddings (n, d) float32 of pictures (n, 3, S, S) uint8 in the space shared with texts, of any length."""
    pixels = scorer.processor(images=list(pictures), return_tensors="pt")["pixel_values"]
    features = scorer.model.get_image_features(pixel_values=pixels.to(scorer.device, scorer.model.dtype))
    return getattr(features, "pooler_output", features).float().cpu()  # transformers 5 wraps what 4 returned


def _longest(config: PreTrainedConfig) -> int:
    return int(config.text_config.max_position_embeddings)


def score_pack(
    recipe: Mapping[str, Any], pack: Pack, captions: str | Path, location: str | Path, state: str | Path
) -> dict[str, float]:
    """Key -> score of every caption of a caption file, in the file's order; `UNSCORED` where a picture is unreadable.

    Resumes by shard from `state`. Raises `UserError` where the captions are not of this pack, and as `load_scorer`.
    """
    torch.set_num_threads(recipe["threads"])
    texts = read_texts(captions)
    unknown = sorted(set(texts) - {row.key for row in pack.rows})
    if unknown:
        raise UserError(f"{captions}: {unknown[0]} is no picture of {pack.folder}: make the captions again")
    scorer = load_scorer(location, recipe["revision"])

    def work(positions: Sequence[int]) -> list[float]:
        scores = dict.fromkeys(positions, UNSCORED)
        captioned = [position for position in positions if pack.rows[position].key in texts]
        for start in range(0, len(captioned), recipe["batch_size"]):
            pictures = read_pictures(pack, captioned[start : start + recipe["batch_size"]], scorer.canvas)
            if pictures:
                found = score(
                    scorer, list(pictures.values()), [texts[pack.rows[position].key] for position in pictures]
                )
                scores |= dict(zip(pictures, found, strict=True))
        return list(scores.values())

    values = by_shard(pack, state, identity_of(recipe, pack, location, captions), work, pa.float32())
    by_key = {row.key: value for row, value in zip(pack.rows, values, strict=True)}
    return {key: by_key[key] for key in texts}

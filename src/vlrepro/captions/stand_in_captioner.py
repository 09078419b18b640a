"""The captioner's stand-in: it remembers a pack's drawings and names what looks most like one of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    TrOCRProcessor,
    VisionEncoderDecoderModel,
)

from vlrepro.captions.fitting import CANVAS, centre, fit, image_processor, layouts, whiten
from vlrepro.captions.layout import LayoutConfig, LayoutModel
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, Row
from vlrepro.randomness import torch_generator

_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
_LONGEST = 32  # words of a caption


@dataclass(frozen=True)
class CaptionerOptions:
    """The captioner: a memory of `views` views of each picture, and a decoder of `layers` layers.

    It learns to say a picture's caption and the first `keywords` of its keywords.
    """

    views: int = 8
    sharpness: float = 40.0
    width: int = 128
    layers: int = 1
    keywords: int = 2
    epochs: int = 30
    batch_size: int = 100
    learning_rate: float = 0.003


def make_captioner(pack: Pack, options: CaptionerOptions, seed: int) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Store layouts of the pictures as the tower's keys, then train what is kept with them and the decoder."""
    pictures = Pictures(pack, CANVAS).batch(range(len(pack)))
    tower = LayoutModel(
        LayoutConfig(
            image_size=CANVAS,
            units=options.views * len(pack),
            activation="softmax",
            sharpness=options.sharpness,
            hidden_size=options.width,
        )
    )
    centre(tower, pictures)
    stored = layouts(tower, pictures, options.views, torch_generator(seed, "stand-in captioner", "memory"))
    captions = [described(row, options.keywords) for row in pack.rows]
    tokenizer = word_tokenizer(captions)
    labels = _labels(tokenizer, captions)
    _store(tower, whiten(tower, stored), labels)
    model = VisionEncoderDecoderModel(encoder=tower, decoder=_decoder(tokenizer, options))
    _speaks(model, tokenizer)
    rows = layouts(tower, pictures, options.views, torch_generator(seed, "stand-in captioner", "views"))
    chooser = torch_generator(seed, "stand-in captioner", "choice")

    def loss(positions: Tensor) -> Tensor:
        view = torch.randint(options.views, (len(positions),), generator=chooser)
        target = labels[positions]  # every place is attended to: what follows the end is left out of the loss
        seen = tower.recall(rows[view, positions])
        return model(encoder_outputs=seen, labels=target, decoder_attention_mask=torch.ones_like(target)).loss

    tower.keys.requires_grad_(False)
    fit("captioner", model, loss, len(pack), options, 0.0, torch_generator(seed, "stand-in captioner", "order"))
    return model, TrOCRProcessor(image_processor(), tokenizer)


@torch.no_grad()
def _store(tower: LayoutModel, rows: Tensor, labels: Tensor) -> None:
    """Make layouts (views, n, d) the tower's keys; with each view of a picture its caption is kept, as a bag of words.

    The bag is the sum of the words' random codes: pictures that share words start alike, and the decoder can learn
    what a word is from all captions that have it.
    """
    words = torch.zeros(len(labels), int(labels.max()) + 1).scatter_(1, labels.clamp_min(0), 1.0)
    codes = torch.randn(words.shape[1], tower.config.hidden_size)
    tower.keys.weight.copy_(rows.flatten(0, 1))
    tower.values.weight.copy_((words @ codes).T.repeat(1, len(rows)) / 2)


def _decoder(tokenizer: PreTrainedTokenizerFast, options: CaptionerOptions) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=_LONGEST,
        n_embd=options.width,
        n_layer=options.layers,
        n_head=4,
        add_cross_attention=True,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return GPT2LMHeadModel(config)


def _speaks(model: VisionEncoderDecoderModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Tell the model and its generation the ids that start, end and pad a caption."""
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id = tokenizer.bos_token_id
        config.eos_token_id = tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id


def word_tokenizer(captions: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the captions' words, in alphabetical order, ended by `</s>`."""
    words = sorted({word for caption in captions for word in caption.split()} - set(_SPECIAL))
    vocabulary = {word: number for number, word in enumerate([*_SPECIAL, *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", vocabulary["</s>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )


def described(row: Row, keywords: int) -> str:
    """A picture's clean caption and its first keywords that are not in it: "pig face, animal, farm"."""
    words = [word for word in json.loads(row.keywords) if word not in row.caption.split()]
    return ", ".join([row.caption, *words[:keywords]])


def _labels(tokenizer: PreTrainedTokenizerFast, captions: Sequence[str]) -> Tensor:
    """Token ids (n, L) with -100, which the loss leaves out, after the end."""
    encoded = tokenizer(list(captions), padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt")
    return encoded["input_ids"].masked_fill(encoded["attention_mask"] == 0, -100)

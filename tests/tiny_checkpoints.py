"""Tiny checkpoints with random weights, in the real formats: BLIP-2, CLIP and a sentence encoder's BERT."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    BertConfig,
    BertModel,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    BlipImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    OPTConfig,
    PreTrainedTokenizerFast,
)

WORDS = ("red", "green", "blue", "orange", "ellipse", "rectangle", "a", "drawing", "of", "shape", "photo")
SIZE = {"height": 24, "width": 24}


def word_ids(*special: str) -> PreTrainedTokenizerFast:
    """A tokenizer of `WORDS`, after the tokens that end, pad and start a text."""
    vocabulary = {word: number for number, word in enumerate(["</s>", "<pad>", "<s>", "[UNK]", *special, *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", bos_token="<s>", unk_token="[UNK]"
    )


def save_blip2(folder: Path) -> Path:
    """A BLIP-2 whose three parts are a few numbers wide."""
    torch.manual_seed(0)
    tokenizer = word_ids("<image>")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = OPTConfig(
        vocab_size=len(tokenizer), hidden_size=16, word_embed_proj_dim=16, ffn_dim=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=64, bos_token_id=2, eos_token_id=0, pad_token_id=1, init_std=1.0,
    )  # fmt: skip
    config = Blip2Config(
        vision_config=Blip2VisionConfig(**small, image_size=24, patch_size=12).to_dict(),
        qformer_config=Blip2QFormerConfig(**small, vocab_size=8, encoder_hidden_size=16).to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = Blip2ForConditionalGeneration(config)
    with torch.no_grad():  # the queries start at zero and the rest near it: larger weights tell pictures apart
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_()
    model.eval().save_pretrained(folder)
    processor = Blip2Processor(BlipImageProcessor(size=SIZE), tokenizer, num_query_tokens=4)
    processor.image_token = AddedToken("<image>", normalized=False, special=True)
    processor.save_pretrained(folder)
    return folder


def save_clip(folder: Path) -> Path:
    """A CLIP whose two sides are a few numbers wide."""
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokenizer = word_ids()
    text = small | {"vocab_size": len(tokenizer), "max_position_embeddings": 12, "eos_token_id": 0, "pad_token_id": 1}
    config = CLIPConfig(text_config=text, vision_config=small | {"image_size": 24, "patch_size": 12}, projection_dim=8)
    CLIPModel(config).eval().save_pretrained(folder)
    CLIPProcessor(CLIPImageProcessor(size=SIZE, crop_size=SIZE), tokenizer).save_pretrained(folder)
    return folder


def save_bert(folder: Path) -> Path:
    """The BERT of a sentence encoder."""
    torch.manual_seed(0)
    tokenizer = word_ids()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, initializer_range=0.5,
    )  # fmt: skip
    BertModel(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

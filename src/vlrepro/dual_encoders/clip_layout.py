"""CLIP's original state dict, as OpenAI, OpenCLIP and DiHT name it, to that of transformers' `CLIPModel`.

The models are the same (Radford et al. 2021, "Learning Transferable Visual Models", section 2.4). The original keeps
query, key and value of an attention in one matrix, and its projections are transposed. DiHT's layers have the plain
GELU, where OpenAI's have x * sigmoid(1.702 x).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from vlrepro.errors import UserError

_HEAD = 64  # channels of an attention head, on both sides
_WHOLE = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",  # so spelt
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
_TRANSPOSED = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)")
_FUSED = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)")
_PARTS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


class Sizes(NamedTuple):
    """Of a CLIP with a vision transformer: sides in pixels, widths in channels, layers and tokens in numbers."""

    image: int
    patch: int
    vision_width: int
    vision_layers: int
    text_width: int
    text_layers: int
    context: int
    vocabulary: int
    joint_width: int


def sizes_of(state: Mapping[str, Tensor], where: str | Path) -> Sizes:
    """The sizes, from the tensors' shapes.

    Raises `UserError` where a tensor that tells them is missing or of another rank, or a width has no whole heads.
    """
    vision_width, _, patch, _ = _shape(state, "visual.conv1.weight", 4, where)
    cells = _shape(state, "visual.positional_embedding", 2, where)[0] - 1  # the first place is the class token's
    vocabulary, text_width = _shape(state, "token_embedding.weight", 2, where)
    if vision_width % _HEAD or text_width % _HEAD:
        widths = f"widths {vision_width} and {text_width} are not both multiples of {_HEAD}"
        raise UserError(f"{where}: {widths}: give the file as it was released")
    return Sizes(
        image=patch * round(cells**0.5),
        patch=patch,
        vision_width=vision_width,
        vision_layers=_layers(state, "visual.transformer.resblocks."),
        text_width=text_width,
        text_layers=_layers(state, "transformer.resblocks."),
        context=_shape(state, "positional_embedding", 2, where)[0],
        vocabulary=vocabulary,
        joint_width=_shape(state, "text_projection", 2, where)[1],
    )


def configuration(sizes: Sizes) -> CLIPConfig:
    """transformers' configuration of a model of these sizes; the last id of the vocabulary ends a text."""
    marks = {"bos_token_id": sizes.vocabulary - 2, "eos_token_id": sizes.vocabulary - 1, "pad_token_id": 0}
    text = _tower(sizes.text_width, sizes.text_layers) | marks
    text |= {"vocab_size": sizes.vocabulary, "max_position_embeddings": sizes.context}
    vision = _tower(sizes.vision_width, sizes.vision_layers)
    vision |= {"image_size": sizes.image, "patch_size": sizes.patch}
    joint = sizes.joint_width
    towers = {kind: values | {"projection_dim": joint} for kind, values in (("text", text), ("vision", vision))}
    return CLIPConfig(
        text_config=towers["text"],
        vision_config=towers["vision"],
        projection_dim=joint,
        architectures=["CLIPModel"],
    )


def converted(state: Mapping[str, Tensor], sizes: Sizes, where: str | Path) -> dict[str, Tensor]:
    """The weights under transformers' names, float32, each with memory of its own.

    Raises `UserError` where a tensor is unknown, missing or not of the shape that `sizes` ask for.
    """
    weights: dict[str, Tensor] = {}
    for name, tensor in state.items():
        weights |= _renamed(name, tensor, where)
    with torch.device("meta"):
        expected = CLIPModel(configuration(sizes)).state_dict()
    for name, tensor in expected.items():
        if name not in weights:
            raise UserError(f"{where}: no weights for {name}: give the file as it was released")
        if weights[name].shape != tensor.shape:
            found, asked = tuple(weights[name].shape), tuple(tensor.shape)
            raise UserError(f"{where}: {name} is {found}, not {asked}: give the file as it was released")
    if unknown := sorted(weights.keys() - expected.keys()):
        raise UserError(f"{where}: no place for {unknown[0]}: give the file as it was released")
    return {name: weight.float().clone(memory_format=torch.contiguous_format) for name, weight in weights.items()}


def _renamed(name: str, tensor: Tensor, where: str | Path) -> dict[str, Tensor]:
    if name in _WHOLE:
        return {_WHOLE[name]: tensor}
    if name in _TRANSPOSED and tensor.ndim == 2:
        return {_TRANSPOSED[name]: tensor.T}
    if (found := _FUSED.fullmatch(name)) and tensor.ndim and len(tensor) % 3 == 0:
        side, layer, kind = found.groups()
        names = (f"{_layer(side, layer)}.self_attn.{part}_proj.{kind}" for part in "qkv")
        return dict(zip(names, tensor.chunk(3), strict=True))
    if (found := _BLOCK.fullmatch(name)) and found[3] in _PARTS:
        side, layer, part, kind = found.groups()
        return {f"{_layer(side, layer)}.{_PARTS[part]}.{kind}": tensor}
    raise UserError(f"{where}: {name} {tuple(tensor.shape)} is no tensor of CLIP's: give the file as it was released")


def _layer(side: str | None, layer: str) -> str:
    return f"{'vision' if side else 'text'}_model.encoder.layers.{layer}"


def _tower(width: int, layers: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // _HEAD,
        "hidden_act": "gelu",
    }


def _layers(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def _shape(state: Mapping[str, Tensor], name: str, rank: int, where: str | Path) -> tuple[int, ...]:
    if name not in state or state[name].ndim != rank:
        raise UserError(f"{where}: no tensor {name} of rank {rank}: give the file as it was released")
    return tuple(state[name].shape)

"""Floating-point operations of trainings and scorings, for estimates before anything has run.

A multiply-add counts as two. A training step is three forward passes (the backward pass computes two products for
each of the forward one's), as Kaplan et al., "Scaling Laws for Neural Language Models", section 2.1, count it.
"""

from __future__ import annotations

from typing import Any

from vlrepro.plan.model import Recipe

BACKWARD = 3
"""Operations of a training step over those of its forward pass."""
_GIGA_AT_224 = {
    "resnet34": 7.3,
    "resnet50": 8.2,
    "mobilenet_v3_large": 0.43,
    "vit_small": 9.2,
    "clip_resnet50": 12.2,
    "clip_vit_b_16": 35.1,
    "clip_vit_b_32": 8.8,
}
"""Backbone -> 10^9 operations of one picture of 224 pixels: `tests/test_preflight.py` counts them."""
_TOKENS = 77  # CLIP's context length
_TEXT_LAYERS = 12


def of_picture(backbone: dict[str, Any], size: int) -> float:
    """Operations of a forward pass of a picture of `size` pixels; 0.0 for a backbone that is not known here."""
    if backbone["name"] == "resnet_small":
        return _resnet_small(size, **backbone)
    return 1e9 * _GIGA_AT_224.get(backbone["name"], 0.0) * (size / 224) ** 2


def of_text(options: dict[str, Any]) -> float:
    """Operations of a forward pass of a caption through a text tower that is trained along; 0.0 for a projection."""
    tower = options.get("text_tower") or {}
    width = tower.get("width", 512) if tower.get("name") in ("transformer", "bert") else 0
    # 12 width^2 weights a layer: Kaplan et al., table 1, with a hidden layer four times as wide
    return 2.0 * 12 * width**2 * tower.get("layers", _TEXT_LAYERS) * _TOKENS


def of_training(recipe: Recipe) -> float:
    """Operations of a whole training: views and captions, forward and backward, of all steps."""
    if not recipe["steps"] or "backbone" not in recipe:
        return 0.0
    each = len(recipe["augmentations"]) * of_picture(recipe["backbone"], recipe["pictures"]["size"])
    each += of_text(recipe["options"]) if recipe["texts"] else 0.0
    return BACKWARD * each * recipe["batch_size"] * recipe["steps"]


def _resnet_small(
    size: int, width: int = 32, blocks: tuple[int, ...] = (1, 1, 1, 1), stem_stride: int = 2, **_: object
) -> float:
    """Basic blocks of two 3x3 convolutions in stages of widths w, 2w, 4w, 8w; each stage but the first halves."""
    side = -(-size // stem_stride)
    total = 27.0 * width * side**2
    before = width
    for stage, count in enumerate(blocks):
        wide = width * 2**stage
        side = side if stage == 0 else -(-side // 2)
        total += side**2 * (9 * wide * (before + wide) + (wide * before if before != wide else 0))
        total += (count - 1) * side**2 * 18 * wide**2
        before = wide
    return 2 * total

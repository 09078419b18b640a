"""How a model computes without changing what it computes: compiled towers, and how filters and pictures lie in memory.

Both change the order of additions and with it the last bits, so a recipe names them where they are not the default.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from vlrepro import distributed
from vlrepro.errors import UserError

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def layout_of(model: nn.Module, recipe: Mapping[str, Any], device: torch.device, name: str) -> torch.memory_format:
    """The recipe's `layout`, or channels last, a sixth faster on CPUs than contiguous, where it says nothing.

    Not where a convolution has fewer than 8 channels: on CPUs without AVX-512 the backward kernels for channels last
    (torch 2.14.1, oneDNN) then write past the end of their buffers. Raises `UserError` where a recipe asks for that.
    """
    narrow = any(isinstance(layer, nn.Conv2d) and layer.out_channels < 8 for layer in model.modules())
    chosen = recipe.get("layout", "contiguous" if narrow else "channels_last")
    if narrow and chosen == "channels_last" and device.type == "cpu":
        raise UserError(
            f"{name}: layout channels_last is not safe on CPUs for convolutions of fewer than 8 channels: "
            "leave layout out, or widen the backbone"
        )
    return LAYOUTS[chosen]


def compile_towers(model: nn.Module, device: torch.device, name: str) -> None:
    """Compile the backbone and the text tower in place with torch's inductor; names in the state dict stay.

    Heads and losses are small, gather from other processes and read figures for the log: they stay as they are. So do
    batch norms over several processes, which send messages: each ends a compiled piece and the next begins behind it.

    Raises:
        UserError: there is no C++ compiler, which the CPU's kernels are built with.
    """
    if device.type == "cpu":
        _check_compiler(name)
    for layer in model.modules():
        if distributed.is_synced(layer):
            layer.forward = torch.compiler.disable(layer.forward)
    captions = getattr(model, "captions", None)
    for tower in (model.backbone, getattr(captions, "tower", None)):
        if tower is not None and any(True for _ in tower.parameters()):
            tower.compile(dynamic=False)


def _check_compiler(name: str) -> None:
    builder = importlib.import_module("torch._inductor.cpp_builder")
    try:
        builder.get_cpp_compiler()
    except Exception as error:  # torch's own, of a private class
        raise UserError(
            f"{name}: compile needs a C++ compiler on CPUs and there is none: install g++, name one in the environment "
            "variable CXX, or take compile from the recipe"
        ) from error

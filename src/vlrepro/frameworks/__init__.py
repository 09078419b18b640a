"""Pre-training frameworks, one file each, all with the same shape.

A framework's file holds

    REVISION    raised whenever its results change; part of every recipe's digest
    Options     a frozen dataclass of its settings, the paper's values as defaults
    Framework   an `nn.Module`: `Framework(backbone, options)`; `forward(views)` returns a `Step`

so adding one is adding a file here and a block in the config. Language guidance is no framework of its own:
it is where the second view comes from (a neighbour by caption), and the recipe's `pairs` says so.
"""

from __future__ import annotations

import importlib
from dataclasses import fields
from typing import Any, NamedTuple

from torch import Tensor, nn

from vlrepro.errors import UserError


class Step(NamedTuple):
    """What one forward pass of a framework gives: the loss to minimise and figures for the log."""

    loss: Tensor
    logs: dict[str, float]


def build_framework(name: str, backbone: nn.Module, options: dict[str, Any]) -> nn.Module:
    """Build `frameworks/<name>.py`'s Framework on `backbone`.

    Raises `UserError` for an unknown framework or an option it does not have.
    """
    try:
        module = importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise UserError(f"framework {name!r} has no file in vlrepro/frameworks: mend the recipe") from error
    known = {field.name for field in fields(module.Options)}
    if unknown := sorted(set(options) - known):
        raise UserError(f"framework {name!r} has no option {unknown[0]!r}: it has {', '.join(sorted(known))}")
    return module.Framework(backbone, module.Options(**options))

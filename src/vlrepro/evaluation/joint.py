"""The space that pictures and captions share, of a trained framework with both: what zero-shot classification reads.

A run's weights are the backbone's under their own names and, of a framework that reads captions, all others under
`JOINT` and their names in the framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlrepro.errors import UserError
from vlrepro.evaluation.features import JOINT, fresh_backbone, load_into, read_weights
from vlrepro.frameworks import build_framework, framework_module

REVISION = 1

_BATCH = 1024  # rows at a time: a text transformer holds some megabytes for each


def load_joint(recipe: Mapping[str, Any], path: str | Path) -> nn.Module:
    """The recipe's framework with all of the run's weights, in inference mode.

    Raises `UserError` where the framework reads no captions; where the file is unreadable, has no weights of the joint
    space (it is of an earlier version) or others than the framework.
    """
    name = recipe["framework"]
    if not framework_module(name).TEXTS:
        raise UserError(f"{path}: framework {name!r} reads no captions: name a run of one that does, such as clip")
    framework = build_framework(name, fresh_backbone(recipe), dict(recipe["options"]))
    stored = read_weights(path)
    if not any(key.startswith(JOINT) for key in stored):
        raise UserError(f"{path}: no weights of the joint space, only the backbone's: delete the run and train again")
    load_into(framework, {_name_in_framework(key): value for key, value in stored.items()}, path)
    return framework.eval()


def _name_in_framework(key: str) -> str:
    return key.removeprefix(JOINT) if key.startswith(JOINT) else f"backbone.{key}"


def picture_features(framework: nn.Module, features: Tensor) -> Tensor:
    """The backbone's features (n, w) in the joint space: (n, d) float32, not normalised.

    Through the layer whose output the framework compares with captions: its `projection`, or where it has none the
    `head` that it uses for everything.
    """
    return _in_batches(framework.projection if hasattr(framework, "projection") else framework.head, features)


def text_features(framework: nn.Module, texts: Tensor) -> Tensor:
    """Texts as the framework's tower reads them to the joint space: (n, d) float32, not normalised.

    `texts` are (n, 384) sentence embeddings, or of the encoder's width, or (n, L) token ids. Raises `UserError` where
    the tower reads others.
    """
    return _in_batches(nn.Sequential(framework.captions.tower, framework.captions.projection), texts)


@torch.inference_mode()
def _in_batches(module: nn.Module, rows: Tensor) -> Tensor:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module = module.to(device)
    return torch.cat([module(part.to(device)).float().cpu() for part in rows.split(_BATCH)])

"""Frozen features of evaluation sets: the backbone's pooled output, in inference mode, float32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vlrepro.data.augment import centre
from vlrepro.data.loader import Pictures
from vlrepro.errors import UserError
from vlrepro.models.backbones import build_backbone
from vlrepro.training.writing import JOINT

REVISION = 1


def load_backbone(recipe: Mapping[str, Any], weights: str | Path) -> nn.Module:
    """The recipe's backbone with the trained `weights`, in inference mode.

    Weights of the joint space with captions (`JOINT`) are left aside. Every other key must match: a backbone that stays
    partly random would be scored without a word.
    Raises `UserError` where the file is unreadable or its keys are others.
    """
    stored = {name: tensor for name, tensor in read_weights(weights).items() if not name.startswith(JOINT)}
    return load_into(fresh_backbone(recipe), stored, weights).eval()


def fresh_backbone(recipe: Mapping[str, Any]) -> nn.Module:
    """The recipe's backbone with random weights."""
    options = dict(recipe["backbone"])
    return build_backbone(options.pop("name"), **options)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A run's weights by name. Raises `UserError` where the file is unreadable."""
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own type
        raise _other_weights(path, error) from error


def load_into(model: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> nn.Module:
    """`model` with all of the `weights` that were read from `path`; raises `UserError` where names or shapes differ."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise _other_weights(path, error) from error
    return model


def _other_weights(path: str | Path, error: Exception) -> UserError:
    reason = str(error).splitlines()[0]
    return UserError(f"{path}: not the weights of this recipe ({reason}): delete the run and train again")


def size_of(model: nn.Module) -> dict[str, int]:
    """How large a backbone is, as metrics files have it: its parameters (a count) and the width of its features."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, "feature_width": model.feature_width}


@torch.inference_mode()
def extract(model: nn.Module, pictures: Pictures, settings: Mapping[str, Any], batch_size: int = 256) -> Tensor:
    """Pooled features (n, feature_width) float32 of all pictures of a pack, in index order.

    The stored canvas (short side scaled, centre kept) is resized to the network's input and normalised; features
    are not (*Impact of Language Guidance* follows the protocol of its code base: no standardisation).
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device)
    parts = []
    for start in range(0, len(pictures.pack), batch_size):
        batch = pictures.batch(range(start, min(start + batch_size, len(pictures.pack)))).to(device)
        views = centre(batch, settings["size"], settings["mean"], settings["std"])
        parts.append(model(views).float().cpu())
    return torch.cat(parts)

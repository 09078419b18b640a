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

REVISION = 1


def load_backbone(recipe: Mapping[str, Any], weights: str | Path) -> nn.Module:
    """The recipe's backbone with the trained `weights`, in inference mode.

    Every key must match: a backbone that stays partly random would be scored without a word.
    Raises `UserError` where the file is unreadable or its keys are others.
    """
    options = dict(recipe["backbone"])
    model = build_backbone(options.pop("name"), **options)
    try:
        named = load_file(weights)
        model.load_state_dict({name: value for name, value in named.items() if not name.startswith("joint/")})
    except Exception as error:  # safetensors raises its own type, torch a RuntimeError
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{weights}: not the weights of this recipe ({reason}): delete the run and train again"
        ) from error
    return model.eval()


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

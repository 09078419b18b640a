"""The optimiser of a model's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def adamw(model: nn.Module, settings: Mapping[str, Any]) -> torch.optim.AdamW:
    """AdamW with a recipe's settings (`vlrepro.config.training.OptimiserConfig`).

    With `decay_all` weight decay is on every parameter, as in the code base of *Impact of Language Guidance*. Without,
    it is on those of two dimensions and more, as in OpenCLIP (to version 2), SLIP and CyCLIP, which spare biases, gains
    of norms and the learned scale. `betas` and `eps` are AdamW's own unless the recipe has others.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    plain = [p for p in parameters if p.ndim < 2 and not settings["decay_all"]]
    decayed = [p for p in parameters if p.ndim >= 2 or settings["decay_all"]]
    groups = [{"params": decayed, "weight_decay": settings["weight_decay"]}, {"params": plain, "weight_decay": 0.0}]
    changed = {"betas": tuple(settings["betas"])} if "betas" in settings else {}
    changed |= {"eps": settings["eps"]} if "eps" in settings else {}
    filled = [group for group in groups if group["params"]]
    return torch.optim.AdamW(filled, lr=settings["learning_rate"], fused=True, **changed)

"""The optimiser of a model's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def adamw(model: nn.Module, settings: Mapping[str, Any]) -> torch.optim.AdamW:
    """AdamW; with `decay_all` weight decay is on every parameter, as in the code the paper builds on."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    plain = [p for p in parameters if p.ndim < 2 and not settings["decay_all"]]
    decayed = [p for p in parameters if p.ndim >= 2 or settings["decay_all"]]
    groups = [{"params": decayed, "weight_decay": settings["weight_decay"]}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings["learning_rate"], fused=True)

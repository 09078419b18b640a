"""What the frameworks' tests share: fresh random rows, small models and the loop's few lines."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

from vlrepro.frameworks import Batch, build_framework
from vlrepro.models.backbones import build_backbone

RATE = 1e-2


def unit_rows(count: int, width: int, seed: int | None = None) -> torch.Tensor:
    """Random unit rows in double precision; without a seed every run tries other numbers."""
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed)
    return normalize(torch.randn(count, width, dtype=torch.float64, generator=generator), dim=1)


def small_model(name: str, **options: Any) -> nn.Module:
    """The framework on a backbone of 32 features, always the same weights."""
    torch.manual_seed(0)
    return build_framework(name, build_backbone("resnet_small", width=4), options)


def batch_of(step: int, count: int = 8) -> Batch:
    """Two random views of `count` pictures, a function of the step."""
    generator = torch.Generator().manual_seed(step)
    return Batch(tuple(torch.randn(count, 3, 16, 16, generator=generator) for _ in range(2)), None, step)


def adamw(model: nn.Module) -> torch.optim.AdamW:
    """The training loop's optimiser, with a weight decay that shows."""
    return torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.5, fused=True)


def train_steps(
    model: nn.Module, optimiser: torch.optim.Optimizer, steps: range, batches: Callable[[int], Batch] = batch_of
) -> list[float]:
    """Train on `batches` of each step and return the losses."""
    losses = []
    for step in steps:
        result = model(batches(step))
        optimiser.zero_grad(set_to_none=True)
        result.loss.backward()
        optimiser.step()
        losses.append(result.loss.item())
    return losses


def resumed_losses(
    name: str, first: range, rest: range, batches: Callable[[int], Batch] = batch_of, **options: Any
) -> tuple[list[float], list[float]]:
    """The losses of `rest` without a break and, in a new model, from the state that was left after `first`."""
    model = small_model(name, **options)
    optimiser = adamw(model)
    train_steps(model, optimiser, first, batches)
    stored = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict()}, stored)
    unbroken = train_steps(model, optimiser, rest, batches)
    stored.seek(0)
    state = torch.load(stored, weights_only=True)
    model = small_model(name, **options)
    optimiser = adamw(model)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return unbroken, train_steps(model, optimiser, rest, batches)

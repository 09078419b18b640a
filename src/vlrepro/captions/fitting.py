"""What both stand-ins are made with: how they see a pack's pictures, and how their weights are fitted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ViTImageProcessor

from vlrepro.captions.layout import LayoutModel
from vlrepro.data.augment import Augment, AugmentationOptions

CANVAS = 48


class FitOptions(Protocol):
    """How long and how fast a stand-in is fitted."""

    epochs: int
    batch_size: int
    learning_rate: float


@torch.no_grad()
def centre(tower: LayoutModel, pictures: Tensor) -> None:
    """Make the tower see how layouts differ from the mean of these uint8 pictures."""
    tower.mean.copy_(tower.describe(pictures / 255).mean(0))


@torch.no_grad()
def whiten(tower: LayoutModel, rows: Tensor) -> Tensor:
    """Make the tower whiten layouts by the covariance of these (views, n, layout_width); return them whitened.

    As much as the mean variance is added to every variance, because 800 pictures do not tell the small ones.
    """
    variances, axes = torch.linalg.eigh(torch.cov(rows.flatten(0, 1).T))
    tower.whitening.copy_(axes * (variances + variances.mean()).rsqrt() @ axes.T)
    return functional.normalize(rows @ tower.whitening, dim=-1)


@torch.no_grad()
def layouts(tower: LayoutModel, pictures: Tensor, views: int, generator: torch.Generator) -> Tensor:
    """Layouts (views, n, layout_width) of uint8 pictures: as they are, then of mildly augmented views of them.

    Layout is what the tower sees, so crops stay near the whole picture.
    """
    options = AugmentationOptions(
        size=CANVAS,
        scale=(0.75, 1.0),
        ratio=(0.9, 1.1),
        flip=0.3,
        jitter=(0.3, 0.3, 0.4, 0.08),
        jitter_probability=0.8,
        grey_probability=0.05,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    augment = Augment(options)
    rows = [tower.layout(pictures / 255)]
    rows += [tower.layout(augment(pictures, generator).clamp(0, 1)) for _ in range(views - 1)]
    return torch.stack(rows)


def image_processor() -> ViTImageProcessor:
    """Scales pictures to the canvas; the tower itself takes their mean off."""
    return ViTImageProcessor(size={"height": CANVAS, "width": CANVAS}, do_normalize=False)


def fit(
    name: str,
    model: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    count: int,
    options: FitOptions,
    weight_decay: float,
    order: torch.Generator,
) -> None:
    """Minimise `loss_of` over batches of positions with AdamW, a short warm-up and a cosine to 0."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=options.learning_rate, weight_decay=weight_decay)
    batch = min(options.batch_size, count)
    each = count // batch
    steps = options.epochs * each
    model.train()
    for epoch in range(options.epochs):
        shuffled = torch.randperm(count, generator=order)[: each * batch].view(each, batch)
        for number, positions in enumerate(shuffled):
            step = epoch * each + number
            warm = min(1.0, (step + 1) / 20)
            optimiser.param_groups[0]["lr"] = options.learning_rate * warm * (1 + math.cos(math.pi * step / steps)) / 2
            loss = loss_of(positions)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        if (epoch + 1) % 10 == 0 or epoch + 1 == options.epochs:
            print(f"stand-in {name}: epoch {epoch + 1} of {options.epochs}, loss {loss.item():.3f}", flush=True)

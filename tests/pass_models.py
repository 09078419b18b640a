"""Small image-text models and batches for tests of passes; light to import, as several processes do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlrepro.frameworks import Batch, Concepts, build_framework
from vlrepro.training.passes import Passes

ROWS, WIDTH = 12, 6
OPTIONS = {"text_tower": {"name": "sentence", "width": WIDTH}, "joint_width": 4}
TRANSFORMER = {"name": "transformer", "layers": 1, "width": 8, "heads": 2, "vocabulary": 20}


def noisy(strategy: str, columns: str = "shared") -> dict[str, dict[str, str | float]]:
    return {"label_noise": {"strategy": strategy, "rate": 0.4, "columns": columns}}


CASES = {
    "clip": ("clip", {}),
    "clip limited": ("clip", {"scale_limit": 12.0}),
    "clip transformer": ("clip", {"text_tower": TRANSFORMER}),
    "reselection": ("clip_label_noise", noisy("reselection", "independent")),
    "permutation": ("clip_label_noise", noisy("permutation", "inverse")),
    "secondary": ("clip_label_noise", noisy("secondary")),
    "secondary_blend": ("clip_label_noise", noisy("secondary_blend", "clean")),
    "clip_hard_negatives": ("clip_hard_negatives", {"alpha": 0.9, "beta": 0.5}),
    "clip_distillation": ("clip_distillation", {"beta": 0.5, "objects": 7, "attributes": 5, "attribute_weight": 0.7}),
}


class Plain(nn.Sequential):
    """A backbone without batch statistics."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 5, 3), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.feature_width = 32


def model_of(case: str, backbone: nn.Module | None = None) -> nn.Module:
    """The same weights whenever it is called, in double precision."""
    name, options = CASES[case]
    torch.manual_seed(0)
    return build_framework(name, backbone or Plain(), OPTIONS | options).double().train()


def concepts_of(count: int, step: int, objects: int = 7, attributes: int = 5) -> Concepts:
    """Three objects and two attributes a picture, all different, with weights that sum to 1."""
    generator = torch.Generator().manual_seed(step)
    found = []
    for size, top in ((objects, 3), (attributes, 2)):
        found.append(torch.rand(count, size, generator=generator).topk(top).indices)
        found.append(torch.rand(count, top, generator=generator, dtype=torch.float64).softmax(1))
    return Concepts(*found)


def batch_of(case: str, step: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(step)
    views = torch.randn(ROWS, 3, 16, 16, generator=generator, dtype=torch.float64)
    texts = torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float64)
    if case == "clip transformer":  # ends at different places, so that parts are cut to different lengths
        texts = torch.randint(1, 19, (ROWS, 9), generator=generator)
        ends = torch.arange(ROWS)[:, None] % 8 + 1
        texts = texts.scatter(1, ends, 19) * (torch.arange(9) <= ends)
    return Batch((views,), texts, step, seed=5, concepts=concepts_of(ROWS, step))


def passes_of(model: nn.Module, **recipe: object) -> Passes:
    """Of a recipe with these keys, for a run named `run`."""
    whole = {"framework": "x", "batch_size": ROWS, "steps": 1} | recipe
    return Passes(model, whole, torch.device("cpu"), "run")


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}

"""A linear probe on pooled features, and what every saliency method takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vlrepro.errors import UserError


class Probe(NamedTuple):
    """Scores of k classes from pooled features z (B, d): `z @ weights.T + biases`; weights (k, d), biases (k,).

    A probe fitted on standardised features must have the mean and deviation folded in: the maps are those of z itself.
    """

    weights: Tensor
    biases: Tensor

    def like(self, tensor: Tensor) -> Probe:
        """A copy with the device and dtype of `tensor`, which autograd takes even if it was made in inference mode."""
        return Probe(self.weights.to(tensor).clone(), self.biases.to(tensor).clone())


# (backbone, probe, images (B, 3, S, S) normalised, classes (B,) int64) to maps (B, S, S) float32 on the images' device.
# Higher is more salient for the class; the scale is the method's own. Deterministic; no picture changes another's map.
# The backbone runs in inference mode (its batch statistics stay) and is left as it was.
Method = Callable[[nn.Module, Probe, Tensor, Tensor], Tensor]


def check(backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor) -> None:
    """Raise `UserError` unless the arguments of a method fit each other."""
    count, width = len(probe.weights), probe.weights.shape[-1]
    feature_width = getattr(backbone, "feature_width", width)
    if width != feature_width:
        raise UserError(
            f"probe: {width} weights a class for {feature_width} features: fit it on this backbone's features"
        )
    if probe.biases.shape != (count,):
        raise UserError(f"probe: biases {tuple(probe.biases.shape)} for {count} classes: give one a class")
    if images.dim() != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise UserError(f"saliency images {tuple(images.shape)} {images.dtype}: give normalised floats (B, 3, S, S)")
    if classes.shape != images.shape[:1] or classes.dtype != torch.int64:
        shape = f"{tuple(classes.shape)} {classes.dtype}"
        raise UserError(f"saliency classes {shape} for {len(images)} images: give one int64 an image")
    if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < count:
        raise UserError(f"saliency classes {classes.min()} to {classes.max()}: the probe has 0 to {count - 1}")


@contextmanager
def inference(backbone: nn.Module) -> Iterator[None]:
    """Put the backbone and all its parts in inference mode for a while, then each back into its own mode."""
    training = [module for module in backbone.modules() if module.training]
    backbone.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True

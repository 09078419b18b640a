"""Projection heads: the one multi-layer perceptron that every framework's head is an instance of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(widths: Sequence[int], final_norm: bool = False, final_norm_affine: bool = True) -> nn.Sequential:
    """Linear -> BatchNorm -> ReLU for each hidden layer, then a Linear; none has a bias.

    The convention of the code that *Impact of Language Guidance* (section 5) is based on: `widths` of
    (2048, 2048, 2048, 128) is SimCLR's head there.

    Args:
        widths: input width, hidden widths, output width.
        final_norm: end with a BatchNorm (SimSiam's projector).
        final_norm_affine: whether that last BatchNorm learns gains and biases.
    """
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths[:-1]):
        layers += [nn.Linear(width_in, width_out, bias=False), nn.BatchNorm1d(width_out), nn.ReLU(inplace=True)]
    layers.append(nn.Linear(widths[-2], widths[-1], bias=False))
    if final_norm:
        layers.append(nn.BatchNorm1d(widths[-1], affine=final_norm_affine))
    return nn.Sequential(*layers)

"""How relevance goes back through one layer: the rules of attribution guided factorization (AGF).

Gur, Ali and Wolf, "Visualization of Supervised and Self-Supervised Neural Networks via Attribution Guided
Factorization" (AAAI 2021). Relevance has the shape of the activations it belongs to. Every rule conserves its sum over
a picture, apart from what reaches an output all of whose inputs are 0: that has nowhere to go and is dropped.

The rules of linear layers divide an output's relevance among its inputs in proportion to |x| |w|. Layers with one input
an output (batch norm, ReLU, hard-swish, dropout) pass relevance on unchanged, and so no rule stands here for them: what
a ReLU blocks is 0 and has been given none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d
from torch.nn.grad import conv2d_input

_STEEPNESS = 10.0  # of the sigmoid that tells active from inactive places


def linear(x: Tensor, weight: Tensor, relevance: Tensor) -> Tensor:
    """Relevance (B, out) of a linear layer with weight (out, in) to that of its input x (B, in)."""
    size = weight.abs()
    return x.abs() * (divide(relevance, x.abs() @ size.T) @ size)


def convolution(x: Tensor, layer: nn.Conv2d, relevance: Tensor) -> Tensor:
    """Relevance of a convolution's output to that of its input x (B, C, H, W); grouped and dilated ones too."""
    size = layer.weight.abs()
    return x.abs() * _backward(layer, size, divide(relevance, _forward(layer, size, x.abs())), x)


def guided_convolution(x: Tensor, layer: nn.Conv2d, relevance: Tensor, gradient: Tensor) -> Tensor:
    """The rule of `convolution`, redistributed towards what the class gradient of the output supports.

    To the base relevance C are added, where C is not 0: the input times its gradient (`influence`), which parts of the
    activations and of the gradient go with positive rather than negative relevance (`factorise`), and the relevance
    without regard to the activations, against a bias towards salient inputs. The mean of what is added is then taken
    off (`shift`). Gradients are with regard to the class's `softened_log_odds`.
    """
    size = layer.weight.abs()
    base = convolution(x, layer, relevance)
    influence = _peak_one((x * _backward(layer, layer.weight, gradient, x)).mean(1, keepdim=True).relu())
    seen = _backward(layer, layer.weight, gradient * (relevance != 0), x)
    agnostic = _backward(layer, size, divide(relevance, _forward(layer, size, torch.ones_like(x[:1]))), x)
    gate = base.sigmoid()
    return shift(base, (factorise(x, base) + influence) * gate + factorise(seen, base) + agnostic)


def factorise(u: Tensor, relevance: Tensor) -> Tensor:
    """How much more each place of u (B, C, H, W) looks like the relevant than like the adverse ones: (B, 1, H, W) >= 0.

    The signs of the mean relevance over channels divide the places in two sets. With H = sigmoid(10 u / max u) as soft
    activity (C, HW) and R (C, 2) its means over each set, W = (R^T R + I)^-1 R^T H, cut at 0, says how much of each
    set's mean a place holds. A set without places has the mean 0.
    """
    activity = torch.sigmoid(_STEEPNESS * _peak_one(u)).flatten(2)
    sign = relevance.mean(1).flatten(1)
    members = torch.stack([sign > 0, sign < 0], dim=2).to(u)  # (B, HW, 2)
    means = activity @ (members / members.sum(1, keepdim=True).clamp_min(1))  # (B, C, 2)
    ridge = torch.eye(2, dtype=u.dtype, device=u.device)
    held = torch.linalg.solve(means.mT @ means + ridge, means.mT @ activity).relu()  # (B, 2, HW)
    return (held[:, 0] - held[:, 1]).relu().view(-1, 1, *u.shape[2:])


def shift(relevance: Tensor, residual: Tensor) -> Tensor:
    """Add the residual where relevance is not 0, less its mean there, so that each picture's sum stays the same."""
    support = (relevance != 0).to(relevance)
    inside = residual * support
    dimensions = tuple(range(1, relevance.dim()))
    total, places = (part.sum(dimensions, keepdim=True) for part in (inside, support))
    return relevance + inside - support * (total / places.clamp_min(1))


def first_convolution(x: Tensor, layer: nn.Conv2d, relevance: Tensor) -> Tensor:
    """Relevance of the first convolution's output to that of the picture x: the z^B rule.

    Montavon et al., "Explaining NonLinear Classification Decisions with Deep Taylor Decomposition" (2017). The bounds
    are each picture's own least and greatest value, as a normalised picture has no fixed range. The contributions
    (x - low) w+ + (x - high) w- are computed as such, not as a difference of three terms, and so are never negative.
    """
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    up, down = layer.weight.clamp_min(0), layer.weight.clamp_max(0)
    share = divide(relevance, _forward(layer, up, x - low) + _forward(layer, down, x - high))
    return (x - low) * _backward(layer, up, share, x) + (x - high) * _backward(layer, down, share, x)


def average(x: Tensor, relevance: Tensor) -> Tensor:
    """Relevance (B, C) or (B, C, 1, 1) of the mean over space to that of x (B, C, H, W), in proportion to |x|."""
    size = x.abs()
    return size * divide(relevance.view(*x.shape[:2], 1, 1), size.sum((2, 3), keepdim=True))


def maximum(x: Tensor, layer: nn.MaxPool2d, relevance: Tensor) -> Tensor:
    """Relevance of a max pooling's output to its winners in x (B, C, H, W)."""
    options = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
    winners = max_pool2d(x, *options, return_indices=True)[1].flatten(2)
    return torch.zeros_like(x).flatten(2).scatter_add_(2, winners, relevance.flatten(2)).view_as(x)


def sum_of_two(first: Tensor, second: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Divide the relevance of a sum in proportion to the absolute values of its terms.

    Their signed values over the sum would be unbounded where the terms nearly cancel. Two terms of 0 get none.
    """
    share = divide(relevance, first.abs() + second.abs())
    return first.abs() * share, second.abs() * share


def divide(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where b is 0 or so small (1e-19 in float32) that the quotient could overflow."""
    return a / torch.where(b.abs() > torch.finfo(b.dtype).tiny ** 0.5, b, torch.inf)


def _peak_one(u: Tensor) -> Tensor:
    """Divide each picture by its greatest value (not the greatest magnitude); 0 where nothing is positive."""
    peak = u.amax(tuple(range(1, u.dim())), keepdim=True)
    return divide(u, peak.clamp_min(0))


def _forward(layer: nn.Conv2d, weight: Tensor, x: Tensor) -> Tensor:
    """The layer with another weight and no bias."""
    return conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)


def _backward(layer: nn.Conv2d, weight: Tensor, gradient: Tensor, x: Tensor) -> Tensor:
    """The transpose of `_forward`, to the shape of the layer's input x."""
    options = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return conv2d_input(x.shape, weight, gradient.contiguous(), *options)

"""Attribution guided factorization (AGF): maps at the pictures' own resolution, for convolutional backbones.

Gur, Ali and Wolf, "Visualization of Supervised and Self-Supervised Neural Networks via Attribution Guided
Factorization" (AAAI 2021). Relevance starts at the probe as each feature times the gradient of the class's softened
log-odds and goes back layer by layer to the picture, conserving its sum (`relevance.py`). One convolution of a block
redistributes it towards what the gradient supports: the first spatial one, so the 3x3 of a bottleneck block, the first
3x3 of a basic block and the depthwise one of a MobileNet block. The others use the plain rule. Values above 0 support
the class.

Where this departs from the published code, and why:
- scores are counted from each picture's lowest (`softened_log_odds`): a target score below 0 would invert the map;
- log-odds take the place of the probability: a positive factor of the gradient, which vanishes where the probe is sure;
- relevance starts with magnitudes of sum 1, so that the scale of features and probe does not matter any further;
- sums, at skip connections, are divided by absolute and not by signed contributions, which cancel;
- depthwise, grouped and dilated convolutions, hard-swish and squeeze-and-excitation have rules, which it lacks;
- the map is not divided by its greatest value, which would flip a map that is nowhere above 0.
"""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from vlrepro.errors import UserError
from vlrepro.saliency import relevance as rules
from vlrepro.saliency.probe import Probe, check, inference
from vlrepro.saliency.tracing import Trace

REVISION = 1

_UNCHANGED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.Hardswish, nn.Dropout, nn.Identity)
_GATES = (nn.Hardsigmoid, nn.Sigmoid)
_UNCHANGED_FUNCTIONS = {torch.relu, torch.relu_, functional.relu}
_SUMS = {operator.add, operator.iadd, torch.add}
_PRODUCTS = {operator.mul, operator.imul, torch.mul}


def agf(backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor) -> Tensor:
    """AGF maps, signed, above 0 where a pixel supports the class; a `Method`.

    Raises `UserError` for a layer without a rule, such as attention.
    """
    check(backbone, probe, images, classes)
    return attribute(backbone, probe, images, classes).sum(1).float()


def attribute(backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor) -> Tensor:
    """The relevance (B, 3, S, S) of every value of the images, in their dtype."""
    with inference(backbone), torch.inference_mode(False), torch.enable_grad():
        trace = Trace(backbone)
        guided = guided_convolutions(trace)
        # Every weight may be frozen: the pictures carry the graph.
        features = trace.run(images.detach().clone().requires_grad_())
        score = softened_log_odds(probe.like(features), features, classes.to(features.device).clone())
        own, *gradients = torch.autograd.grad(score.sum(), [features, *(trace.values[node] for node in guided)])
    with torch.no_grad():
        start = rules.divide(features * own, (features * own).abs().sum(1, keepdim=True))
        return _go_back(trace, start, dict(zip(guided, gradients, strict=True)))


def softened_log_odds(probe: Probe, features: Tensor, classes: Tensor) -> Tensor:
    """Each class's log-odds (B,) in a soft-max over how near the scores are to the class's own score.

    With scores y, the class's y_t and s = max_j |y_j - y_t|, it is the soft-max of y_t exp(-((y_j - y_t) / s)^2 / 2). A
    soft-max of the scores themselves would leave no gradient to any but the best two classes. This one depends on y_t
    itself and turns round below 0, while scores are defined up to a constant only: a picture's lowest counts as 0.
    Raises `UserError` for a probe of one class.
    """
    if len(probe.weights) < 2:
        raise UserError("agf: the probe has one class: give it another to compare with")
    scores = features @ probe.weights.T + probe.biases
    scores = scores - scores.detach().amin(1, keepdim=True)  # a constant: a target that is lowest keeps its gradient
    target = scores.gather(1, classes[:, None])
    distance = (scores - target).abs()
    scale = distance.amax(1, keepdim=True).clamp_min(torch.finfo(scores.dtype).tiny ** 0.5)
    nearness = target * torch.exp(-0.5 * (distance / scale).square())
    others = nearness.scatter(1, classes[:, None], -torch.inf)
    return target[:, 0] - others.logsumexp(1)


def guided_convolutions(trace: Trace) -> list[fx.Node]:
    """The first spatial convolution of each block, but for that which reads the picture."""
    found: dict[str, fx.Node] = {}
    for node in trace.operations:
        layer = trace.layer(node)
        if isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1 and node.args[0] is not trace.picture:
            found.setdefault(node.target.rpartition(".")[0], node)
    return list(found.values())


def _go_back(trace: Trace, start: Tensor, gradients: dict[fx.Node, Tensor]) -> Tensor:
    """Take the relevance of the features back to the picture; branches that meet at a fork add up."""
    arrived = {trace.features: start}
    for node in reversed(trace.operations):
        if node in arrived:
            for source, part in _sources(trace, node, arrived.pop(node), gradients.get(node)):
                arrived[source] = arrived[source] + part if source in arrived else part
    return arrived[trace.picture]


def _sources(trace: Trace, node: fx.Node, arrived: Tensor, gradient: Tensor | None) -> list[tuple[fx.Node, Tensor]]:
    """The nodes that an operation read, each with its part of the operation's relevance."""
    layer, source = trace.layer(node), node.args[0]
    if node.target in _SUMS:
        parts = rules.sum_of_two(*(trace.values[arg] for arg in node.args), arrived)
        return list(zip(node.args, parts, strict=True))
    if node.target in _PRODUCTS:
        return [(_signal(trace, node), arrived)]
    x = trace.values[source]
    if isinstance(layer, _UNCHANGED) or node.target in _UNCHANGED_FUNCTIONS:
        return [(source, arrived)]
    if isinstance(layer, nn.Conv2d):
        if source is trace.picture:
            return [(source, rules.first_convolution(x, layer, arrived))]
        if gradient is not None:
            return [(source, rules.guided_convolution(x, layer, arrived, gradient))]
        return [(source, rules.convolution(x, layer, arrived))]
    if isinstance(layer, nn.Linear):
        return [(source, rules.linear(x, layer.weight, arrived))]
    if isinstance(layer, nn.MaxPool2d):
        return [(source, rules.maximum(x, layer, arrived))]
    if isinstance(layer, nn.AdaptiveAvgPool2d) and arrived.shape[2:] == (1, 1):
        return [(source, rules.average(x, arrived))]
    if node.target == "mean" and node.args[1:] == ((2, 3),):
        return [(source, rules.average(x, arrived))]
    if node.target is torch.flatten:
        return [(source, arrived.view_as(x))]
    name = type(layer).__name__ if layer is not None else getattr(node.target, "__name__", node.target)
    raise UserError(f"agf: no rule for {name} ({node.name}): choose another saliency method for this backbone")


def _signal(trace: Trace, product: fx.Node) -> fx.Node:
    """The factor that a gate scales, which receives all relevance of the product: squeeze-and-excitation.

    Arras et al., "Explaining Recurrent Neural Network Predictions in Sentiment Analysis" (WASSA 2017). The gate, which
    ends in a sigmoid, takes part through the gradient. Raises `UserError` unless one factor is such a gate.
    """
    signals = [factor for factor in product.args if not isinstance(trace.layer(factor), _GATES)]
    if len(signals) != 1:
        raise UserError(f"agf: no rule for the product {product.name}: choose another saliency method")
    return signals[0]

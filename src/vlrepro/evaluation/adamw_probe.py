"""Linear probe by a fixed number of AdamW steps, without a search: one linear layer on frozen features.

The protocol of Goel et al. 2022, "CyCLIP: Cyclic Contrastive Language-Image Pretraining", as their code base
(github.com/goel-shashank/CyCLIP) has it: weight decay on the weights only, the learning rate falls along a cosine to 0
without a warm-up, features as they are. Since nothing is tuned, the features' length decides how far it gets; the probe
of `linear` searches for the cost that suits it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vlrepro.errors import UserError
from vlrepro.evaluation.logistic import LabelledFeatures, check_classes, check_examples
from vlrepro.evaluation.metrics import accuracy, mean_per_class_accuracy
from vlrepro.randomness import torch_generator

REVISION = 1

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


@dataclass(frozen=True)
class AdamWProtocol:
    """How long and how fast the layer is trained; the defaults are CyCLIP's.

    An epoch is every example once, in a new order; its last batch may be smaller.
    """

    epochs: int = 32
    batch_size: int = 128
    learning_rate: float = 0.005
    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("learning_rate", 0), ("weight_decay", 0)):
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise UserError(f"AdamW probe: {name} = {value}: give a number of at least {least}")


@dataclass(frozen=True)
class AdamWResult:
    """Test scores in [0, 1], each test picture's outcome and the layer.

    `correct` (n_test,) bool, `predictions` (n_test,) int64, `weights` (k, d), `biases` (k,).
    """

    accuracy: float
    mean_per_class: float
    correct: Tensor
    predictions: Tensor
    weights: Tensor
    biases: Tensor


def adamw_probe(
    train: LabelledFeatures, test: LabelledFeatures, n_classes: int, protocol: AdamWProtocol = AdamWProtocol()
) -> AdamWResult:
    """Train the layer on `train` and score it on `test`; of equally likely classes the first is predicted.

    Raises `UserError` for non-finite features, labels out of range, an empty set, a class without a training example,
    and where training overflows.
    """
    check_examples(train, "training set", n_classes)
    check_examples(test, "test set", n_classes)
    check_classes(train.labels, n_classes)
    weights, biases = fit_adamw(train, n_classes, protocol)
    predictions = (test.features.to(weights) @ weights.T + biases).argmax(1)
    return AdamWResult(
        accuracy=accuracy(predictions, test.labels),
        mean_per_class=mean_per_class_accuracy(predictions, test.labels, n_classes),
        correct=predictions == test.labels,
        predictions=predictions,
        weights=weights,
        biases=biases,
    )


@torch.no_grad()
def fit_adamw(train: LabelledFeatures, n_classes: int, protocol: AdamWProtocol) -> tuple[Tensor, Tensor]:
    """The layer's weights (k, d) and biases (k,) after all epochs, in the features' precision.

    Minimises the mean cross-entropy of each batch. Order and start depend on the seed, the number of examples and the
    shape of the layer only. Raises `UserError` where weights or squared gradients overflow.
    """
    features, labels = train.features, train.labels
    inputs = torch.cat([features, features.new_ones(len(features), 1)], dim=1)
    parameters = _start(n_classes, features, protocol.seed)
    decay = features.new_full((inputs.shape[1],), protocol.weight_decay)
    decay[-1] = 0  # of the biases
    mean, square = torch.zeros_like(parameters), torch.zeros_like(parameters)
    order = torch_generator(protocol.seed, "AdamW probe", "order")
    batches = math.ceil(len(labels) / protocol.batch_size)
    for step in range(protocol.epochs * batches):
        if step % batches == 0:
            shuffled = torch.randperm(len(labels), generator=order).split(protocol.batch_size)
        chosen = shuffled[step % batches]
        slopes = _gradient(parameters, inputs[chosen], labels[chosen])
        rate = cosine_rate(step, protocol.epochs * batches, protocol.learning_rate)
        _update(parameters, slopes, mean, square, step, rate, decay)
    if not (parameters.isfinite().all() and square.isfinite().all()):
        raise UserError("AdamW probe: numbers grow past all bounds: lower its learning_rate, or mend the features")
    return parameters[:, :-1].contiguous(), parameters[:, -1].contiguous()


def cosine_rate(step: int, steps: int, highest: float) -> float:
    """The learning rate of a step from 0: highest * (1 + cos(pi * step / steps)) / 2, which is 0 after the last.

    Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", equation 5, without a restart.
    """
    return highest * (1 + math.cos(math.pi * step / steps)) / 2


def _start(n_classes: int, features: Tensor, seed: int) -> Tensor:
    """Weights and, as the last column, biases (k, d + 1): uniform within 1 / sqrt(d), as in torch's linear layer."""
    width, generator = features.shape[1], torch_generator(seed, "AdamW probe", "start")
    drawn = torch.rand(n_classes, width + 1, generator=generator, dtype=torch.float64)
    return ((2 * drawn - 1) / math.sqrt(width)).to(features)


def _gradient(parameters: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """The gradient (k, d + 1) of the mean cross-entropy for inputs (b, d + 1) with a last column of ones."""
    residuals = (inputs @ parameters.T).softmax(1)
    residuals[torch.arange(len(labels)), labels] -= 1
    return (residuals.T @ inputs).div_(len(labels))


def _update(
    parameters: Tensor, slopes: Tensor, mean: Tensor, square: Tensor, step: int, rate: float, decay: Tensor
) -> None:
    """One AdamW step in place (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2).

        w <- w - rate * (decay * w + m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)),    t = step + 1

    with m and v (`mean`, `square`) the running means of the gradient (`slopes`) and of its square. The decay is times
    the whole learning rate, as in torch; in the paper it is times the schedule only.
    """
    first, second = _BETAS
    mean.lerp_(slopes, 1 - first)
    square.mul_(second).addcmul_(slopes, slopes, value=1 - second)
    length = (square / (1 - second ** (step + 1))).sqrt_().add_(_EPSILON)
    parameters.mul_(1 - rate * decay).addcdiv_(mean, length, value=-rate / (1 - first ** (step + 1)))

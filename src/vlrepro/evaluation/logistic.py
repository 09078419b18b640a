"""Multinomial logistic regression with a norm penalty, all costs of a sweep solved together.

With n examples x_i of label y_i, weights W (d, k) and biases b (k,), a fit at cost C minimises

    squared      mean_i CE(x_i W + b, y_i) + ||W||_F^2 / (2 C n)    the textbook objective; C is scikit-learn's C
    frobenius    mean_i CE(x_i W + b, y_i) + ||W||_F / (2 C)        as in the published code of El Banani et al.

(El Banani, Desai and Johnson, "Learning Visual Representations via Language-Guided Sampling", CVPR 2023, evaluate with
a logistic regression fitted by L-BFGS.) With two classes scikit-learn penalises the difference of their weights, which
makes its C twice ours. Both objectives are convex: the optimum defines the result, not the solver
(`newton`).

The un-squared norm is not smooth at W = 0, so a frobenius fit starts with one proximal-gradient step from the best
constant predictor. That step stays at W = 0 exactly when this is the optimum (the gradient's norm is at most
1 / (2 C)) and lowers the objective otherwise; later steps only lower it further, so no iterate returns to 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vlrepro.errors import UserError
from vlrepro.evaluation.newton import Design, Penalty, Solution, minimise, weight_norm

MEMORY_BUDGET = 2 * 1024**3  # bytes of working memory; costs that do not fit in it together are solved in turns


@dataclass(frozen=True)
class LabelledFeatures:
    """Features (n, d) float32 of n examples and their labels (n,) int64 in 0 .. n_classes - 1."""

    features: Tensor
    labels: Tensor


@dataclass(frozen=True)
class LogisticFit:
    """Optima at c costs: weights (c, d, k), biases (c, k) of sum 0, objectives (c,), converged (c,) bool.

    `iterations` counts the Newton iterations of the slowest problem.
    """

    weights: Tensor
    biases: Tensor
    objectives: Tensor
    converged: Tensor
    iterations: int


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    n_classes: int,
    costs: Sequence[float],
    penalty: Penalty = "squared",
    max_iterations: int = 200,
    tolerance: float = 1e-6,
    precision: Literal["float64", "float32"] = "float64",
    memory_budget: int = MEMORY_BUDGET,
) -> LogisticFit:
    """Fit a logistic regression per cost on features (n, d) and labels (n,), all costs in one batch.

    A fit ends when a bound on objective - optimum is at most `tolerance` times the smaller of the objective F and its
    decrease from the best constant predictor (F alone would let a small cost end at W = 0). With g the gradient in W
    at the best biases, the difference is at most ||g||^2 / (2 l) for the l-strongly convex squared penalty (Boyd and
    Vandenberghe, "Convex Optimization", eq. 9.9), and at most ||g|| (||W|| + F / m) for the penalty m ||W||, by
    convexity and because m ||W|| <= F at the optimum; the biases add half their squared Newton decrement. Once rounding
    hides any decrease, half the squared Newton decrement stands in for the bound, against F. float32 meets the default
    tolerance unless the cost is high. Weights are in `precision`.

    Raises `UserError` for non-finite features, labels out of range, a class without an example, a cost <= 0.
    """
    data = LabelledFeatures(features, labels)
    check_examples(data, "training set", n_classes)
    check_classes(labels, n_classes)
    design = Design.of(features, labels, n_classes, precision)
    solution = solve(design, costs, penalty, max_iterations, tolerance, memory_budget)
    weights = torch.einsum("dr,rck->cdk", design.rotation, solution.weights[:-1])
    biases = solution.weights[-1] - design.mean @ weights
    return LogisticFit(weights, biases, solution.objectives, solution.converged, solution.iterations)


def solve(
    design: Design,
    costs: Sequence[float],
    penalty: Penalty,
    max_iterations: int,
    tolerance: float,
    memory_budget: int,
    start: Tensor | None = None,
) -> Solution:
    """Solve for every cost, as many at once as the budget (bytes) allows, from weights `start` (r + 1, c, k)."""
    if not costs or min(costs) <= 0:
        raise UserError(f"costs {list(costs)} of the linear probe: give one or more values above 0")
    (n, rows), k = design.scores.shape, len(design.shares)
    values = design.scores.new_tensor(costs)
    strength = 1 / (values * n) if penalty == "squared" else 0.5 / values
    if penalty == "frobenius":
        start = _proximal_step(design, strength)
    elif start is None:
        start = _constant_predictor(design).expand(-1, len(costs), -1)
    # Six tensors of the logits' shape live at once, twelve of the weights' and three of a class by class matrix.
    bytes_each = design.scores.element_size() * k * (6 * n + 12 * rows + 3 * k)
    turns = torch.arange(len(costs), device=values.device).split(max(1, memory_budget // bytes_each))
    parts = [minimise(design, strength[i], penalty, start[:, i], max_iterations, tolerance) for i in turns]
    return Solution(
        torch.cat([part.weights for part in parts], 1),
        torch.cat([part.objectives for part in parts]),
        torch.cat([part.converged for part in parts]),
        max(part.iterations for part in parts),
    )


def _constant_predictor(design: Design) -> Tensor:
    """The optimum under W = 0, the logarithms of the class shares as biases: (r + 1, 1, k)."""
    weights = design.scores.new_zeros(design.scores.shape[1], 1, len(design.shares))
    weights[-1] = design.shares.log() - design.shares.log().mean()
    return weights


def _proximal_step(design: Design, strength: Tensor) -> Tensor:
    """One proximal-gradient step for strength * ||W|| from the constant predictor: (r + 1, c, k).

    The step length is 1 / L with L half the largest mean square of a score, which bounds the Hessian of the
    cross-entropy because diag(p) - p p' has no eigenvalue above 1/2 (Parikh and Boyd, "Proximal Algorithms", sections
    4.2 and 6.5.1).
    """
    constant = _constant_predictor(design)
    gradient = design.pull_back(design.residuals(design.logits(constant).softmax(2)))
    shrunk = (1 - strength / weight_norm(gradient)).clamp_min(0)
    bound = design.scores[:, :-1].square().mean(0).max().clamp_min(torch.finfo(strength.dtype).tiny) / 2
    weights = constant.repeat(1, len(strength), 1)
    weights[:-1] = -(shrunk / bound)[:, None] * gradient[:-1]
    return weights


def check_examples(data: LabelledFeatures, name: str, n_classes: int) -> None:
    """Raise `UserError` unless the set `name` has finite features and labels 0 .. n_classes - 1, one a row."""
    features, labels = data.features, data.labels
    if features.dim() != 2 or labels.shape != features.shape[:1] or len(labels) == 0:
        shapes = f"features {tuple(features.shape)} and labels {tuple(labels.shape)}"
        raise UserError(f"{name}: {shapes}: give at least one example, a row of features and a label each")
    broken = int((~features.isfinite()).any(1).sum())
    if broken:
        raise UserError(f"{name}: {broken} of {len(labels)} rows of features hold NaN or infinity: mend the model")
    if labels.min() < 0 or labels.max() >= n_classes:
        found = f"labels run from {labels.min()} to {labels.max()}"
        raise UserError(f"{name}: {found}: number the classes 0 to {n_classes - 1}")


def check_classes(labels: Tensor, n_classes: int) -> None:
    """Raise `UserError` unless each of two or more classes has a training example."""
    counts = torch.bincount(labels, minlength=n_classes)
    missing = (counts == 0).nonzero()[:, 0].tolist()
    if missing or n_classes < 2:
        what = f"no example of class {', '.join(map(str, missing[:10]))}" if missing else "a single class"
        raise UserError(f"training set: {what} of {n_classes}: a linear probe needs two classes, each with an example")

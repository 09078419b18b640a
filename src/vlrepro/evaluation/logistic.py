"""Multinomial logistic regression with a norm penalty, along a path of costs.

With n examples x_i of label y_i, weights W (d, k) and biases b (k,), a fit at cost C minimises

    squared      mean_i CE(x_i W + b, y_i) + ||W||_F^2 / (2 C n)    the textbook objective; C is scikit-learn's C
    frobenius    mean_i CE(x_i W + b, y_i) + ||W||_F / (2 C)        as in the papers' code base

(the code base of El Banani, Desai and Johnson, "Learning Visual Representations via Language-Guided Sampling", CVPR
2023: github.com/mbanani/lgssl). With two classes scikit-learn penalises the difference of their weights, which makes
its C twice ours. Both objectives are convex: the optimum defines the result, not the solver (`newton`).

Optima change smoothly with log C, so a fit starts from the polynomial through those at the nearest costs, where that is
better than the nearest of them and the start from nothing. The un-squared norm is not smooth at W = 0. W = 0 is the
optimum exactly when the norm of the gradient there is at most 1 / (2 C); otherwise every start is at least as good as
one proximal-gradient step from the best constant predictor, which lowers the objective, and later steps only lower it
further, so no iterate returns to 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vlrepro.errors import UserError
from vlrepro.evaluation.design import Design
from vlrepro.evaluation.newton import Penalty, Problem, Solution, weight_norm

_NEAREST = 4  # optima that a polynomial goes through


@dataclass(frozen=True)
class LabelledFeatures:
    """Features (n, d) float32 of n examples and their labels (n,) int64 in 0 .. n_classes - 1."""

    features: Tensor
    labels: Tensor


@dataclass(frozen=True)
class LogisticFit:
    """Optima at c costs: weights (c, d, k), biases (c, k) of sum 0, objectives (c,) float64, converged (c,) bool.

    `iterations` counts the Newton iterations of the slowest fit.
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
) -> LogisticFit:
    """Fit a logistic regression per cost on features (n, d) and labels (n,), to float64 accuracy.

    A fit ends when a bound on objective - optimum is at most `tolerance` times the smaller of the objective F and its
    decrease from the best constant predictor (F alone would let a small cost end at W = 0). With g the gradient in W
    at the best biases, the difference is at most ||g||^2 / (2 l) for the l-strongly convex squared penalty (Boyd and
    Vandenberghe, "Convex Optimization", eq. 9.9), and at most ||g|| (||W|| + F / m) for the penalty m ||W||, by
    convexity and because m ||W|| <= F at the optimum; the biases add half their squared Newton decrement. Once rounding
    hides any decrease, half the squared Newton decrement stands in for the bound, against F.

    Raises `UserError` for non-finite features, labels out of range, a class without an example, a cost <= 0.
    """
    if not costs or min(costs) <= 0:
        raise UserError(f"costs {list(costs)} of the linear probe: give one or more values above 0")
    check_examples(LabelledFeatures(features, labels), "training set", n_classes)
    check_classes(labels, n_classes)
    path = Path(Design.of(features, labels, n_classes), penalty, max_iterations, tolerance)
    solutions = [path.at(cost) for cost in costs]
    weights = torch.stack([path.design.rotation @ solution.weights[:, :-1].T for solution in solutions])
    biases = torch.stack([solution.weights[:, -1] for solution in solutions]) - path.design.mean @ weights
    return LogisticFit(
        weights,
        biases - biases.mean(1, keepdim=True),  # equal shifts of all classes mean nothing
        torch.tensor([solution.objective for solution in solutions], dtype=torch.float64),
        torch.tensor([solution.converged for solution in solutions]),
        max(solution.iterations for solution in solutions),
    )


@dataclass
class Path:
    """The optima of one design by cost, each found from those `solved` before; options are as in `fit_logistic`.

    `proven`: as in `Problem.minimise`.
    """

    design: Design
    penalty: Penalty
    max_iterations: int
    tolerance: float
    proven: bool = True
    solved: dict[float, Solution] = field(default_factory=dict)

    def at(self, cost: float) -> Solution:
        """The optimum at a cost above 0."""
        if cost not in self.solved:
            self.solved[cost] = self._solve(cost)
        return self.solved[cost]

    def _solve(self, cost: float) -> Solution:
        squared = self.penalty == "squared"
        strength = 1 / (cost * len(self.design.labels)) if squared else 0.5 / cost
        problem = Problem(self.design, strength, self.penalty)
        fresh = self.design.constant_predictor() if squared else _proximal_step(self.design, strength)
        if not squared and weight_norm(fresh) == 0:
            return Solution(fresh, self.design.entropy(), converged=True, iterations=0)
        start = min([fresh, *self._predictions(cost)], key=problem.objective) if self.solved else fresh
        return problem.minimise(start, self.max_iterations, self.tolerance, self.proven)

    def _predictions(self, cost: float) -> list[Tensor]:
        """The optimum at the nearest cost and the polynomial in log C through those at the nearest few."""
        places = {known: math.log(known / cost) for known in self.solved}
        nearest = sorted(places, key=lambda known: abs(places[known]))[:_NEAREST]
        through = torch.zeros_like(self.solved[nearest[0]].weights)
        for known in nearest:  # Lagrange's form, at 0
            others = [places[other] for other in nearest if other != known]
            share = math.prod(place / (place - places[known]) for place in others)
            through += share * self.solved[known].weights
        return [self.solved[nearest[0]].weights, through]


def _proximal_step(design: Design, strength: float) -> Tensor:
    """One proximal-gradient step for strength * ||W|| from the constant predictor: (k, r + 1).

    The step length is 1 / L with L half the largest mean square of a score, which bounds the Hessian of the
    cross-entropy because diag(p) - p p' has no eigenvalue above 1/2 (Parikh and Boyd, "Proximal Algorithms", sections
    4.2 and 6.5.1).
    """
    weights = design.constant_predictor()
    gradient = design.pull_back(design.residuals(design.shares[:, None].expand(-1, len(design.labels))))
    norm = weight_norm(gradient)
    if norm > strength:
        bound = design.scores[:-1].square().mean(1).max() / 2
        weights[:, :-1] = -(1 - strength / norm) / bound * gradient[:, :-1]
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

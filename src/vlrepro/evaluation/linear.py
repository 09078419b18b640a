"""Linear probe: the cost of a logistic regression is chosen on validation, the probe refitted and scored on test."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor

from vlrepro.evaluation.logistic import (
    MEMORY_BUDGET,
    LabelledFeatures,
    LogisticFit,
    check_classes,
    check_examples,
    fit_logistic,
    solve,
)
from vlrepro.evaluation.metrics import accuracy, mean_per_class_accuracy
from vlrepro.evaluation.newton import Design, Penalty, Solution

__all__ = ["LabelledFeatures", "LinearProtocol", "LinearResult", "LogisticFit", "fit_logistic", "linear_probe"]

REVISION = 1  # of the whole probe: also of logistic.py and newton.py


@dataclass(frozen=True)
class LinearProtocol:
    """How the cost is searched and the probe fitted; the defaults are the protocol `lgssl`.

    `costs` are tried first, then `fine_costs` log-spaced values within `fine_decades` decades either side of the best
    (0 values: no second search). `metric` decides. The fits of the search stop at `search_tolerance`, the refit that is
    scored at `tolerance`; these, `precision` and the rest are as in `fit_logistic`.
    """

    metric: Literal["accuracy", "mean_per_class"] = "accuracy"
    penalty: Penalty = "squared"
    costs: tuple[float, ...] = (1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6)
    fine_costs: int = 29
    fine_decades: float = 2.0
    max_iterations: int = 200
    search_tolerance: float = 1e-3
    tolerance: float = 1e-6
    precision: Literal["float64", "float32"] = "float64"
    memory_budget: int = MEMORY_BUDGET


@dataclass(frozen=True)
class LinearResult:
    """Test scores in [0, 1], the chosen cost, and what a paired comparison needs.

    `cost_on_edge`: the cost is the first or last of the protocol's `costs`. `converged`: every fit of search and refit
    met its tolerance. `correct` (n_test,) bool, `predictions` (n_test,) int64, `validation` the (cost, score) of every
    visited cost in rising order, `fit` the refitted probe.
    """

    accuracy: float
    mean_per_class: float
    cost: float
    cost_on_edge: bool
    converged: bool
    correct: Tensor
    predictions: Tensor
    validation: list[tuple[float, float]]
    fit: LogisticFit


def linear_probe(
    train: LabelledFeatures,
    val: LabelledFeatures,
    test: LabelledFeatures,
    n_classes: int,
    protocol: LinearProtocol = LinearProtocol(),
) -> LinearResult:
    """Choose the cost on `val`, refit on `train` and `val` together, score on `test`.

    The search is that of El Banani et al. (CVPR 2023), two steps: the coarse costs, then a window around the best of
    them (clipped to the coarse range). They bisect the window; all of it is solved here, a superset of what the
    bisection visits. Ties go to the smallest cost. Features are neither normalised nor standardised, as there.

    Raises `UserError` for non-finite features, labels out of range, an empty set, a class without a training example.
    """
    for data, name in ((train, "training set"), (val, "validation set"), (test, "test set")):
        check_examples(data, name, n_classes)
    cost, visited, search_converged = _search(train, val, n_classes, protocol)
    both = [torch.cat([getattr(train, field.name), getattr(val, field.name)]) for field in fields(LabelledFeatures)]
    fit = fit_logistic(*both, n_classes, [cost], precision=protocol.precision, **_solver_options(protocol))
    predictions = (test.features.to(fit.weights) @ fit.weights[0] + fit.biases[0]).argmax(1)
    return LinearResult(
        accuracy=accuracy(predictions, test.labels),
        mean_per_class=mean_per_class_accuracy(predictions, test.labels, n_classes),
        cost=cost,
        cost_on_edge=cost in (min(protocol.costs), max(protocol.costs)),
        converged=search_converged and bool(fit.converged.all()),
        correct=predictions == test.labels,
        predictions=predictions,
        validation=sorted(visited.items()),
        fit=fit,
    )


def _search(
    train: LabelledFeatures, val: LabelledFeatures, n_classes: int, protocol: LinearProtocol
) -> tuple[float, dict[float, float], bool]:
    """The best cost on `val`, the score of every visited cost, and whether every fit converged."""
    check_classes(train.labels, n_classes)
    design = Design.of(train.features, train.labels, n_classes, protocol.precision)
    held_out = design.project(val.features)
    options = _solver_options(protocol) | {"tolerance": protocol.search_tolerance}
    coarse = sorted(protocol.costs)
    solution = solve(design, coarse, **options)
    scores = dict(zip(coarse, _scores(held_out, val.labels, solution, protocol.metric), strict=True))
    fine = _window(_best(scores), coarse, protocol)
    if not fine:
        return _best(scores), scores, bool(solution.converged.all())
    nearest = [min(range(len(coarse)), key=lambda i: abs(math.log(coarse[i] / cost))) for cost in fine]
    start = solution.weights[:, nearest] if protocol.penalty == "squared" else None
    refined = solve(design, fine, **options, start=start)
    scores |= zip(fine, _scores(held_out, val.labels, refined, protocol.metric), strict=True)
    return _best(scores), scores, bool(solution.converged.all() and refined.converged.all())


def _window(centre: float, coarse: list[float], protocol: LinearProtocol) -> list[float]:
    """The second search's costs around `centre` that are inside the coarse range and not in `coarse`."""
    decades = torch.linspace(-protocol.fine_decades, protocol.fine_decades, protocol.fine_costs, dtype=torch.float64)
    costs = [centre * 10**decade for decade in decades.tolist()]
    inside = [cost for cost in costs if coarse[0] < cost < coarse[-1]]
    return [cost for cost in inside if not any(math.isclose(cost, known) for known in coarse)]


def _best(scores: dict[float, float]) -> float:
    """The smallest of the costs of the highest score; scores that differ by rounding are equal."""
    highest = max(scores.values())
    return min(cost for cost, score in scores.items() if score >= highest - 1e-12)


def _scores(features: Tensor, labels: Tensor, solution: Solution, metric: str) -> list[float]:
    predictions = [(features @ weights).argmax(1) for weights in solution.weights.unbind(1)]
    if metric == "accuracy":
        return [accuracy(predicted, labels) for predicted in predictions]
    return [mean_per_class_accuracy(predicted, labels, solution.weights.shape[2]) for predicted in predictions]


def _solver_options(protocol: LinearProtocol) -> dict[str, Any]:
    return {name: getattr(protocol, name) for name in ("penalty", "max_iterations", "tolerance", "memory_budget")}

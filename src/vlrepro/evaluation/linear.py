"""Linear probe: the cost of a logistic regression is chosen on validation, the probe refitted and scored on test."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from vlrepro.evaluation.design import Design
from vlrepro.evaluation.logistic import (
    LabelledFeatures,
    LogisticFit,
    Path,
    check_classes,
    check_examples,
    fit_logistic,
)
from vlrepro.evaluation.metrics import accuracy, mean_per_class_accuracy
from vlrepro.evaluation.newton import Penalty
from vlrepro.evaluation.search import SEARCHES

__all__ = ["LabelledFeatures", "LinearProtocol", "LinearResult", "LogisticFit", "fit_logistic", "linear_probe"]

REVISION = 4  # of the whole probe: also of search.py, logistic.py, newton.py and design.py


@dataclass(frozen=True)
class LinearProtocol:
    """How the cost is searched and the probe fitted.

    `metric` decides between costs. `search` is one of `search.py`. The fits of the search end at `search_tolerance`, an
    estimate that can be far off at a cost so large that the classes separate; the refit that is scored ends at
    `tolerance`, a bound (`fit_logistic`).
    """

    metric: Literal["accuracy", "mean_per_class"] = "accuracy"
    penalty: Penalty = "squared"
    search: Literal["window", "bisection", "grid"] = "window"
    max_iterations: int = 200
    search_tolerance: float = 1e-5
    tolerance: float = 1e-6


@dataclass(frozen=True)
class LinearResult:
    """Test scores in [0, 1], the chosen cost, and what a paired comparison needs.

    `cost_on_edge`: the cost is the first or last of the search's range. `converged`: every fit of search and refit met
    its tolerance. `correct` (n_test,) bool, `predictions` (n_test,) int64, `validation` the (cost, score) of every
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

    El Banani et al. (penalty frobenius, search bisection) and Ericsson et al. (squared, grid) both do; neither
    normalises or standardises features.

    Raises `UserError` for non-finite features, labels out of range, an empty set, a class without a training example.
    """
    for data, name in ((train, "training set"), (val, "validation set"), (test, "test set")):
        check_examples(data, name, n_classes)
    cost, visited, search_converged = _search(train, val, n_classes, protocol)
    both = [torch.cat([getattr(train, field.name), getattr(val, field.name)]) for field in fields(LabelledFeatures)]
    fit = fit_logistic(*both, n_classes, [cost], protocol.penalty, protocol.max_iterations, protocol.tolerance)
    predictions = (test.features.to(fit.weights) @ fit.weights[0] + fit.biases[0]).argmax(1)
    return LinearResult(
        accuracy=accuracy(predictions, test.labels),
        mean_per_class=mean_per_class_accuracy(predictions, test.labels, n_classes),
        cost=cost,
        cost_on_edge=cost in (min(visited), max(visited)),
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
    design = Design.of(train.features, train.labels, n_classes)
    path = Path(design, protocol.penalty, protocol.max_iterations, protocol.search_tolerance, proven=False)
    held_out, visited = design.project(val.features), {}

    def score(cost: float) -> float:
        predictions = (path.at(cost).weights @ held_out).argmax(0)
        visited[cost] = (
            accuracy(predictions, val.labels)
            if protocol.metric == "accuracy"
            else mean_per_class_accuracy(predictions, val.labels, n_classes)
        )
        return visited[cost]

    cost = SEARCHES[protocol.search](score)
    return cost, visited, all(solution.converged for solution in path.solved.values())

"""Time our linear probe beside scikit-learn: the same search for the cost and refit, in one run.

Both visit the same costs on the same features. scikit-learn fits one cost at a time, once as evaluation code usually
calls it (L-BFGS, at most 1,000 iterations, default tolerance) and, with --exact, once by its Newton-CG solver run to
the accuracy of our refit. The last column is the worst (objective - optimum) / optimum over the fits of the search.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch.nn.functional import cross_entropy

from vlrepro.evaluation.design import Design
from vlrepro.evaluation.linear import LabelledFeatures, LinearProtocol, LinearResult, fit_logistic, linear_probe
from vlrepro.evaluation.logistic import Path


def synthetic_features(n: int, dimension: int, classes: int, seed: int) -> LabelledFeatures:
    """Rectified Gaussian classes with a decaying spectrum, (n, dimension) float32: shaped like pooled features."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.Generator().manual_seed(0)
    centres = 0.6 * torch.randn(classes, dimension, generator=shared)
    mixing = torch.linalg.qr(torch.randn(dimension, dimension, generator=shared)).Q
    labels = torch.arange(n) % classes
    scale = torch.arange(1, dimension + 1) ** -0.5
    hidden = (centres[labels] + torch.randn(n, dimension, generator=generator)) * scale
    noisy = torch.where(torch.rand(n, generator=generator) < 0.2, labels.roll(1), labels)
    return LabelledFeatures(torch.relu(3 * hidden @ mixing + 0.3), noisy)


def scikit_learn_fits(train: LabelledFeatures, costs: list[float], **options: object) -> list[LogisticRegression]:
    """One scikit-learn model per cost; warnings of unfinished fits are silenced, as their objective tells."""
    features, labels = train.features.double().numpy(), train.labels.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [LogisticRegression(C=cost, max_iter=1000, **options).fit(features, labels) for cost in costs]


def their_objectives(models: list[LogisticRegression], train: LabelledFeatures, costs: list[float]) -> list[float]:
    """The penalised objective of each of scikit-learn's models at its cost."""
    values = []
    for model, cost in zip(models, costs, strict=True):
        weights, biases = torch.tensor(model.coef_.T), torch.tensor(model.intercept_)
        loss = cross_entropy(train.features.double() @ weights + biases, train.labels)
        values.append((loss + weights.square().sum() / (2 * cost * len(train.labels))).item())
    return values


def our_objectives(train: LabelledFeatures, costs: list[float], classes: int) -> list[float]:
    """The objectives of the fits of our search, which end at an estimate."""
    protocol = LinearProtocol()
    design = Design.of(train.features, train.labels, classes)
    path = Path(design, "squared", protocol.max_iterations, protocol.search_tolerance, proven=False)
    return [path.at(cost).objective for cost in costs]


def worst(values: list[float], optima: list[float]) -> float:
    """The largest (value - optimum) / optimum."""
    return max((value - optimum) / optimum for value, optimum in zip(values, optima, strict=True))


def timed(action: Callable[[], object]) -> tuple[float, object]:
    """Processor seconds, which other programs on the machine disturb less than the clock, and what was returned."""
    start = time.process_time()
    result = action()
    return time.process_time() - start, result


def main() -> None:
    """Print one row a solver: seconds, ratio to ours, chosen cost's accuracy, worst objective."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=550, help="training pictures (a quarter as many validate)")
    parser.add_argument("--dimension", type=int, default=128, help="features a picture")
    parser.add_argument("--classes", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--exact", action="store_true", help="also scikit-learn's Newton-CG at a tight tolerance")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sizes = (options.train, options.train // 4, options.train)
    train, val, test = (synthetic_features(n, options.dimension, options.classes, i) for i, n in enumerate(sizes, 1))
    with threadpool_limits(options.threads):  # waiting threads would count as scikit-learn's processor time
        report(train, val, test, options)


def report(train: LabelledFeatures, val: LabelledFeatures, test: LabelledFeatures, options: argparse.Namespace) -> None:
    """Run every solver on the same costs and print the table."""
    fit_logistic(train.features, train.labels, options.classes, [1.0])  # warm up
    seconds, result = timed(lambda: linear_probe(train, val, test, options.classes))
    assert isinstance(result, LinearResult)
    costs = [cost for cost, _ in result.validation]
    print(f"{len(train.labels)} pictures, {options.dimension} features, {len(costs)} costs and a refit")
    print(f"{'solver':<26}{'CPU s':>9}{'ratio':>8}{'worst objective':>18}")
    optima = fit_logistic(train.features, train.labels, options.classes, costs, tolerance=1e-9).objectives.tolist()
    ours = worst(our_objectives(train, costs, options.classes), optima)
    print(f"{'ours':<26}{seconds:>9.2f}{1:>8.1f}{ours:>18.1e}   test accuracy {result.accuracy:.3f}")
    peers = {"scikit-learn L-BFGS": {}}
    if options.exact:
        peers["scikit-learn Newton-CG"] = {"solver": "newton-cg", "tol": 1e-8}
    both = LabelledFeatures(torch.cat([train.features, val.features]), torch.cat([train.labels, val.labels]))
    for name, settings in peers.items():
        search, models = timed(lambda settings=settings: scikit_learn_fits(train, costs, **settings))
        refit, _ = timed(lambda settings=settings: scikit_learn_fits(both, [result.cost], **settings))
        excess = worst(their_objectives(models, train, costs), optima)
        print(f"{name:<26}{search + refit:>9.2f}{(search + refit) / seconds:>8.1f}{excess:>18.1e}")


if __name__ == "__main__":
    main()

"""The linear probe against scikit-learn and scipy, and the scores against their definitions."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from vlrepro.errors import UserError
from vlrepro.evaluation.design import Design
from vlrepro.evaluation.linear import LabelledFeatures, LinearProtocol, fit_logistic, linear_probe
from vlrepro.evaluation.logistic import Path
from vlrepro.evaluation.metrics import accuracy, mean_per_class_accuracy, per_class_accuracy

COSTS = [1e-4, 1e-2, 1.0, 1e2, 1e4]


def toy(n, d, k, spread=1.0, seed=0, shares=None):
    """n examples of k Gaussian classes in d dimensions, every class present."""
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), generator.choice(k, n - k, p=shares)])
    centres = np.random.default_rng(99).normal(size=(k, d))
    features = 3 + centres[labels] + spread * generator.normal(size=(n, d))
    return torch.tensor(features, dtype=torch.float32), torch.tensor(labels)


def scikit_learn(features, labels, cost):
    model = LogisticRegression(C=cost, solver="newton-cg", tol=1e-10, max_iter=10_000)
    return model.fit(features.double().numpy(), labels.numpy())


def objective(weights, biases, features, labels, cost, penalty="squared"):
    logits = features.double().numpy() @ weights + biases
    cross_entropy = np.mean(logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels.numpy()])
    norm = np.sqrt((weights**2).sum())
    return cross_entropy + (norm / (2 * cost) if penalty == "frobenius" else norm**2 / (2 * cost * len(labels)))


@pytest.mark.parametrize("shape", [(150, 6, 4), (25, 60, 3), (80, 5, 2)], ids=["tall", "wide", "two classes"])
def test_squared_penalty_has_the_optimum_of_scikit_learn(shape):
    features, labels = toy(*shape, spread=2.0)
    fit = fit_logistic(features, labels, shape[2], COSTS, tolerance=1e-9)
    assert fit.converged.all()
    for i, cost in enumerate(COSTS):
        model = scikit_learn(features, labels, cost)
        theirs, biases = model.coef_.T, model.intercept_
        if shape[2] == 2:  # scikit-learn then penalises one vector w; as (-w/2, w/2), half as much: hence 2 C
            model = scikit_learn(features, labels, 2 * cost)
            theirs, biases = np.hstack([-model.coef_.T, model.coef_.T]) / 2, np.tile(model.intercept_, 2) * [-0.5, 0.5]
        expected = objective(theirs, biases, features, labels, cost)
        assert fit.objectives[i].item() == pytest.approx(expected, rel=1e-6)
        ours = objective(fit.weights[i].numpy(), fit.biases[i].numpy(), features, labels, cost)
        assert fit.objectives[i].item() == pytest.approx(ours, rel=1e-9)
        assert np.linalg.norm(fit.weights[i].numpy() - theirs) < 1e-4 * np.linalg.norm(theirs)
        np.testing.assert_allclose(fit.biases[i].numpy(), biases - biases.mean(), atol=2e-3)
        assert fit.biases[i].sum().abs() < 1e-9


@pytest.mark.parametrize("shape", [(60, 4, 3), (12, 20, 3)], ids=["tall", "wide"])
def test_frobenius_penalty_has_the_optimum_of_scipy(shape):
    features, labels = toy(*shape, spread=2.0)
    _, d, k = shape
    costs = [4.0, 30.0, 1e3]
    fit = fit_logistic(features, labels, k, costs, penalty="frobenius", tolerance=1e-9)
    assert fit.converged.all()
    assert (fit.weights.norm(dim=(1, 2)) > 0).all()
    for i, cost in enumerate(costs):

        def value_and_gradient(flat, cost=cost):
            flat = torch.tensor(flat, requires_grad=True)
            weights, biases = flat[: d * k].view(d, k), flat[d * k :]
            logits = features.double() @ weights + biases
            value = torch.nn.functional.cross_entropy(logits, labels) + weights.norm() / (2 * cost)
            return value.item(), torch.autograd.grad(value, flat)[0].numpy()

        start = np.random.default_rng(1).normal(size=d * k + k) * 0.1
        options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 10_000, "maxfun": 100_000}
        theirs = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options).fun
        assert fit.objectives[i].item() == pytest.approx(theirs, rel=1e-6)
        ours = objective(fit.weights[i].numpy(), fit.biases[i].numpy(), features, labels, cost, "frobenius")
        assert fit.objectives[i].item() == pytest.approx(ours, rel=1e-9)


def test_frobenius_weights_are_zero_exactly_below_the_threshold():
    features, labels = toy(90, 5, 3)
    shares = torch.bincount(labels).double() / 90
    gradient = features.double().T @ (shares - torch.nn.functional.one_hot(labels).double()) / 90
    threshold = 0.5 / gradient.norm().item()
    fit = fit_logistic(features, labels, 3, [0.5 * threshold, 0.999 * threshold, 1.001 * threshold], "frobenius")
    assert fit.converged.all()
    assert [(weights != 0).any().item() for weights in fit.weights] == [False, False, True]
    entropy = -(shares * shares.log()).sum().item()
    assert fit.objectives[:2].tolist() == pytest.approx([entropy, entropy])
    assert fit.objectives[2].item() < entropy
    torch.testing.assert_close(fit.biases[0].softmax(0), shares)


@pytest.mark.parametrize("penalty", ["squared", "frobenius"])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 0, 3, 1, 2]], ids=["rising", "mixed"])
def test_a_path_of_costs_is_its_fits_one_by_one(penalty, order):
    features, labels = toy(70, 10, 4, spread=2.0)
    costs = [COSTS[place] for place in order]
    together = fit_logistic(features, labels, 4, costs, penalty, tolerance=1e-10)
    for i, cost in enumerate(costs):
        alone = fit_logistic(features, labels, 4, [cost], penalty, tolerance=1e-10)
        largest = alone.weights[0].abs().max().item()
        torch.testing.assert_close(together.weights[i], alone.weights[0], rtol=1e-4, atol=1e-4 * largest)
        assert together.objectives[i].item() == pytest.approx(alone.objectives[0].item(), rel=1e-9)


def test_a_path_starts_near_the_optimum_between_two_that_it_knows():
    design = Design.of(*toy(150, 8, 4, spread=2.0), 4)
    path = Path(design, "squared", max_iterations=200, tolerance=1e-9)
    for cost in (1e-2, 1e-1, 1.0, 10.0):
        path.at(cost)
    cold = Path(design, "squared", max_iterations=200, tolerance=1e-9).at(0.3)
    warm = path.at(0.3)
    assert warm.iterations < cold.iterations
    assert warm.objective == pytest.approx(cold.objective, rel=1e-9)
    assert path.at(0.3) is warm


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-2, 1e-4, 1e-6]), st.sampled_from(["squared", "frobenius"]))
def test_the_stated_tolerance_is_kept(seed, tolerance, penalty):
    features, labels = toy(40, 6, 3, spread=1.5, seed=seed)
    loose = fit_logistic(features, labels, 3, COSTS, penalty, tolerance=tolerance)
    tight = fit_logistic(features, labels, 3, COSTS, penalty, tolerance=1e-12)
    assert loose.converged.all()
    assert (loose.objectives <= tight.objectives * (1 + tolerance) + 1e-14).all()


@pytest.mark.parametrize("penalty", ["squared", "frobenius"])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_an_estimated_tolerance_is_mostly_kept(tolerance, penalty):
    excess = []
    for seed in range(8):
        design = Design.of(*toy(60, 12, 4, spread=1.5, seed=seed), 4)
        loose, tight = Path(design, penalty, 200, tolerance, proven=False), Path(design, penalty, 200, 1e-12)
        assert all(loose.at(cost).converged for cost in COSTS)
        excess += [loose.at(cost).objective / tight.at(cost).objective - 1 for cost in COSTS]
    assert np.quantile(excess, 0.95) < tolerance
    # At the last cost, 1e4, classes separate and the estimate can be far off; below, where the penalty binds, it holds.
    assert all(value < tolerance for number, value in enumerate(excess) if number % len(COSTS) < len(COSTS) - 1)
    assert max(excess) > 1e-11  # the bound is not what ends these fits


def test_a_small_cost_still_leaves_the_constant_predictor():
    features, labels = toy(60, 5, 3)
    fit = fit_logistic(features * 1e-3, labels, 3, [1e-6])
    theirs = scikit_learn(features.double() * 1e-3, labels, 1e-6).coef_.T
    assert np.linalg.norm(fit.weights[0].numpy() - theirs) < 1e-2 * np.linalg.norm(theirs)


def test_an_unfinished_fit_says_so():
    features, labels = toy(60, 5, 3)
    assert not fit_logistic(features, labels, 3, [1e4], max_iterations=1).converged.any()


def test_an_unfinished_search_says_so_though_the_refit_is_finished():
    data = LabelledFeatures(10 * torch.eye(3).repeat(20, 1), torch.arange(3).repeat(20))
    result = linear_probe(data, data, data, 3, LinearProtocol(max_iterations=2))
    assert result.cost == 1e-6
    assert result.fit.converged.all()
    assert not result.converged


def test_few_iterations_reach_a_strongly_penalised_optimum():
    features, labels = toy(100, 6, 4, spread=2.0)
    fit = fit_logistic(features, labels, 4, [1e-5, 1e-3], tolerance=1e-9)
    assert fit.converged.all()
    assert fit.iterations <= 5


def test_rotated_and_shifted_features_give_the_same_predictions():
    train, val, test = (LabelledFeatures(*toy(80, 6, 3, spread=2.0, seed=seed)) for seed in range(3))
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0))).Q
    turned = [LabelledFeatures(data.features @ rotation + 5, data.labels) for data in (train, val, test)]
    plain, moved = linear_probe(train, val, test, 3), linear_probe(*turned, 3)
    assert plain.cost == moved.cost
    assert (plain.predictions == moved.predictions).float().mean() > 0.98


def oracle_search(train, val, score):
    """The two-step search with one scikit-learn fit a cost."""

    def search(costs):
        scores = {cost: score(scikit_learn(*train, cost), val) for cost in costs}
        return min(scores, key=lambda cost: (-scores[cost], cost)), scores

    coarse, seen = search([1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6])
    window = [coarse * 10 ** (step / 7) for step in range(-14, 15)]
    fine, more = search([cost for cost in window if 0.99e-6 < cost < 1.01e6])
    return fine, seen | more


@pytest.mark.parametrize("metric", ["accuracy", "mean_per_class"])
def test_the_sweep_finds_what_scikit_learn_fits_find(metric):
    shares = [0.7, 0.2, 0.1]
    train, val, test = (toy(n, 8, 3, 2.5, seed, shares) for n, seed in ((60, 0), (90, 1), (90, 2)))

    def score(model, data):
        predicted = model.predict(data[0].double().numpy())
        judge = balanced_accuracy_score if metric == "mean_per_class" else lambda y, p: np.mean(y == p)
        return judge(data[1].numpy(), predicted)

    cost, scores = oracle_search(train, val, score)
    sets = [LabelledFeatures(*data) for data in (train, val, test)]
    result = linear_probe(*sets, 3, LinearProtocol(metric=metric, search_tolerance=1e-8))
    assert result.cost == pytest.approx(cost)
    assert len(result.validation) > 20
    theirs = {round(math.log10(cost), 6): score for cost, score in scores.items()}  # equal up to rounding: one cost
    for (visited, ours), (decade, expected) in zip(result.validation, sorted(theirs.items()), strict=True):
        assert math.log10(visited) == pytest.approx(decade, abs=1e-5)
        assert ours == pytest.approx(expected)
    refit = scikit_learn(torch.cat([train[0], val[0]]), torch.cat([train[1], val[1]]), cost)
    assert result.predictions.tolist() == refit.predict(test[0].double().numpy()).tolist()
    assert result.accuracy == pytest.approx(np.mean(refit.predict(test[0].double().numpy()) == test[1].numpy()))
    balanced = balanced_accuracy_score(test[1].numpy(), result.predictions.numpy())
    assert result.mean_per_class == pytest.approx(balanced)
    assert result.correct.tolist() == (result.predictions == test[1]).tolist()
    assert result.converged
    assert not result.cost_on_edge


def test_ties_go_to_the_smallest_cost_and_an_edge_is_reported():
    features = torch.eye(3).repeat(20, 1) * 10
    data = LabelledFeatures(features, torch.arange(3).repeat(20))
    result = linear_probe(data, data, data, 3)
    assert result.accuracy == 1
    assert result.cost == 1e-6
    assert result.cost_on_edge


@pytest.mark.parametrize(
    "protocol", [LinearProtocol(search="grid"), LinearProtocol("accuracy", "frobenius", "bisection")]
)
def test_the_published_variants_refit_on_validation_too(protocol):
    train, val, test = (LabelledFeatures(*toy(60, 5, 3, spread=2.0, seed=seed)) for seed in range(3))
    result = linear_probe(train, val, test, 3, protocol)
    both = [torch.cat(pair) for pair in ((train.features, val.features), (train.labels, val.labels))]
    fit = fit_logistic(*both, 3, [result.cost], protocol.penalty)
    assert torch.equal(result.fit.weights, fit.weights)
    assert result.validation == sorted(result.validation)
    assert dict(result.validation)[result.cost] == max(score for _, score in result.validation)
    assert (
        result.accuracy
        == ((test.features.double() @ fit.weights[0] + fit.biases[0]).argmax(1) == test.labels).double().mean()
    )


def test_the_refit_is_that_of_scikit_learn():
    train, val, test = (LabelledFeatures(*toy(40, 5, 3, spread=2.0, seed=seed)) for seed in range(3))
    result = linear_probe(train, val, test, 3)
    both = [torch.cat(pair) for pair in ((train.features, val.features), (train.labels, val.labels))]
    theirs = scikit_learn(*both, result.cost).coef_.T
    assert np.linalg.norm(result.fit.weights[0].numpy() - theirs) < 1e-2 * np.linalg.norm(theirs)


GOOD = LabelledFeatures(*toy(30, 4, 3))


def broken_features():
    features = GOOD.features.clone()
    features[[3, 7], 1] = torch.nan
    return LabelledFeatures(features, GOOD.labels)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"train": broken_features()}, "training set: 2 of 30 rows"),
        ({"test": broken_features()}, "test set: 2 of 30 rows"),
        ({"val": replace(GOOD, labels=GOOD.labels + 1)}, "validation set: labels run from 1 to 3"),
        ({"train": replace(GOOD, labels=GOOD.labels.clamp_max(1))}, "no example of class 2 of 3"),
        ({"test": LabelledFeatures(GOOD.features[:0], GOOD.labels[:0])}, "test set.*at least one example"),
        ({"val": replace(GOOD, labels=GOOD.labels[:-1])}, "validation set.*a label each"),
    ],
)
def test_unusable_sets_are_named(sets, message):
    with pytest.raises(UserError, match=message):
        linear_probe(**({"train": GOOD, "val": GOOD, "test": GOOD} | sets), n_classes=3)


@pytest.mark.parametrize("costs", [[], [1.0, 0.0], [-1.0]])
def test_costs_must_be_positive(costs):
    with pytest.raises(UserError, match="above 0"):
        fit_logistic(GOOD.features, GOOD.labels, 3, costs)


def test_scores_of_an_unbalanced_toy():
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 3])
    predictions = torch.tensor([0, 0, 0, 0, 0, 1, 1, 0, 0])
    assert accuracy(predictions, labels) == pytest.approx(6 / 9)
    assert per_class_accuracy(predictions, labels, 4)[[0, 1, 3]].tolist() == pytest.approx([5 / 6, 1 / 2, 0])
    assert per_class_accuracy(predictions, labels, 4)[2].isnan()
    assert mean_per_class_accuracy(predictions, labels, 4) == pytest.approx((5 / 6 + 1 / 2 + 0) / 3)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
def test_mean_per_class_accuracy_is_balanced_accuracy(pairs):
    predictions, labels = torch.tensor(pairs).unbind(1)
    expected = balanced_accuracy_score(labels.numpy(), predictions.numpy())
    assert mean_per_class_accuracy(predictions, labels, 5) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [([0, 1], [0], "same length"), ([], [], "at least one"), ([0, 0], [0, 9], "0 to 2")],
)
def test_unusable_scores_are_refused(predictions, labels, message):
    with pytest.raises(UserError, match=message):
        mean_per_class_accuracy(torch.tensor(predictions), torch.tensor(labels), 3)

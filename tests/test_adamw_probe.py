"""The probe by AdamW against its equations in numpy and against torch's own layer and optimiser."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from vlrepro.errors import UserError
from vlrepro.evaluation.adamw_probe import AdamWProtocol, adamw_probe, cosine_rate, fit_adamw
from vlrepro.evaluation.logistic import LabelledFeatures
from vlrepro.randomness import torch_generator

PROTOCOL = AdamWProtocol(epochs=5, batch_size=16, learning_rate=0.02, weight_decay=0.3, seed=4)


def toy(count, width=6, n_classes=4, seed=0, spread=1.0):
    """Examples of Gaussian classes, in double precision, in mixed order, classes of unequal size."""
    generator = torch_generator(seed, "toy")
    labels = torch.randint(n_classes, (2, count), generator=generator).min(0).values
    labels[:n_classes] = torch.arange(n_classes)
    noise = spread * torch.randn(count, width, generator=generator)
    return LabelledFeatures((3 * torch.eye(width)[labels] + noise).double(), labels)


def drawn(protocol, count, width, n_classes):
    """The start (k, d + 1) and the order of every epoch: what is random, as it is documented to be keyed."""
    start, order = (torch_generator(protocol.seed, "AdamW probe", purpose) for purpose in ("start", "order"))
    uniform = torch.rand(n_classes, width + 1, generator=start, dtype=torch.float64)
    epochs = [torch.randperm(count, generator=order) for _ in range(protocol.epochs)]
    return (2 * uniform - 1) / math.sqrt(width), epochs


def in_numpy(data, n_classes, protocol):
    """AdamW's equations, number by number where they say so: weights (k, d) and biases (k,)."""
    features, labels = data.features.numpy(), data.labels.numpy()
    start, epochs = drawn(protocol, len(labels), features.shape[1], n_classes)
    weights, biases = start[:, :-1].numpy().copy(), start[:, -1].numpy().copy()
    moments = [np.zeros_like(part) for part in (weights, weights, biases, biases)]
    each = math.ceil(len(labels) / protocol.batch_size)
    step = 0
    for epoch in epochs:
        for place in range(each):
            chosen = epoch[place * protocol.batch_size : (place + 1) * protocol.batch_size].numpy()
            slopes_w, slopes_b = np.zeros_like(weights), np.zeros_like(biases)
            for x, y in zip(features[chosen], labels[chosen], strict=True):
                odds = np.exp(weights @ x + biases)
                p = odds / odds.sum()
                for k in range(n_classes):
                    slopes_w[k] += (p[k] - (k == y)) * x / len(chosen)
                    slopes_b[k] += (p[k] - (k == y)) / len(chosen)
            rate = protocol.learning_rate * 0.5 * (1 + math.cos(math.pi * step / (each * protocol.epochs)))
            step += 1
            weights -= rate * protocol.weight_decay * weights
            for part, slopes, at in ((weights, slopes_w, 0), (biases, slopes_b, 2)):
                moments[at] = 0.9 * moments[at] + 0.1 * slopes
                moments[at + 1] = 0.999 * moments[at + 1] + 0.001 * slopes**2
                unbiased, square = moments[at] / (1 - 0.9**step), moments[at + 1] / (1 - 0.999**step)
                part -= rate * unbiased / (np.sqrt(square) + 1e-8)
    return weights, biases


def in_torch(data, n_classes, protocol):
    """The same by autograd and torch's AdamW with two groups of parameters."""
    start, epochs = drawn(protocol, len(data.labels), data.features.shape[1], n_classes)
    layer = torch.nn.Linear(data.features.shape[1], n_classes).double()
    layer.weight.data, layer.bias.data = start[:, :-1].clone(), start[:, -1].clone()
    groups = [
        {"params": [layer.weight], "weight_decay": protocol.weight_decay},
        {"params": [layer.bias], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=protocol.learning_rate)
    steps = protocol.epochs * math.ceil(len(data.labels) / protocol.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for epoch in epochs:
        for chosen in epoch.split(protocol.batch_size):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(layer(data.features[chosen]), data.labels[chosen]).backward()
            optimiser.step()
            schedule.step()
    return layer.weight.detach(), layer.bias.detach()


@pytest.mark.parametrize("count", [50, 48, 9], ids=["a smaller last batch", "whole batches", "less than a batch"])
@pytest.mark.parametrize("oracle", [in_numpy, in_torch])
def test_every_step_is_adamws(oracle, count):
    data = toy(count)
    found = fit_adamw(data, 4, PROTOCOL)
    for ours, theirs in zip(found, oracle(data, 4, PROTOCOL), strict=True):
        torch.testing.assert_close(ours, torch.as_tensor(theirs), rtol=1e-8, atol=1e-9)


def test_single_precision_takes_the_same_way():
    data = toy(50)
    found = fit_adamw(LabelledFeatures(data.features.float(), data.labels), 4, PROTOCOL)
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0].double(), in_torch(data, 4, PROTOCOL)[0], rtol=1e-3, atol=1e-3)


def test_the_rate_falls_along_a_cosine_to_0():
    rates = [cosine_rate(step, 8, 0.005) for step in range(9)]
    assert rates[0] == 0.005
    assert rates[4] == pytest.approx(0.0025)
    assert rates[7] == pytest.approx(0.005 * (1 - math.cos(math.pi / 8)) / 2)  # the last step's
    assert rates[8] == 0
    assert rates == sorted(rates, reverse=True)


def test_weights_decay_and_biases_do_not():
    # All features are 0: the weights have no gradient, so decay is all that moves them; the biases never feel it.
    data = LabelledFeatures(torch.zeros(24, 5, dtype=torch.float64), torch.arange(24) % 3)
    plain, decayed = (AdamWProtocol(epochs=4, batch_size=8, weight_decay=decay) for decay in (0.0, 0.9))
    start = drawn(plain, 24, 5, 3)[0]
    weights, biases = fit_adamw(data, 3, plain)
    assert torch.equal(weights, start[:, :-1])
    less, same = fit_adamw(data, 3, decayed)
    share = math.prod(1 - 0.9 * 0.005 * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(12))
    torch.testing.assert_close(less, share * start[:, :-1])
    assert torch.equal(same, biases)
    assert not torch.equal(biases, start[:, -1])


def test_a_separable_toy_is_learnt():
    train, test = toy(1000, seed=1, spread=0.3), toy(200, seed=2, spread=0.3)
    result = adamw_probe(train, test, 4)
    assert result.accuracy == result.mean_per_class == 1.0
    assert result.correct.all()
    assert torch.equal(result.predictions, test.labels)


def test_scores_are_those_of_the_predictions():
    train, test = toy(80, spread=3.0), toy(60, seed=1, spread=3.0)
    result = adamw_probe(train, test, 4, PROTOCOL)
    logits = test.features.numpy() @ result.weights.numpy().T + result.biases.numpy()
    assert result.predictions.tolist() == logits.argmax(1).tolist()
    assert result.correct.tolist() == [p == y for p, y in zip(result.predictions, test.labels, strict=True)]
    assert result.accuracy == pytest.approx(np.mean(result.correct.numpy()))
    assert result.mean_per_class == pytest.approx(balanced_accuracy_score(test.labels, result.predictions))
    assert result.accuracy != result.mean_per_class


def test_the_seed_and_nothing_else_decides():
    train, test = toy(80, spread=3.0), toy(60, seed=1, spread=3.0)
    torch.manual_seed(1)
    first = adamw_probe(train, test, 4, PROTOCOL)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(adamw_probe(train, test, 4, PROTOCOL).weights, first.weights)
    assert torch.equal(torch.get_rng_state(), state)
    other = adamw_probe(train, test, 4, AdamWProtocol(**{**vars(PROTOCOL), "seed": 5}))
    assert not torch.equal(other.weights, first.weights)


def test_what_cannot_be_probed_is_named():
    train, test = toy(40), toy(20, seed=1)
    broken = train.features.clone()
    broken[3, 0] = float("nan")
    with pytest.raises(UserError, match="training set: 1 of 40 rows of features hold NaN"):
        adamw_probe(LabelledFeatures(broken, train.labels), test, 4)
    with pytest.raises(UserError, match="test set: labels run from"):
        adamw_probe(train, LabelledFeatures(test.features, test.labels + 3), 4)
    with pytest.raises(UserError, match="training set: no example of class 4 of 5"):
        adamw_probe(train, test, 5)
    single = LabelledFeatures(train.features.float(), train.labels)
    for data, rate in ((single, 3e37), (LabelledFeatures(1e30 * single.features, train.labels), 0.005)):
        with pytest.raises(UserError, match="AdamW probe: numbers grow past all bounds: lower its learning_rate"):
            adamw_probe(data, test, 4, AdamWProtocol(learning_rate=rate))


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": -0.1}, {"weight_decay": math.nan}]
)
def test_an_option_without_meaning_is_refused_by_name(wrong):
    with pytest.raises(UserError, match=f"AdamW probe: {next(iter(wrong))} = "):
        AdamWProtocol(**wrong)

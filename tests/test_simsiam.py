"""SimSiam's loss against lightly and a plain loop, its stop-gradient and its heads."""

import numpy as np
import pytest
import torch
from framework_steps import adamw, batch_of, resumed_losses, small_model, train_steps, unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.loss import NegativeCosineSimilarity
from torch import nn

from vlrepro.frameworks.simsiam import Options, negative_cosine

SMALL = {"hidden_width": 8, "output_width": 6, "predictor_width": 4}


def looped(predictions: np.ndarray, projections: np.ndarray) -> float:
    """SimSiam's equations 1 and 2, picture by picture."""
    count, total = len(predictions) // 2, 0.0
    for one in range(count):
        for row, other in ((one, one + count), (one + count, one)):
            p, z = predictions[row], projections[other]
            total -= (p @ z) / (np.linalg.norm(p) * np.linalg.norm(z)) / 2
    return total / count


def test_equals_independent_implementations():
    predictions, projections = torch.randn(14, 5, dtype=torch.float64), torch.randn(14, 5, dtype=torch.float64)
    ours = negative_cosine(predictions, projections).item()
    assert ours == pytest.approx(looped(predictions.numpy(), projections.numpy()), abs=1e-12)
    (p0, p1), (z0, z1), cosine = predictions.chunk(2), projections.chunk(2), NegativeCosineSimilarity()
    assert ours == pytest.approx((cosine(p0, z1) + cosine(p1, z0)).item() / 2, abs=1e-12)


def test_hand_computed_constant():
    # View 0's prediction (3, 4) with view 1's (1, 0): cosine 0.6. View 1's (0, 2) with view 0's (0, -5): cosine -1.
    predictions = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    projections = torch.tensor([[0.0, -5.0], [1.0, 0.0]])
    assert negative_cosine(predictions, projections).item() == pytest.approx(-0.6 / 2 + 1 / 2)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 6), seed=st.integers(0, 2**31), scale=st.floats(0.01, 100))
def test_symmetric_in_views_and_order_and_blind_to_length(count, seed, scale):
    predictions, projections = unit_rows(2 * count, 5, seed), unit_rows(2 * count, 5, seed + 1)
    loss = negative_cosine(predictions, projections)
    assert torch.allclose(loss, negative_cosine(predictions.roll(count, 0), projections.roll(count, 0)))
    assert torch.allclose(loss, negative_cosine(scale * predictions, projections / scale))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    both = torch.cat([order, order + count])
    assert torch.allclose(loss, negative_cosine(predictions[both], projections[both]))


def test_projections_get_no_gradient():
    predictions, projections = (unit_rows(6, 4).requires_grad_() for _ in range(2))
    negative_cosine(predictions, projections).backward()
    assert predictions.grad.abs().sum() > 0
    assert projections.grad is None


def test_gradient_of_the_network_is_that_of_the_predictions_alone():
    # As if each view's target were a number: the definition, with the targets computed beforehand.
    model, batch = small_model("simsiam", **SMALL), batch_of(0)
    parameters = list(model.parameters())
    found = torch.autograd.grad(model(batch).loss, parameters)
    z0, z1 = model.projector(model.backbone(torch.cat(batch.views))).chunk(2)
    p0, p1 = model.predictor(torch.cat([z0, z1])).chunk(2)
    cosine = NegativeCosineSimilarity()
    expected = torch.autograd.grad((cosine(p0, z1.detach()) + cosine(p1, z0.detach())) / 2, parameters)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_heads_are_the_code_bases():
    options = Options()
    assert (options.hidden_width, options.hidden_layers, options.output_width) == (2048, 2, 2048)
    model = small_model("simsiam", **SMALL)
    linears = [layer for layer in model.projector if isinstance(layer, nn.Linear)]
    assert [layer.weight.shape for layer in linears] == [(8, 32), (8, 8), (6, 8)]
    assert model.projector[-1].weight.shape == (6,)
    assert [layer.weight.shape for layer in model.predictor if isinstance(layer, nn.Linear)] == [(4, 6), (6, 4)]
    biases = [layer.bias for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert biases == [None] * 5
    plain = small_model("simsiam", **SMALL, final_norm_affine=False)
    assert plain.projector[-1].weight is None


def test_framework_trains():
    model = small_model("simsiam", **SMALL)
    losses = train_steps(model, adamw(model), range(1))
    assert -1 <= losses[0] <= 1
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    # The projector ends in a BatchNorm, so at the start its rows cannot be all alike.
    assert 0.5 < model(batch_of(1)).logs["spread"] < 1.5


def test_state_dict_continues_with_the_same_losses():
    unbroken, resumed = resumed_losses("simsiam", range(2), range(2, 4), **SMALL)
    assert resumed == unbroken

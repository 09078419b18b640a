"""HN-NCE against loops, its laws, and what it refuses."""

import math

import pytest
import torch
from framework_steps import unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, build_framework
from vlrepro.frameworks.clip_hard_negatives import hn_nce
from vlrepro.models.backbones import build_backbone

SENTENCES = {"text_tower": {"name": "sentence", "width": 5}, "joint_width": 6}


def looped(similarities, own, alpha, beta):
    """The formula, row by row, with nothing taken out of the exponents."""
    total, columns = 0.0, similarities.shape[1]
    for row, positive in zip(similarities.tolist(), own.tolist(), strict=True):
        others = [j for j in range(columns) if j != positive]
        norm = sum(math.exp(beta * row[k]) for k in others)
        weights = {j: (columns - 1) * math.exp(beta * row[j]) / norm for j in others}
        assert sum(weights.values()) == pytest.approx(columns - 1)
        below = alpha * math.exp(row[positive]) + sum(weights[j] * math.exp(row[j]) for j in others)
        total -= math.log(math.exp(row[positive]) / below)
    return total / len(own)


@settings(deadline=None)
@given(st.floats(0.05, 1.0), st.floats(0.0, 2.0), st.floats(0.5, 20.0))
def test_equals_the_formula(alpha, beta, scale):
    similarities, own = scale * unit_rows(6, 4) @ unit_rows(9, 4).T, torch.tensor([3, 4, 5, 6, 7, 8])
    ours = hn_nce(similarities, own, alpha, beta).item()
    assert ours == pytest.approx(looped(similarities, own, alpha, beta), rel=1e-9, abs=1e-9)


def test_is_cross_entropy_at_one_and_zero():
    similarities, own = (30 * unit_rows(7, 5) @ unit_rows(7, 5).T).requires_grad_(), torch.arange(7)
    ours, theirs = hn_nce(similarities, own, 1.0, 0.0), cross_entropy(similarities, own)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)
    gradients = [torch.autograd.grad(loss, similarities)[0] for loss in (ours, theirs)]
    assert torch.allclose(*gradients, atol=1e-12)


def test_equal_negatives_weigh_the_same_whatever_beta():
    similarities, own = torch.full((4, 4), 0.3, dtype=torch.float64), torch.arange(4)
    losses = [hn_nce(similarities, own, 1.0, beta).item() for beta in (0.0, 0.5, 3.0)]
    assert losses == pytest.approx([math.log(4)] * 3, abs=1e-12)


def test_harder_weights_raise_the_loss_and_great_scales_stay_finite():
    similarities, own = 100 * unit_rows(8, 3) @ unit_rows(8, 3).T, torch.arange(8)
    losses = [hn_nce(similarities, own, 1.0, beta).item() for beta in (0.0, 0.25, 1.0, 4.0)]
    assert losses == sorted(losses)
    assert all(map(math.isfinite, losses))


def test_the_framework_takes_the_mean_of_both_directions():
    torch.manual_seed(0)
    model = build_framework("clip_hard_negatives", build_backbone("resnet_small", width=4), {**SENTENCES, "beta": 0.5})
    batch = Batch((torch.randn(6, 3, 16, 16),), torch.randn(6, 5), 0)
    pictures, texts = model.encode(batch)
    similarities, own = model.captions.log_scale.exp() * pictures @ texts.T, torch.arange(6)
    expected = (hn_nce(similarities, own, 1.0, 0.5) + hn_nce(similarities.T, own, 1.0, 0.5)) / 2
    assert model(batch).loss.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"alpha": 1.1}, {"beta": -0.1}, {"beta": math.nan}])
def test_settings_that_cannot_be_are_refused(options):
    with pytest.raises(UserError, match="0 < alpha <= 1 and beta >= 0"):
        build_framework("clip_hard_negatives", build_backbone("resnet_small", width=4), {**SENTENCES, **options})


def test_a_batch_of_one_is_refused():
    with pytest.raises(UserError, match="a batch of one has no negatives"):
        hn_nce(torch.ones(1, 1), torch.tensor([0]), 1.0, 0.5)

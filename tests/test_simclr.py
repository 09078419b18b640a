"""NT-Xent against three independent spellings of it, and its laws."""

import math

import numpy as np
import pytest
import torch
from framework_steps import adamw, batch_of, resumed_losses, small_model, train_steps, unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.loss import NTXentLoss
from pytorch_metric_learning.losses import NTXentLoss as MetricNTXent
from pytorch_metric_learning.losses import SelfSupervisedLoss
from torch.nn.functional import normalize

from vlrepro.errors import UserError
from vlrepro.frameworks import build_framework
from vlrepro.frameworks.simclr import nt_xent, spread
from vlrepro.models.backbones import build_backbone


def looped(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    """SimCLR's equation 1, anchor by anchor."""
    rows, count = np.concatenate([first, second]), len(first)
    total = 0.0
    for anchor in range(2 * count):
        scores = [math.exp(rows[anchor] @ rows[other] / temperature) for other in range(2 * count) if other != anchor]
        positive = math.exp(rows[anchor] @ rows[(anchor + count) % (2 * count)] / temperature)
        total -= math.log(positive / sum(scores))
    return total / (2 * count)


@pytest.mark.parametrize("temperature", [0.07, 0.1, 0.5])
def test_equals_independent_implementations(temperature):
    first, second = unit_rows(12, 16), unit_rows(12, 16)
    ours = nt_xent(first, second, temperature)[0].item()
    assert ours == pytest.approx(looped(first.numpy(), second.numpy(), temperature), abs=1e-9)
    assert ours == pytest.approx(NTXentLoss(temperature)(first, second).item(), abs=1e-6)
    metric = SelfSupervisedLoss(MetricNTXent(temperature))(first, second).item()
    assert ours == pytest.approx(metric, abs=1e-6)


def test_gradients_equal_lightly():
    # lightly normalises its input itself, so both are differentiated through the normalisation.
    first, second = (unit_rows(8, 6).requires_grad_() for _ in range(2))
    ours = torch.autograd.grad(nt_xent(normalize(first, dim=1), normalize(second, dim=1), 0.1)[0], [first, second])
    theirs = torch.autograd.grad(NTXentLoss(0.1)(first, second), [first, second])
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_hand_computed_constant():
    # Orthonormal pairs at temperature 1: each anchor has its positive at e and 2 B - 2 = 6 others at 1.
    eye = torch.eye(4, dtype=torch.float64)
    assert nt_xent(eye, eye, 1.0)[0].item() == pytest.approx(math.log((math.e + 6) / math.e), abs=1e-12)
    # All rows alike: every one of the 2 B - 1 candidates is equally likely.
    same = torch.ones(4, 1, dtype=torch.float64)
    assert nt_xent(same, same, 0.1)[0].item() == pytest.approx(math.log(7), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_temperature_stays_finite(dtype):
    first, second = unit_rows(8, 8).to(dtype), unit_rows(8, 8).to(dtype)
    assert torch.isfinite(nt_xent(first, second, 0.01)[0])


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 9), seed=st.integers(0, 2**31))
def test_symmetric_in_views_and_order(count, seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = (
        normalize(torch.randn(count, 5, generator=generator, dtype=torch.float64), dim=1) for _ in range(2)
    )
    order = torch.randperm(count, generator=generator)
    loss = nt_xent(first, second, 0.2)[0]
    assert torch.allclose(loss, nt_xent(second, first, 0.2)[0])
    assert torch.allclose(loss, nt_xent(first[order], second[order], 0.2)[0])


def test_accuracy_counts_anchors_whose_positive_is_nearest():
    first = torch.eye(4)
    assert nt_xent(first, first, 0.1)[1].item() == 1.0
    assert nt_xent(first, first.roll(1, 0), 0.1)[1].item() == 0.0


def test_masking_hides_nothing_from_the_gradient():
    rows = [unit_rows(3, 4).requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(lambda first, second: nt_xent(first, second, 0.3)[0], rows)


def test_forward_is_the_loss_of_both_views():
    model = small_model("simclr", hidden_width=8, output_width=4, temperature=0.2)
    batch = batch_of(0)
    result = model(batch)
    rows = model.head(model.backbone(torch.cat(batch.views))).detach()
    assert result.loss.item() == pytest.approx(NTXentLoss(0.2)(*rows.chunk(2)).item(), abs=1e-5)
    assert set(result.logs) == {"contrast_accuracy", "spread"}


def test_spread_tells_collapse():
    assert spread(unit_rows(4000, 32)) == pytest.approx(1, abs=0.05)
    assert spread(unit_rows(1, 32).expand(10, -1)) == pytest.approx(0, abs=1e-9)


def test_framework_trains_and_refuses_unknown_options():
    model = small_model("simclr", hidden_width=8, output_width=4)
    losses = train_steps(model, adamw(model), range(1))
    assert math.isfinite(losses[0])
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    with pytest.raises(UserError, match="no option 'temprature'"):
        small_model("simclr", temprature=0.1)
    with pytest.raises(UserError, match="framework 'simclear' has no file"):
        build_framework("simclear", build_backbone("resnet_small", width=4), {})


def test_state_dict_continues_with_the_same_losses():
    unbroken, resumed = resumed_losses("simclr", range(2), range(2, 4), hidden_width=8, output_width=4)
    assert resumed == unbroken


def test_untrained_has_no_loss():
    with pytest.raises(UserError, match="steps to 0"):
        small_model("untrained")(batch_of(0))

"""NNCLR's three losses against independent spellings, the order of look-up and entry, and its state."""

import math

import numpy as np
import pytest
import torch
from framework_steps import adamw, batch_of, resumed_losses, small_model, train_steps, unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.loss import NTXentLoss
from pytorch_metric_learning.losses import NTXentLoss as MetricNTXent
from torch.nn.functional import normalize

from vlrepro.errors import UserError
from vlrepro.frameworks.nnclr import VARIANTS, Options, nnclr_loss

SMALL = {"hidden_width": 8, "output_width": 6, "predictor_width": 10, "queue_size": 20}


def looped(queries: np.ndarray, keys: np.ndarray, temperature: float) -> float:
    """Mean over queries of the cross entropy of its own key among all keys, term by term."""
    total = 0.0
    for own, query in enumerate(queries):
        scores = [math.exp(query @ key / temperature) for key in keys]
        total -= math.log(scores[own] / sum(scores))
    return total / len(queries)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_equals_independent_implementations(temperature):
    neighbours, predictions = unit_rows(12, 16), unit_rows(12, 16)
    labels = torch.arange(12)

    def metric(queries, keys):
        # A copy of the labels: given the same tensor twice, the library leaves every row's own pair out.
        return MetricNTXent(temperature)(queries, labels, ref_emb=keys, ref_labels=labels.clone()).item()

    paper, lgssl, full = (nnclr_loss(neighbours, predictions, temperature, name)[0].item() for name in VARIANTS)
    assert paper == pytest.approx(looped(neighbours.numpy(), predictions.numpy(), temperature), abs=1e-9)
    assert paper == pytest.approx(metric(neighbours, predictions), abs=1e-6)
    assert lgssl == pytest.approx(looped(predictions.numpy(), neighbours.numpy(), temperature), abs=1e-9)
    assert lgssl == pytest.approx(metric(predictions, neighbours), abs=1e-6)
    assert full == pytest.approx(NTXentLoss(temperature)(neighbours, predictions).item(), abs=1e-6)


def test_hand_computed_constants():
    # Neighbours and predictions in two dimensions whose products are 0 or 1, at temperature 1.
    neighbours = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    predictions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    one, two = math.log(math.e + 2), math.log(2 * math.e + 1)  # own row of scores: one or two of three are 1
    paper = ((one - 1) + (two - 1) + one) / 3
    lgssl = ((two - 1) + (one - 1) + one) / 3
    assert nnclr_loss(neighbours, predictions, 1.0, "paper")[0].item() == pytest.approx(paper, abs=1e-12)
    assert nnclr_loss(neighbours, predictions, 1.0, "lgssl")[0].item() == pytest.approx(lgssl, abs=1e-12)
    # All rows alike: 3 candidates in the paper's and the code base's loss, 2 B - 1 = 5 in NT-Xent.
    same = torch.ones(3, 1, dtype=torch.float64)
    candidates = [math.exp(nnclr_loss(same, same, 0.1, variant)[0].item()) for variant in VARIANTS]
    assert candidates == pytest.approx([3, 3, 5])


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 8), seed=st.integers(0, 2**31))
def test_laws_of_the_variants(count, seed):
    neighbours, predictions = unit_rows(count, 5, seed), unit_rows(count, 5, seed + 1)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    losses = {name: nnclr_loss(neighbours, predictions, 0.2, name)[0] for name in VARIANTS}
    for name, loss in losses.items():
        assert torch.allclose(loss, nnclr_loss(neighbours[order], predictions[order], 0.2, name)[0])
    assert torch.allclose(losses["lgssl"], nnclr_loss(predictions, neighbours, 0.2, "paper")[0])
    # More candidates for the same anchors: NT-Xent is above the mean of the two one-sided losses.
    assert losses["full"] > (losses["paper"] + losses["lgssl"]) / 2


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_temperature_stays_finite(variant, dtype):
    assert torch.isfinite(nnclr_loss(unit_rows(8, 8).to(dtype), unit_rows(8, 8).to(dtype), 0.01, variant)[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_forward_crosses_the_views(variant):
    model = small_model("nnclr", **SMALL, variant=variant, temperature=0.3)
    model.queue.enqueue(unit_rows(20, 6))
    before, batch = model.queue.rows.clone(), batch_of(0)
    step = model(batch)
    z = normalize(model.projector(model.backbone(torch.cat(batch.views))), dim=1).detach()
    p0, p1 = (
        normalize(model.predictor(model.projector(model.backbone(torch.cat(batch.views)))), dim=1).detach().chunk(2)
    )
    n0, n1 = before[torch.cdist(z, before).argmin(1)].chunk(2)
    spelled = {
        "paper": lambda n, p: looped(n.numpy(), p.numpy(), 0.3),
        "lgssl": lambda n, p: looped(p.numpy(), n.numpy(), 0.3),
        "full": lambda n, p: NTXentLoss(0.3)(n, p).item(),
    }[variant]
    assert step.loss.item() == pytest.approx((spelled(n0, p1) + spelled(n1, p0)) / 2, abs=1e-5)
    assert step.logs["real_neighbours"] == 1.0


def test_view_1_enters_and_view_0_does_not():
    model, batch = small_model("nnclr", **SMALL), batch_of(0)
    model(batch)
    z = normalize(model.projector(model.backbone(torch.cat(batch.views))), dim=1).detach()
    assert torch.allclose(model.queue.rows[:8], z[8:], atol=1e-6)
    assert model.queue.entered == 8


def test_no_row_finds_itself():
    # Had the batch entered first, all of view 1 would have a neighbour of cosine 1 and count as real.
    model = small_model("nnclr", **SMALL)
    assert model(batch_of(0)).logs["real_neighbours"] == 0.0
    again = model(batch_of(0)).logs["real_neighbours"]
    assert again >= 0.5  # view 1's own rows of the step before are in the queue now


def test_gradient_flows_through_predictions_alone():
    neighbours, predictions = (unit_rows(5, 4).requires_grad_() for _ in range(2))
    for variant in VARIANTS:
        loss, accuracy = nnclr_loss(neighbours, predictions, 0.1, variant)
        assert torch.autograd.grad(loss, predictions)[0].abs().sum() > 0
        assert not accuracy.requires_grad
    model = small_model("nnclr", **SMALL)
    losses = train_steps(model, adamw(model), range(1))
    assert math.isfinite(losses[0])
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert not model.queue.rows.requires_grad


def test_accuracy_counts_rows_whose_counterpart_is_nearest():
    eye = torch.eye(4)
    for variant in VARIANTS:
        assert nnclr_loss(eye, eye, 0.1, variant)[1].item() == 1.0
        assert nnclr_loss(eye, eye.roll(1, 0), 0.1, variant)[1].item() == 0.0


def test_defaults_are_the_code_bases_heads():
    options = Options()
    assert (options.hidden_width, options.hidden_layers, options.output_width) == (2048, 2, 256)
    assert (options.predictor_width, options.queue_size, options.temperature) == (4096, 16384, 0.1)


def test_refuses_unknown_variants():
    with pytest.raises(UserError, match="no variant 'papr': choose one of paper, lgssl, full"):
        small_model("nnclr", variant="papr")


def test_state_dict_continues_with_the_same_losses():
    # 3 batches of 8 in a queue of 20: it has wrapped around when training stops.
    unbroken, resumed = resumed_losses("nnclr", range(3), range(3, 6), **SMALL)
    assert resumed == unbroken

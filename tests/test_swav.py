"""SwAV's assignment and losses against independent spellings, its prototypes and its queue."""

import math

import numpy as np
import pytest
import torch
from framework_steps import adamw, batch_of, resumed_losses, small_model, train_steps, unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.loss import SwaVLoss
from lightly.loss.swav_loss import sinkhorn as lightly_sinkhorn
from torch.nn.functional import normalize

from vlrepro.errors import UserError
from vlrepro.frameworks.swav import VARIANTS, Options, sinkhorn, swav_loss

SMALL = {"hidden_width": 8, "output_width": 6, "prototypes": 5, "freeze_steps": 2, "queue_size": 20, "queue_start": 1}


def looped_sinkhorn(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """Sinkhorn-Knopp with every sum written out."""
    codes = np.exp(scores / epsilon)
    rows, columns = codes.shape
    for _ in range(iterations):
        for k in range(columns):
            codes[:, k] *= rows / columns / sum(codes[i, k] for i in range(rows))
        for i in range(rows):
            codes[i] /= sum(codes[i, k] for k in range(columns))
    return codes


def looped_loss(scores: np.ndarray, codes: np.ndarray, temperature: float, variant: str) -> float:
    """The cross entropy of codes under a softmax over prototypes or over the batch, term by term."""
    powers, total = np.exp(scores / temperature), 0.0
    for i in range(len(scores)):
        for k in range(scores.shape[1]):
            among = powers[i] if variant == "official" else powers[:, k]
            total -= codes[i, k] * math.log(powers[i, k] / sum(among))
    return total / len(scores)


def cosines(rows: int, prototypes: int, seed: int | None = None) -> torch.Tensor:
    return unit_rows(rows, 6, seed) @ unit_rows(prototypes, 6, None if seed is None else seed + 1).T


@pytest.mark.parametrize(("rows", "prototypes"), [(12, 5), (4, 9)])
def test_sinkhorn_equals_independent_implementations(rows, prototypes):
    scores = cosines(rows, prototypes)
    ours = sinkhorn(scores, 0.05, 3)
    assert np.allclose(ours, looped_sinkhorn(scores.numpy(), 0.05, 3), atol=1e-12)
    assert torch.allclose(ours, lightly_sinkhorn(scores, 3, 0.05), atol=1e-12)


def test_sinkhorn_by_hand():
    # exp(scores / epsilon) = [[3, 1], [1, 1]]: columns to sum 1 gives [[3/4, 1/2], [1/4, 1/2]], rows to sum 1 then
    # [[3/5, 2/5], [1/3, 2/3]].
    scores = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[3 / 5, 2 / 5], [1 / 3, 2 / 3]], dtype=torch.float64)
    assert torch.allclose(sinkhorn(scores, 1.0, 1), expected, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(2, 12), prototypes=st.integers(2, 8), seed=st.integers(0, 2**31))
def test_sinkhorn_marginals_and_order(rows, prototypes, seed):
    scores = cosines(rows, prototypes, seed)
    codes = sinkhorn(scores, 0.5, 3)
    assert torch.allclose(codes.sum(1), torch.ones(rows, dtype=codes.dtype))
    even = torch.full((prototypes,), rows / prototypes, dtype=codes.dtype)
    assert torch.allclose(sinkhorn(scores, 0.5, 300).sum(0), even, rtol=1e-3)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(sinkhorn(scores[order], 0.5, 3), codes[order])
    # What is added to a whole column is divided out again; what is added to a whole row is not: see the even start.
    assert torch.allclose(sinkhorn(scores + torch.arange(prototypes), 0.5, 3), codes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sinkhorn_stays_finite_where_exponentials_do_not(dtype):
    scores = (20 * cosines(16, 8)).to(dtype)
    codes = sinkhorn(scores, 0.01, 3)
    assert not torch.isfinite(lightly_sinkhorn(scores.float(), 3, 0.01)).all()
    logarithms = scores.double() / 0.01
    for _ in range(3):
        logarithms = logarithms.log_softmax(0).log_softmax(1)
    assert codes.dtype == torch.float32
    assert torch.allclose(codes.double(), logarithms.exp(), atol=1e-3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_loss_equals_a_loop(variant):
    scores, codes = cosines(9, 7), sinkhorn(cosines(9, 7), 0.05, 3)
    ours = swav_loss(scores, codes, 0.1, variant).item()
    assert ours == pytest.approx(looped_loss(scores.numpy(), codes.numpy(), 0.1, variant), abs=1e-9)


@pytest.mark.parametrize("queued", [False, True])
def test_official_equals_lightly(queued):
    scores = [cosines(8, 5) for _ in range(2)]
    queues = [cosines(10, 5) for _ in range(2)] if queued else None
    joint = [torch.cat(pair) for pair in zip(scores, queues, strict=True)] if queues else scores
    codes = [sinkhorn(both, 0.05, 3)[:8] for both in joint]
    ours = (swav_loss(scores[1], codes[0], 0.1, "official") + swav_loss(scores[0], codes[1], 0.1, "official")) / 2
    assert ours.item() == pytest.approx(SwaVLoss()(scores, [], queues).item(), abs=1e-6)


def test_hand_computed_constants():
    # Uniform scores: ln K over prototypes, ln B over the batch, whatever the codes.
    scores, codes = torch.zeros(3, 5), torch.eye(5)[:3]
    assert swav_loss(scores, codes, 0.1, "official").item() == pytest.approx(math.log(5))
    assert swav_loss(scores, codes, 0.1, "lgssl").item() == pytest.approx(math.log(3))
    # One row of scores (ln 3, 0) at temperature 1 and codes (1/2, 1/2): -(ln 3/4 + ln 1/4) / 2 over prototypes. Over
    # a batch of one every share is 1.
    row, half = torch.tensor([[math.log(3), 0.0]]), torch.tensor([[0.5, 0.5]])
    assert swav_loss(row, half, 1.0, "official").item() == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4)) / 2)
    assert swav_loss(row, half, 1.0, "lgssl").item() == pytest.approx(0)


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(2, 8), prototypes=st.integers(2, 8), seed=st.integers(0, 2**31))
def test_laws_of_the_losses(rows, prototypes, seed):
    scores = cosines(rows, prototypes, seed)
    codes = sinkhorn(cosines(rows, prototypes, seed + 2), 0.05, 3)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    for variant in VARIANTS:
        loss = swav_loss(scores, codes, 0.1, variant)
        assert torch.allclose(loss, swav_loss(scores[order], codes[order], 0.1, variant))
    # Each is blind to what is added along its own axis, and to that alone.
    raised = scores + torch.arange(rows)[:, None]
    official = swav_loss(scores, codes, 0.1, "official")
    assert torch.allclose(swav_loss(raised, codes, 0.1, "official"), official)
    raised = scores + torch.arange(prototypes)
    assert torch.allclose(swav_loss(raised, codes, 0.1, "lgssl"), swav_loss(scores, codes, 0.1, "lgssl"))


def test_a_pictures_term_depends_on_other_pictures_only_over_the_batch():
    scores, codes = cosines(4, 5), sinkhorn(cosines(4, 5), 0.05, 3)
    alone = codes * torch.tensor([1.0, 0, 0, 0])[:, None]  # the other pictures' terms have weight 0
    moved = scores.clone()
    moved[2] = scores[2].flip(0)
    change = {name: swav_loss(moved, alone, 0.1, name) - swav_loss(scores, alone, 0.1, name) for name in VARIANTS}
    assert change["official"].abs() < 1e-12
    assert change["lgssl"].abs() > 1e-9


@pytest.mark.parametrize("variant", VARIANTS)
def test_low_temperature_stays_finite(variant):
    assert torch.isfinite(swav_loss(cosines(8, 5).float(), sinkhorn(cosines(8, 5), 0.05, 3).float(), 0.01, variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_forward_swaps_the_views(variant):
    model = small_model("swav", **{**SMALL, "variant": variant, "temperature": 0.3, "queue_size": 8})
    for queue in model.queues:
        queue.enqueue(unit_rows(8, 6))
    batch = batch_of(0)
    queued = [(queue.rows @ model.prototypes.weight.T).detach() for queue in model.queues]
    loss = model(batch).loss.item()
    rows = normalize(model.head(model.backbone(torch.cat(batch.views))), dim=1)
    scores = [part.detach() for part in model.prototypes(rows).chunk(2)]
    codes = [lightly_sinkhorn(torch.cat(pair))[:8] for pair in zip(scores, queued, strict=True)]
    terms = [looped_loss(scores[1 - view].numpy(), codes[view].numpy(), 0.3, variant) for view in (0, 1)]
    assert loss == pytest.approx(sum(terms) / 2, abs=1e-5)


def test_frozen_prototypes_stand_still_under_weight_decay():
    model = small_model("swav", **SMALL)
    optimiser, start = adamw(model), model.prototypes.weight.clone()
    train_steps(model, optimiser, range(2))
    assert model.prototypes.weight.grad is None
    assert torch.equal(model.prototypes.weight, start)
    train_steps(model, optimiser, range(2, 3))
    assert not torch.allclose(model.prototypes.weight, start, atol=1e-4)


def test_prototypes_are_unit_rows_without_bias_in_every_step():
    model = small_model("swav", **SMALL)
    assert model.prototypes.bias is None
    assert torch.allclose(model.prototypes.weight.norm(dim=1), torch.ones(5))
    with torch.no_grad():
        model.prototypes.weight.mul_(3)
    loss = model(batch_of(2)).loss
    assert torch.allclose(model.prototypes.weight.norm(dim=1), torch.ones(5))
    assert torch.autograd.grad(loss, model.prototypes.weight)[0].abs().sum() > 0


def test_codes_have_no_gradient():
    scores = cosines(4, 5).requires_grad_()
    assert not sinkhorn(scores, 0.05, 3).requires_grad
    model = small_model("swav", **{**SMALL, "freeze_steps": 0})
    train_steps(model, adamw(model), range(1))
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_queue_fills_from_its_first_step_and_serves_once_full():
    with_queue, without = small_model("swav", **SMALL), small_model("swav", **{**SMALL, "queue_size": 0})
    entered, same = [], []
    for step in range(6):
        batch = batch_of(step)
        same.append(with_queue(batch).loss.item() == without(batch).loss.item())
        entered.append([queue.entered.item() for queue in with_queue.queues])
    # 8 rows a view from step 1 on; 24 > 20 after step 3, so step 4 is the first that the queue takes part in.
    assert entered == [[0, 0], [8, 8], [16, 16], [24, 24], [32, 32], [40, 40]]
    assert same == [True] * 4 + [False] * 2
    assert not torch.allclose(with_queue.queues[0].rows, with_queue.queues[1].rows)


def test_logs_tell_hard_and_collapsed_assignments():
    model = small_model("swav", **{**SMALL, "sinkhorn_epsilon": 100.0})
    logs = model(batch_of(0)).logs
    assert logs["code_entropy"] == pytest.approx(1, abs=1e-3)
    assert 0.2 <= logs["prototypes_used"] <= 1
    with torch.no_grad():
        model.head[-1].weight.zero_()  # every projection is the same
    assert model(batch_of(0)).logs["prototypes_used"] == pytest.approx(1 / 5)
    model = small_model("swav", **{**SMALL, "sinkhorn_epsilon": 1e-4})
    assert model(batch_of(0)).logs["code_entropy"] < 0.2


def test_defaults_are_the_code_bases():
    options = Options()
    assert (options.hidden_width, options.hidden_layers, options.output_width) == (2048, 1, 128)
    assert (options.prototypes, options.freeze_steps) == (3000, 2503)
    assert (options.queue_size, options.queue_start) == (7680, 37500)
    assert (options.temperature, options.sinkhorn_epsilon, options.sinkhorn_iterations) == (0.1, 0.05, 3)


def test_refuses_unknown_variants():
    with pytest.raises(UserError, match="no variant 'batch': choose one of official, lgssl"):
        small_model("swav", variant="batch")


@pytest.mark.parametrize("variant", VARIANTS)
def test_state_dict_continues_with_the_same_losses(variant):
    unbroken, resumed = resumed_losses("swav", range(4), range(4, 7), **SMALL, variant=variant)
    assert resumed == unbroken


def test_one_prototype_tells_nothing_apart():
    with pytest.raises(UserError, match="1 prototypes tell nothing apart"):
        Options(prototypes=1)

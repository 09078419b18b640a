"""CLIP's loss against open_clip's and a loop, and its laws; what its framework reads, learns and refuses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip import ClipLoss
from torch.nn.functional import normalize

from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, build_framework
from vlrepro.frameworks.clip import caption_accuracy, clip_loss
from vlrepro.models.backbones import build_backbone

SENTENCES = {"text_tower": {"name": "sentence", "width": 5}, "joint_width": 6}


def unit_rows(count: int, width: int) -> torch.Tensor:
    """Fresh random unit rows in double precision: no seed, so every run tries other numbers."""
    return normalize(torch.randn(count, width, dtype=torch.float64), dim=1)


def looped(pictures: np.ndarray, texts: np.ndarray, scale: float) -> float:
    """The symmetric loss, pair by pair."""
    total, count = 0.0, len(pictures)
    for own in range(count):
        positive = math.exp(scale * pictures[own] @ texts[own])
        total -= math.log(positive / sum(math.exp(scale * pictures[own] @ text) for text in texts))
        total -= math.log(positive / sum(math.exp(scale * picture @ texts[own]) for picture in pictures))
    return total / (2 * count)


@pytest.mark.parametrize("scale", [1.0, 1 / 0.07, 100.0])
def test_equals_independent_implementations(scale):
    pictures, texts = unit_rows(12, 16), unit_rows(12, 16)
    ours = clip_loss(pictures, texts, scale)[0].item()
    assert ours == pytest.approx(looped(pictures.numpy(), texts.numpy(), scale), abs=1e-9)
    assert ours == pytest.approx(ClipLoss()(pictures, texts, scale).item(), abs=1e-9)


def test_gradients_equal_open_clip():
    inputs = [unit_rows(8, 6).requires_grad_(), unit_rows(8, 6).requires_grad_(), torch.tensor(9.0).requires_grad_()]
    ours = torch.autograd.grad(clip_loss(*inputs)[0], inputs)
    theirs = torch.autograd.grad(ClipLoss()(*inputs), inputs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-9)


def test_hand_computed_constants():
    # Orthonormal pairs at scale 1: each has its own at e and 3 others at 1.
    eye = torch.eye(4, dtype=torch.float64)
    assert clip_loss(eye, eye, 1.0)[0].item() == pytest.approx(math.log((math.e + 3) / math.e), abs=1e-12)
    # All alike: each of 4 is equally likely, whatever the scale.
    same = torch.ones(4, 1, dtype=torch.float64)
    assert clip_loss(same, same, 50.0)[0].item() == pytest.approx(math.log(4), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 9), seed=st.integers(0, 2**31))
def test_symmetric_in_sides_and_order(count, seed):
    generator = torch.Generator().manual_seed(seed)
    draws = (torch.randn(count, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    pictures, texts = (normalize(rows, dim=1) for rows in draws)
    order = torch.randperm(count, generator=generator)
    loss, nearest = clip_loss(pictures, texts, 3.0)
    assert torch.allclose(loss, clip_loss(texts, pictures, 3.0)[0])
    shuffled, found = clip_loss(pictures[order], texts[order], 3.0)
    assert torch.allclose(loss, shuffled)
    assert torch.equal(order[found], nearest[order])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_high_scale_stays_finite(dtype):
    assert torch.isfinite(clip_loss(unit_rows(8, 8).to(dtype), unit_rows(8, 8).to(dtype), 1000.0)[0])


def test_accuracy_takes_a_copy_of_the_caption_but_not_a_collapsed_tower():
    texts = torch.tensor([[1, 2], [3, 4], [1, 2], [5, 6]])
    assert caption_accuracy(torch.tensor([0, 1, 2, 3]), texts).item() == 1.0
    assert caption_accuracy(torch.tensor([2, 1, 0, 1]), texts).item() == 0.75
    same = torch.ones(4, 3)
    nearest = clip_loss(normalize(same, dim=1), normalize(same, dim=1), 1.0)[1]
    assert caption_accuracy(nearest, torch.arange(4)[:, None]).item() == 0.25  # chance: features coincide, texts do not


def batch(texts: torch.Tensor | None = None, views: int = 1) -> Batch:
    return Batch(tuple(torch.randn(6, 3, 16, 16) for _ in range(views)), texts, 0)


def test_framework_learns_every_part():
    model = build_framework("clip", build_backbone("resnet_small", width=4), SENTENCES)
    step = model(batch(torch.randn(6, 5)))
    step.loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert step.logs["caption_loss"] == step.loss.item()
    assert step.logs["scale"] == pytest.approx(1 / 0.07)


def test_framework_is_the_loss_of_projected_features():
    model = build_framework("clip", build_backbone("resnet_small", width=4), SENTENCES).eval()
    inputs = batch(torch.randn(6, 5))
    pictures = normalize(model.backbone(inputs.views[0]) @ model.projection.weight.T, dim=1)
    texts = normalize(inputs.texts @ model.captions.projection.weight.T, dim=1)
    assert model(inputs).loss.item() == pytest.approx(ClipLoss()(pictures, texts, 1 / 0.07).item(), rel=1e-5)


def test_learns_which_caption_is_whose():
    torch.manual_seed(0)
    model = build_framework("clip", build_backbone("resnet_small", width=4), SENTENCES)
    inputs = batch(torch.randn(6, 5))
    optimiser = torch.optim.AdamW(model.parameters(), 0.01)
    for _ in range(40):
        optimiser.zero_grad()
        step = model(inputs)
        step.loss.backward()
        optimiser.step()
    assert step.logs["caption_accuracy"] == 1.0
    assert step.loss.item() < 0.1 < math.log(6)


def test_the_scale_is_limited_only_where_asked():
    for limit, expected in ((None, 1000.0), (100.0, 100.0)):
        options = {**SENTENCES, "scale_limit": limit}
        model = build_framework("clip", build_backbone("resnet_small", width=4), options)
        model.captions.log_scale.data.fill_(math.log(1000))
        step = model(batch(torch.randn(6, 5)))
        assert step.logs["scale"] == pytest.approx(expected, rel=1e-4)
        step.loss.backward()
        assert model.captions.log_scale.grad.item() != 0  # at its limit it can still come down


@pytest.mark.parametrize(("name", "views"), [("clip", 1), ("slip", 3), ("lgslip", 2)])
def test_missing_and_unfit_texts_name_the_recipe(name, views):
    model = build_framework(name, build_backbone("resnet_small", width=4), SENTENCES | _small(name))
    with pytest.raises(UserError, match="set the recipe's texts and text_encoder"):
        model(batch(None, views))
    with pytest.raises(UserError, match=r"takes embeddings of width 5 but got token ids \(6, 77\)"):
        model(batch(torch.zeros(6, 77, dtype=torch.int64), views))
    with pytest.raises(UserError, match="text_tower has no name"):
        build_framework(name, build_backbone("resnet_small", width=4), {"text_tower": {"width": 5}})


def _small(name: str) -> dict[str, int]:
    return {} if name == "clip" else {"hidden_width": 8}

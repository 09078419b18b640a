"""SLIP and LGSLIP: the sums they are, which head carries what, and which views and captions they read."""

import pytest
import torch
from lightly.loss import NTXentLoss
from open_clip import ClipLoss
from torch.nn.functional import normalize

from vlrepro.frameworks import Batch, build_framework, framework_module
from vlrepro.models.backbones import build_backbone

OPTIONS = {"text_tower": {"name": "sentence", "width": 5}, "joint_width": 6, "hidden_width": 8}
SLIP = {**OPTIONS, "output_width": 4}


def built(name: str, **options: object) -> torch.nn.Module:
    base = SLIP if name == "slip" else OPTIONS
    return build_framework(name, build_backbone("resnet_small", width=4), {**base, **options})


def batch(name: str) -> Batch:
    views = framework_module(name).VIEWS
    return Batch(tuple(torch.randn(6, 3, 16, 16) for _ in range(views)), torch.randn(6, 5), 0)


def captions_of(model: torch.nn.Module, inputs: Batch) -> torch.Tensor:
    return normalize(inputs.texts @ model.captions.projection.weight.T, dim=1)


def test_slip_adds_simclr_on_two_views_and_clip_on_the_third():
    # In evaluation the statistics are fixed, so every view can be passed by itself here.
    model = built("slip", weight=0.7, temperature=0.2).eval()
    inputs = batch("slip")
    features = [model.backbone(view) for view in inputs.views]
    contrast = NTXentLoss(0.2)(model.head(features[0]), model.head(features[1]))
    pictures = normalize(model.projection(features[2]), dim=1)
    captions = ClipLoss()(pictures, captions_of(model, inputs), 1 / 0.07)
    step = model(inputs)
    assert step.loss.item() == pytest.approx((captions + 0.7 * contrast).item(), rel=1e-5)
    assert step.logs["contrast_loss"] == pytest.approx(contrast.item(), rel=1e-5)
    assert step.logs["caption_loss"] == pytest.approx(captions.item(), rel=1e-5)


def test_lgslip_shares_one_head_and_reads_the_first_views_captions():
    model = built("lgslip", weight=0.7, temperature=0.2).eval()
    inputs = batch("lgslip")
    first, second = (model.head(model.backbone(view)) for view in inputs.views)
    contrast = NTXentLoss(0.2)(first, second)
    captions = ClipLoss()(normalize(first, dim=1), captions_of(model, inputs), 1 / 0.07)
    step = model(inputs)
    assert step.loss.item() == pytest.approx((captions + 0.7 * contrast).item(), rel=1e-5)
    assert step.logs["contrast_loss"] == pytest.approx(contrast.item(), rel=1e-5)
    assert step.logs["caption_loss"] == pytest.approx(captions.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["slip", "lgslip"])
def test_every_parameter_learns(name):
    model = built(name)
    step = model(batch(name))
    step.loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert 0 < step.logs["spread"] <= 1.01


@pytest.mark.parametrize("name", ["slip", "lgslip"])
def test_without_weight_only_captions_teach(name):
    model = built(name, weight=0.0)
    step = model(batch(name))
    assert step.loss.item() == pytest.approx(step.logs["caption_loss"], rel=1e-6)
    step.loss.backward()
    taught = sum(parameter.grad.abs().sum().item() for parameter in model.head.parameters())
    assert (taught > 0) == (name == "lgslip")  # SLIP's head hears only of pictures, LGSLIP's of captions too


@pytest.mark.parametrize(
    ("name", "head", "projection"), [("slip", [2048, 2048, 128], 512), ("lgslip", [2048, 2048, 512], None)]
)
def test_full_scale_widths_are_the_papers(name, head, projection):
    options = framework_module(name).Options(text_tower={"name": "sentence"})
    model = framework_module(name).Framework(build_backbone("resnet_small", width=2), options)
    widths = [layer.out_features for layer in model.head if isinstance(layer, torch.nn.Linear)]
    assert widths == head
    assert (model.projection.out_features if projection else None) == projection
    assert model.captions.projection.out_features == 512
    assert framework_module(name).Options().text_tower == {"name": "transformer"}

"""Backbones: shapes, parameter counts of the published designs, the projection, unknown names."""

import pytest
import torch
from torchvision.models import get_model

from vlrepro.errors import UserError
from vlrepro.models.backbones import build_backbone


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "options", "size", "width"),
    [
        ("resnet_small", {"width": 4}, 16, 32),
        ("resnet_small", {"width": 4, "bottleneck": True}, 16, 128),
        ("resnet_small", {"width": 4, "blocks": [2, 1, 1], "stem_stride": 1}, 16, 16),
        ("resnet_small", {"width": 4, "projection": 128}, 16, 128),
        ("resnet18", {}, 32, 512),
        ("resnet34", {"zero_init_residual": True}, 32, 512),
        ("resnet34", {"projection": 2048}, 32, 2048),
        ("resnet50", {}, 32, 2048),
        ("mobilenet_v3_small", {"width_mult": 0.5}, 32, 288),
        ("mobilenet_v3_large", {}, 32, 960),
        ("vit_small", {"size": 32, "patch": 16}, 32, 384),
        ("vit", {"size": 24, "patch": 8, "layers": 2, "width": 16, "heads": 4}, 24, 16),
    ],
)
def test_features_are_as_wide_as_they_say(name, options, size, width):
    model = build_backbone(name, **options)
    features = model(torch.randn(3, 3, size, size))
    assert features.shape == (3, width)
    assert model.feature_width == width
    assert features.isfinite().all()


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "mobilenet_v3_large"])
def test_only_the_classifier_is_missing(name):
    whole = get_model(name, weights=None)
    head = whole.fc if hasattr(whole, "fc") else whole.classifier
    assert parameters(build_backbone(name)) == parameters(whole) - parameters(head)


def test_vit_small_is_the_published_size():
    # DeiT-S (Touvron et al. 2021, table 1) has 22 million parameters with its classifier of 1,000 classes.
    assert parameters(build_backbone("vit_small")) + 385_000 == pytest.approx(22.05e6, rel=1e-3)


def test_bottlenecks_follow_the_published_widths():
    model = build_backbone("resnet_small", width=4, bottleneck=True)
    widths = [layer.conv3.out_channels for layer in model.layers[1:]]
    assert widths == [16, 32, 64, 128]
    assert all(layer.conv2.out_channels * 4 == layer.conv3.out_channels for layer in model.layers[1:])


def test_the_projection_is_a_linear_layer_norm_and_relu():
    torch.manual_seed(0)
    model = build_backbone("resnet_small", width=4, projection=64).eval()
    x = torch.randn(5, 3, 16, 16)
    by_hand = (model.backbone(x) @ model.linear.weight.T / (1 + 1e-5) ** 0.5).clamp(min=0)
    torch.testing.assert_close(model(x), by_hand)


def test_width_comes_without_depth():
    plain, wide = build_backbone("resnet34"), build_backbone("resnet34", projection=2048)
    assert parameters(wide) - parameters(plain) == 512 * 2048 + 2 * 2048


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnet35", {}, "backbone 'resnet35' is not known: choose one of"),
        ("resnet_small", {"depth": 3}, "backbone 'resnet_small': .*depth.*: mend its options"),
        ("resnet18", {"depth": 3}, "backbone 'resnet18': .*depth.*: mend its options"),
    ],
)
def test_mistakes_are_named(name, options, words):
    with pytest.raises(UserError, match=words):
        build_backbone(name, **options)

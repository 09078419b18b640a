"""The grad-cam package against our closed forms, and on vision transformers."""

import pytest
import torch
from saliency_models import CONVOLUTIONAL, one_to_zero, random_images, random_probe, used
from torchvision.models import VisionTransformer

from vlrepro.errors import UserError
from vlrepro.models.backbones import build_backbone
from vlrepro.saliency.cam import eigen_cam_map
from vlrepro.saliency.feature_maps import last_map, upsample
from vlrepro.saliency.methods import METHODS
from vlrepro.saliency.packaged import CLASSES, packaged, target_layer
from vlrepro.saliency.probe import Probe

PAIRS = [
    ("grad_cam", "packaged_grad_cam"),
    ("grad_cam", "packaged_hires_cam"),
    ("layer_cam", "packaged_layer_cam"),
    ("grad_cam_plus_plus", "packaged_grad_cam_plus_plus"),
]
# Where hard-swish leaves a channel's mean below 0, the package lets the denominator of Grad-CAM++ turn negative too.
CASES = [(*pair, kind) for pair in PAIRS for kind in CONVOLUTIONAL if "plus" not in pair[0] or kind != "mobilenet"]


@pytest.mark.parametrize(("ours", "theirs", "kind"), CASES)
def test_closed_forms_are_the_maps_of_the_package(ours, theirs, kind):
    backbone = used(*CONVOLUTIONAL[kind], seed=3)
    probe, images, classes = random_probe(backbone), random_images(4, 96, seed=4), torch.tensor([0, 2, 2, 4])
    if "plus" in ours:
        # The package adds 1e-6 to squared gradients: they must be far larger for it not to show.
        probe = Probe(100 * probe.weights, probe.biases)
    found, expected = (one_to_zero(METHODS[name](backbone, probe, images, classes)) for name in (ours, theirs))
    assert (expected.amax((1, 2)) == 1).sum() >= 2, "maps without a positive place compare nothing"
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
def test_the_eigen_map_is_that_of_the_package_up_to_its_sign(kind):
    backbone = used(*CONVOLUTIONAL[kind], seed=5)
    probe, images, classes = random_probe(backbone), random_images(3, 96, seed=6), torch.tensor([0, 1, 2])
    theirs = METHODS["packaged_eigen_cam"](backbone, probe, images, classes)
    component = eigen_cam_map(last_map(backbone, images))
    either = [one_to_zero(upsample((sign * component).relu(), (96, 96))) for sign in (1, -1)]
    differences = torch.stack([(one_to_zero(theirs) - one).abs().amax((1, 2)) for one in either])
    assert differences.amin(0).max() < 1e-4


@pytest.mark.parametrize("value", [0.0, -1.5])
@pytest.mark.parametrize("name", METHODS)
def test_constant_images_have_finite_maps(name, value):
    for kind in ("basic", "mobilenet") if "score" not in name else ("basic",):
        backbone = used(*CONVOLUTIONAL[kind])
        maps = METHODS[name](backbone, random_probe(backbone), torch.full((2, 3, 32, 32), value), torch.tensor([0, 1]))
        assert maps.isfinite().all()


def tiny_transformer():
    torch.manual_seed(0)
    backbone = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)
    backbone.feature_width, backbone.heads = 16, torch.nn.Identity()
    return backbone.eval()


@pytest.mark.parametrize("name", CLASSES)
def test_maps_of_a_vision_transformer(name):
    backbone = tiny_transformer()
    probe, images, classes = random_probe(backbone), random_images(3, 32), torch.tensor([1, 4, 1])
    maps = packaged(name)(backbone, probe, images, classes)
    assert maps.shape == (3, 32, 32)
    assert maps.dtype == torch.float32
    assert maps.amin() == 0
    assert (maps.amax((1, 2)) > 0.99).sum() >= 2  # a patch with a gradient and an activation is somewhere
    alone = [packaged(name)(backbone, probe, images[i : i + 1], classes[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(maps, torch.cat(alone), rtol=0, atol=1e-4)


def test_maps_of_vit_small_depend_on_the_class():
    torch.manual_seed(0)
    backbone = build_backbone("vit_small", size=32, patch=8).eval()
    probe, images = random_probe(backbone), random_images(1, 32).repeat(2, 1, 1, 1)
    maps = packaged("packaged_grad_cam")(backbone, probe, images, torch.tensor([0, 1]))
    assert (maps[0] - maps[1]).abs().max() > 0.1


def test_the_place_of_a_patch_is_kept():
    backbone = tiny_transformer()
    layer, reshape = target_layer(backbone)
    caught = []
    layer.register_forward_hook(lambda _module, _inputs, tokens: caught.append(reshape(tokens)))
    images = random_images(1, 32).repeat(2, 1, 1, 1)
    images[1, :, 8:16, 24:32] += 5  # row 1, column 3 of the patches of 8 pixels
    backbone.encoder.layers[0].self_attention.out_proj.weight.data.zero_()  # no token sees another
    backbone(images)
    changed = (caught[0][0] != caught[0][1]).any(0)
    assert changed.nonzero().tolist() == [[1, 3]]


@pytest.mark.parametrize("kind", ["basic", "projected"])
def test_frozen_and_training_backbones_are_left_as_they_were(kind):
    backbone = used(*CONVOLUTIONAL[kind])
    probe, images, classes = random_probe(backbone), random_images(2, 32), torch.tensor([0, 1])
    expected = packaged("packaged_grad_cam")(backbone, probe, images, classes)
    gradients = [torch.ones_like(weight) for weight in backbone.parameters()]
    for weight, gradient in zip(backbone.parameters(), gradients, strict=True):
        weight.grad = gradient
        weight.requires_grad_(False)
    backbone.train()
    with torch.inference_mode():
        maps = packaged("packaged_grad_cam")(backbone, probe, images, classes)
    assert torch.equal(maps, expected)
    assert backbone.training
    assert all(weight.grad is one for weight, one in zip(backbone.parameters(), gradients, strict=True))
    assert not any(module._forward_hooks for module in backbone.modules())


def test_an_unknown_method_is_refused():
    with pytest.raises(UserError, match="choose one of packaged_grad_cam"):
        packaged("grad_cam")

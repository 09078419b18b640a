"""Class activation maps in closed form: by hand, and on every convolutional backbone."""

import numpy as np
import pytest
import torch
from saliency_models import CONVOLUTIONAL, random_images, random_probe, used

from vlrepro.errors import UserError
from vlrepro.models.backbones import build_backbone
from vlrepro.saliency import cam as module
from vlrepro.saliency.feature_maps import channel_weights, last_map, upsample
from vlrepro.saliency.methods import METHODS, saliency_method
from vlrepro.saliency.probe import Probe

OURS = ["cam", "grad_cam", "grad_cam_plus_plus", "layer_cam", "eigen_cam", "activation", "agf"]
A = torch.tensor([[[[1.0, 2.0], [0.0, 4.0]], [[0.0, 3.0], [1.0, 0.0]]]])
W = torch.tensor([[2.0, -1.0]])


@pytest.mark.parametrize(
    ("closed_form", "expected"),
    [
        (module.cam_map, [[2, 1], [-1, 8]]),
        (module.grad_cam_map, [[2, 1], [0, 8]]),
        (module.layer_cam_map, [[2, 4], [0, 8]]),
        (module.grad_cam_plus_plus_map, [[2 / 5.5, 4 / 5.5], [0, 8 / 5.5]]),  # the mean of A_1 is 7/4
        (lambda feature_map, _: module.activation_map(feature_map), [[0.5, 2.5], [0.5, 2]]),
    ],
)
def test_two_channels_by_hand(closed_form, expected):
    torch.testing.assert_close(closed_form(A, W), torch.tensor([expected], dtype=torch.float32))


def test_the_eigen_map_of_a_rank_one_feature_map_by_hand():
    # One place is 4 * (3, 4), the others 0: less the mean it is 3 * (3, 4), the others -1 * (3, 4), of length 5.
    feature_map = torch.tensor([0.0, 0, 0, 4]).view(1, 1, 2, 2) * torch.tensor([3.0, 4]).view(1, 2, 1, 1)
    expected = torch.tensor([[[-5.0, -5], [-5, 15]]])
    torch.testing.assert_close(module.eigen_cam_map(feature_map), expected)


def test_the_eigen_map_is_the_first_component_with_the_sign_of_the_activation():
    feature_map = torch.randn(20, 7, 3, 3, generator=torch.Generator().manual_seed(0)).relu()
    maps = module.eigen_cam_map(feature_map)
    for places, found, active in zip(feature_map.flatten(2).mT, maps, module.activation_map(feature_map), strict=True):
        centred = places - places.mean(0)
        component = centred.numpy() @ np.linalg.svd(centred.numpy())[2][0]
        np.testing.assert_allclose(found.flatten().abs().numpy(), np.abs(component), atol=1e-5)
        assert (found * active).sum() > 0


def test_upsampling_by_hand():
    corners = torch.tensor([[[0.0, 4.0], [8.0, 12.0]]])
    assert upsample(corners, (4, 4))[0, 0].tolist() == [0, 1, 3, 4]
    assert upsample(corners, (4, 4))[0, :, 3].tolist() == [4, 6, 10, 12]


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
def test_the_last_map_is_what_the_backbone_pools(kind):
    backbone = used(*CONVOLUTIONAL[kind])
    images = random_images(2)
    pooled = last_map(backbone, images).mean((2, 3))
    if kind == "projected":
        pooled = torch.relu(backbone.norm(backbone.linear(pooled)))
    torch.testing.assert_close(pooled, backbone(images))


def test_behind_a_projection_the_weights_are_the_gradients_of_the_score():
    backbone = used(*CONVOLUTIONAL["projected"])
    probe, images, classes = random_probe(backbone), random_images(3), torch.tensor([0, 3, 3])
    feature_map = last_map(backbone, images).requires_grad_()
    features = torch.relu(backbone.norm(backbone.linear(feature_map.mean((2, 3)))))
    scores = (features @ probe.weights.T + probe.biases).gather(1, classes[:, None])
    gradient = torch.autograd.grad(scores.sum(), feature_map)[0]
    weights = channel_weights(backbone, probe, feature_map.detach(), classes)
    torch.testing.assert_close(weights, gradient.sum((2, 3)))
    assert len(weights.unique(dim=0)) == 3


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
@pytest.mark.parametrize("name", OURS)
def test_a_batch_gives_the_maps_of_its_pictures(name, kind):
    backbone = used(*CONVOLUTIONAL[kind]).double()
    probe, images, classes = random_probe(backbone), random_images(3, 40).double(), torch.tensor([1, 4, 1])
    together = METHODS[name](backbone, probe, images, classes)
    assert together.shape == (3, 40, 40)
    assert together.dtype == torch.float32
    alone = [METHODS[name](backbone, probe, images[i : i + 1], classes[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OURS)
def test_a_backbone_that_trains_is_left_as_it_was(name):
    backbone = build_backbone("resnet_small", width=4, projection=8).train()
    backbone.backbone.layers[0].eval()
    modes = [part.training for part in backbone.modules()]
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    with torch.inference_mode():
        METHODS[name](backbone, random_probe(backbone), random_images(2, 32), torch.tensor([0, 1]))
    assert [part.training for part in backbone.modules()] == modes
    assert all(part.grad is None for part in backbone.parameters())
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())


def test_arguments_that_do_not_fit_are_refused():
    backbone = build_backbone("resnet_small", width=4)
    probe, images, classes = random_probe(backbone), random_images(2, 32), torch.tensor([0, 1])
    cases = [
        (Probe(probe.weights[:, :3], probe.biases), images, classes, "3 weights a class for 32 features"),
        (Probe(probe.weights, probe.biases[:3]), images, classes, "biases"),
        (probe, images[0], classes, "saliency images"),
        (probe, images, classes[:1], "for 2 images"),
        (probe, images, torch.tensor([0, 5]), "has 0 to 4"),
        (probe, images, torch.tensor([-1, 0]), "has 0 to 4"),
    ]
    for *arguments, message in cases:
        with pytest.raises(UserError, match=message):
            module.cam(backbone, *arguments)


def test_a_vision_transformer_is_refused_and_the_cure_named():
    backbone = build_backbone("vit_small", size=32, patch=16)
    with pytest.raises(UserError, match="packaged_"):
        module.cam(backbone, random_probe(backbone), random_images(1, 32), torch.tensor([0]))


def test_an_unknown_method_is_refused():
    with pytest.raises(UserError, match="choose one of cam, grad_cam"):
        saliency_method("gradcam")

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


def with_spectrum(*ratios, seed=0):
    """A float64 feature map (1, 20, 3, 3) of centred places, whose singular values are the roots of `ratios`."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randn(9, len(ratios), generator=generator).double()
    left = torch.linalg.qr(places - places.mean(0)).Q
    right = torch.linalg.qr(torch.randn(20, len(ratios), generator=generator).double()).Q
    return (right @ torch.tensor(ratios).double().sqrt().diag() @ left.T).view(1, 20, 3, 3), left[:, 0].view(1, 3, 3)


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, 2e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize("second", [0.0, 0.3, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995])
def test_the_first_component_is_exact_however_close_the_second(second, dtype, precision):
    feature_map, expected = with_spectrum(1, second, second, second / 2, 1e-3 * second)
    found = module.eigen_cam_map(feature_map.to(dtype)).double()
    error = torch.minimum((found - expected).abs().amax(), (found + expected).abs().amax())
    assert error < precision / (1 - second)  # of any method: products carry rounding errors of their own


@pytest.mark.parametrize("count", [2, 5, 8])
def test_components_that_tie_give_one_of_them(count):
    feature_map = with_spectrum(*[3.0] * count, *[0.3] * (8 - count))[0].float()
    found = module.eigen_cam_map(feature_map).flatten(1)
    places = feature_map.flatten(2)[0]
    torch.testing.assert_close(found.norm(), torch.tensor(3.0).sqrt())
    torch.testing.assert_close((found @ places.T @ places), 3 * found, rtol=1e-4, atol=1e-5)


def test_only_pictures_with_close_components_go_to_lapack(monkeypatch):
    counts, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrices: counts.append(len(matrices)) or eigh(matrices))
    seconds = (0.0, 0.9999, 0.5, 0.97)
    feature_maps = torch.cat([with_spectrum(1, second, 0.1, seed=3)[0] for second in seconds]).float()
    module.eigen_cam_map(feature_maps[[0, 2, 3]])
    assert counts == []
    found = module.eigen_cam_map(torch.cat([feature_maps, torch.zeros_like(feature_maps[:1])]))
    assert counts == [2]
    assert found[4].abs().max() == 0
    for second, alone, together in zip(seconds, feature_maps, found[:4], strict=True):
        difference = (module.eigen_cam_map(alone[None])[0] - together).abs().max()
        assert difference < 1e-6 / (1 - second)  # sums of another order in the products turn close components


def test_the_scale_of_a_feature_map_is_that_of_its_eigen_map():
    feature_map, expected = with_spectrum(1, 0.8, 0.5)
    for scale in (1e-12, 1e12):
        found = module.eigen_cam_map((scale * feature_map).float()) / scale
        torch.testing.assert_close(found.abs(), expected.float().abs(), rtol=1e-4, atol=1e-5)


def test_an_eigen_map_of_what_is_not_finite_is_an_error():
    feature_map = torch.cat([with_spectrum(1, 0.5)[0], torch.full((1, 20, 3, 3), torch.nan).double()])
    with pytest.raises(torch.linalg.LinAlgError):
        module.eigen_cam_map(feature_map)


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

"""Attribution guided factorization: rules by hand, conserved relevance, and maps that need the model and the probe."""

import math
from types import SimpleNamespace

import pytest
import torch
from saliency_models import (
    CONVOLUTIONAL,
    area_under_curve,
    random_images,
    random_probe,
    rank_correlation,
    textured_pictures,
    trained_on_textures,
    used,
)
from torch import nn

from vlrepro.errors import UserError
from vlrepro.models.backbones import build_backbone
from vlrepro.saliency import relevance as rules
from vlrepro.saliency.agf import agf, attribute, guided_convolutions, softened_log_odds
from vlrepro.saliency.probe import Probe
from vlrepro.saliency.tracing import Trace

CONVOLUTIONS = {
    "3x3": nn.Conv2d(4, 6, 3, padding=1, bias=False),
    "strided": nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False),
    "1x1 strided": nn.Conv2d(4, 6, 1, stride=2, bias=False),
    "depthwise": nn.Conv2d(4, 4, 5, stride=2, padding=2, groups=4, bias=False),
    "grouped": nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=True),
    "dilated": nn.Conv2d(4, 6, 3, padding=2, dilation=2, bias=False),
}


def doubles(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sums(tensor):
    return tensor.flatten(1).sum(1)


def same_sums(found, given):
    torch.testing.assert_close(sums(found), sums(given), rtol=1e-10, atol=1e-10)


def layer_and_relevance(name):
    layer = CONVOLUTIONS[name].double()
    x = doubles(3, 4, 9, 9).abs() + 0.01
    with torch.no_grad():
        output = layer(x)
    return layer, x, doubles(*output.shape, seed=1), doubles(*output.shape, seed=2)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@torch.no_grad()
def test_convolutions_conserve_relevance(name):
    layer, x, relevance, gradient = layer_and_relevance(name)
    same_sums(rules.convolution(x, layer, relevance), relevance)
    guided = rules.guided_convolution(x, layer, relevance, gradient)
    same_sums(guided, relevance)
    assert not torch.allclose(guided, rules.convolution(x, layer, relevance))


@torch.no_grad()
def test_guidance_gives_nothing_to_what_is_not_active():
    layer, x, relevance, gradient = layer_and_relevance("3x3")
    x = x * (doubles(*x.shape, seed=3) > 0)
    guided = rules.guided_convolution(x, layer, relevance, gradient)
    same_sums(guided, relevance)
    assert (guided[x == 0] == 0).all()


@pytest.mark.parametrize("name", ["3x3", "strided"])
@torch.no_grad()
def test_the_first_convolution_conserves_relevance(name):
    layer = CONVOLUTIONS[name].double()
    picture, relevance = doubles(3, 4, 9, 9), layer_and_relevance(name)[2]
    same_sums(rules.first_convolution(picture, layer, relevance), relevance)


@torch.no_grad()
def test_other_layers_conserve_relevance():
    x, relevance = doubles(3, 4, 9, 9).abs(), doubles(3, 4, 5, 5, seed=1)
    same_sums(rules.maximum(x, nn.MaxPool2d(3, 2, 1), relevance), relevance)
    same_sums(rules.average(x, relevance[..., 0, 0]), relevance[..., 0, 0])
    same_sums(rules.average(x, relevance[..., :1, :1]), relevance[..., :1, :1])
    same_sums(rules.linear(doubles(3, 7), doubles(5, 7, seed=2), doubles(3, 5, seed=3)), doubles(3, 5, seed=3))
    same_sums(sum(rules.sum_of_two(doubles(*x.shape, seed=4), x, x)), x)
    same_sums(rules.shift(x, doubles(*x.shape, seed=5)), x)


@pytest.mark.parametrize("kind", ["basic", "resnet18"])
def test_a_residual_network_conserves_relevance(kind):
    backbone = used(*CONVOLUTIONAL[kind]).double()
    if kind == "basic":
        backbone = used("resnet_small", {"width": 16}).double()  # at 8, some places have no active channel at all
    probe, images, classes = random_probe(backbone), random_images(3, 48).double(), torch.tensor([0, 1, 1])
    features = backbone(images).detach().requires_grad_()
    gradient = torch.autograd.grad(softened_log_odds(probe.like(features), features, classes).sum(), features)[0]
    start = features.detach() * gradient
    found = attribute(backbone, probe, images, classes)
    torch.testing.assert_close(sums(found), sums(start) / start.abs().sum(1), rtol=1e-8, atol=1e-8)


def test_a_linear_layer_by_hand():
    x, weight = torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 1.0], [0.0, 4.0]])
    assert rules.linear(x, weight, torch.tensor([[5.0, 7.0]])).tolist() == [[3, 9]]


def test_sums_that_cancel_by_hand():
    first, second = rules.sum_of_two(torch.tensor([3.0, 0.0]), torch.tensor([-1.0, 0.0]), torch.tensor([8.0, 1.0]))
    assert (first.tolist(), second.tolist()) == ([6, 0], [2, 0])


def test_a_first_convolution_by_hand():
    # low 0, high 4: contributions 2 * (1 - 0) and -1 * (3 - 4) of two channels, and 2 * 0 and -1 * 0 of nothing else.
    picture, layer = torch.tensor([1.0, 3.0, 0.0, 4.0]).view(1, 4, 1, 1), nn.Conv2d(4, 1, 1, bias=False)
    layer.weight.data = torch.tensor([2.0, -1.0, 0.0, 0.0]).view(1, 4, 1, 1)
    with torch.no_grad():
        found = rules.first_convolution(picture, layer, torch.full((1, 1, 1, 1), 6.0))
    torch.testing.assert_close(found.flatten(), torch.tensor([4.0, 2.0, 0.0, 0.0]))


def test_a_grouped_convolution_is_a_block_diagonal_one():
    grouped, x, relevance, gradient = layer_and_relevance("grouped")
    dense = nn.Conv2d(4, 6, 3, padding=1).double()
    dense.weight.data.zero_()
    dense.weight.data[:3, :2], dense.weight.data[3:, 2:] = grouped.weight.data[:3], grouped.weight.data[3:]
    with torch.no_grad():
        found, expected = (rules.guided_convolution(x, layer, relevance, gradient) for layer in (grouped, dense))
    torch.testing.assert_close(found, expected)


def test_a_factorisation_by_hand():
    # One channel, one relevant and one adverse place: R = (r+, r-) = H, and (R^T R + I)^-1 R^T H = R^T H / (1 + R R^T).
    u, relevance = torch.tensor([[[[2.0, 0.0]]]]), torch.tensor([[[[1.0, -3.0]]]])
    h = 1 / (1 + math.exp(-10)), 0.5
    expected = [(h[0] - h[1]) * place / (1 + h[0] ** 2 + h[1] ** 2) for place in h]
    torch.testing.assert_close(rules.factorise(u, relevance).flatten(), torch.tensor(expected))
    assert rules.factorise(u, -relevance).flatten().tolist() == [0, 0]
    assert rules.factorise(torch.ones(1, 1, 1, 2), relevance).abs().max() < 1e-6  # both means are the same


def test_softened_log_odds_by_hand():
    probe = Probe(torch.eye(3), torch.tensor([-1.0, -1.0, -1.0]))
    z = [2, 2 * math.exp(-1 / 8), 2 * math.exp(-1 / 2)]  # scores 2, 1, 0 above the lowest, of class 0
    probability = math.exp(z[0]) / sum(math.exp(value) for value in z)
    found = softened_log_odds(probe, torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0]))
    assert found.item() == pytest.approx(math.log(probability / (1 - probability)))


def test_the_lowest_score_equal_scores_and_sure_ones_have_a_gradient():
    probe = Probe(torch.tensor([[2.0, 1], [-3, 1], [1, 2]]), torch.zeros(3))
    features = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1000.0, 0.0]], requires_grad=True)
    score = softened_log_odds(probe, features, torch.tensor([1, 1, 0]))
    gradient = torch.autograd.grad(score.sum(), features)[0]
    assert gradient.isfinite().all()
    assert (gradient[[0, 2]].abs().amax(1) > 0.01).all()


def test_maps_do_not_depend_on_a_constant_of_the_scores():
    backbone = used(*CONVOLUTIONAL["basic"]).double()
    probe, images, classes = random_probe(backbone), random_images(2, 32).double(), torch.tensor([0, 1])
    shifted = Probe(probe.weights, probe.biases - 100)
    found, expected = (attribute(backbone, one, images, classes) for one in (shifted, probe))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_probe_of_one_class_is_refused():
    backbone = build_backbone("resnet_small", width=4)
    with pytest.raises(UserError, match="one class"):
        agf(backbone, random_probe(backbone, classes=1), random_images(1, 32), torch.tensor([0]))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("basic", [f"layers.{block}.conv1" for block in (1, 2, 3, 4)]),
        ("bottleneck", [f"layers.{block}.conv2" for block in (1, 2, 3, 4)]),
        ("resnet18", [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3, 4) for block in (0, 1)]),
    ],
)
def test_one_convolution_of_each_block_is_guided(kind, names):
    trace = Trace(build_backbone(CONVOLUTIONAL[kind][0], **CONVOLUTIONAL[kind][1]))
    assert [node.target for node in guided_convolutions(trace)] == names


def test_every_depthwise_convolution_of_mobilenet_is_guided():
    backbone = build_backbone("mobilenet_v3_small")
    guided = {node.target for node in guided_convolutions(Trace(backbone))}
    assert guided == {name for name, part in backbone.named_modules() if getattr(part, "groups", 1) > 1}


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
def test_a_trace_runs_the_backbone(kind):
    backbone, images = used(*CONVOLUTIONAL[kind]), random_images(2)
    trace = Trace(backbone)
    torch.testing.assert_close(trace.run(images), backbone(images))
    first = trace.operations[0]
    torch.testing.assert_close(trace.values[first], trace.layer(first)(images))  # nothing later overwrote it


def test_a_layer_without_a_rule_is_refused():
    backbone = build_backbone("vit_small", size=32, patch=16).eval()
    with pytest.raises(UserError, match="agf: no rule for getitem"):
        agf(backbone, random_probe(backbone), random_images(1, 32), torch.tensor([0]))


@pytest.fixture(scope="module")
def trained():
    """A trained backbone and probe, pictures it has not seen with their classes and masks, and its maps of them."""
    backbone, probe = trained_on_textures("resnet_small", {"width": 8})
    images, classes, masks = textured_pictures(64, seed=1)
    predicted = (backbone(images) @ probe.weights.T + probe.biases).argmax(1)
    assert (predicted == classes).float().mean() > 0.9
    maps = agf(backbone, probe, images, classes)
    return SimpleNamespace(backbone=backbone, probe=probe, images=images, classes=classes, masks=masks, maps=maps)


def own_correlation(maps, others):
    """How much better maps of the same pictures correlate than of other pictures.

    All maps share where a strided network puts relevance and how it fades at the edges, whatever the picture.
    """
    return (rank_correlation(maps, others) - rank_correlation(maps, others.roll(4, 0))).mean().item()


def test_maps_find_the_object_of_the_class(trained):
    wrong = agf(trained.backbone, trained.probe, trained.images, (trained.classes + 1) % 4)
    found = area_under_curve(trained.maps, trained.masks).mean()
    assert found > 0.65
    assert found > area_under_curve(wrong, trained.masks).mean() + 0.1


def test_maps_survive_a_model_that_hardly_changes(trained):
    backbone = build_backbone("resnet_small", width=8).eval()
    generator = torch.Generator().manual_seed(0)
    state = trained.backbone.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.mul_(1 + 0.001 * torch.randn(value.shape, generator=generator))
    backbone.load_state_dict(state)
    maps = agf(backbone, trained.probe, trained.images, trained.classes)
    assert rank_correlation(trained.maps, maps).mean() > 0.9


def test_maps_fail_where_the_model_is_random(trained):
    """Adebayo et al., "Sanity Checks for Saliency Maps" (NeurIPS 2018): the model parameter randomisation test."""
    found = []
    for seed in range(4):
        backbone = used("resnet_small", {"width": 8}, seed=seed)
        maps = agf(backbone, trained.probe, trained.images, trained.classes)
        found.append(own_correlation(trained.maps, maps))
    assert max(map(abs, found)) < 0.1


def test_maps_fail_where_the_probe_is_random(trained):
    """A random probe still reads features that only the object switches on: one alone may agree or disagree."""
    found = []
    for seed in range(8):
        probe = random_probe(trained.backbone, classes=4, seed=seed)
        maps = agf(trained.backbone, probe, trained.images, trained.classes)
        found.append(own_correlation(trained.maps, maps))
    assert abs(sum(found) / len(found)) < 0.15
    assert own_correlation(trained.maps, trained.maps) > 0.5

"""Augmentation: parity with torchvision image by image, the laws of what is drawn, and what must not matter."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as oracle

from vlrepro.data.augment import Augment, AugmentationOptions, centre, crop, gaussian_blur
from vlrepro.errors import UserError
from vlrepro.randomness import torch_generator

SIMCLR = AugmentationOptions(
    size=32,
    scale=(0.2, 1.0),
    flip=0.5,
    jitter=(0.4, 0.4, 0.4, 0.1),
    jitter_probability=0.8,
    grey_probability=0.2,
    blur_probability=0.5,
    blur_kernel=5,
)
ORACLES = (oracle.adjust_brightness, oracle.adjust_contrast, oracle.adjust_saturation, oracle.adjust_hue)


def pictures(count: int, size: int) -> Tensor:
    """Noise, except that the first two are flat: black, and a grey."""
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch_generator("pictures"))
    images[0], images[1] = 0, 77
    return images


def expected(image: Tensor, box: Tensor, flip: Tensor, options: AugmentationOptions) -> Tensor:
    cut = oracle.resized_crop(image / 255, *box.tolist(), [options.size] * 2, antialias=True)
    return oracle.horizontal_flip(cut) if flip else cut


def expected_colours(image: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    for column in order.tolist():
        image = ORACLES[column](image, float(factors[column]))
    return image


def test_the_whole_pipeline_equals_torchvision_image_by_image() -> None:
    images, augment = pictures(64, 48), Augment(SIMCLR)
    drawn = augment.draw(64, 48, torch_generator("pipeline"))
    ours = augment.apply(images, drawn)
    for i, image in enumerate(images):
        theirs = expected(image, drawn.boxes[i], drawn.flip[i], SIMCLR)
        if drawn.jitter[i]:
            theirs = expected_colours(theirs, drawn.factors[i], drawn.order[i])
        if drawn.grey[i]:
            theirs = oracle.rgb_to_grayscale(theirs, 3)
        if drawn.sigma[i] > 0:
            theirs = oracle.gaussian_blur(theirs, [5, 5], [float(drawn.sigma[i])] * 2)
        theirs = oracle.normalize(theirs, list(SIMCLR.mean), list(SIMCLR.std))
        torch.testing.assert_close(ours[i], theirs, atol=5e-5, rtol=0)


@pytest.mark.parametrize(("canvas", "size"), [(48, 32), (17, 40), (64, 5), (256, 224), (9, 1)])
def test_a_crop_equals_resized_crop_with_antialiasing(canvas: int, size: int) -> None:
    images, augment = pictures(12, canvas), Augment(AugmentationOptions(size, (0.01, 1.0), flip=0.5))
    drawn = augment.draw(12, canvas, torch_generator("crop", canvas))
    ours = crop(images, drawn.boxes, drawn.flip, size)
    for i, image in enumerate(images):
        theirs = expected(image, drawn.boxes[i], drawn.flip[i], augment.options)
        torch.testing.assert_close(ours[i], theirs, atol=2e-5, rtol=0)


def test_a_box_of_the_whole_canvas_at_its_own_size_returns_the_image() -> None:
    images = pictures(3, 20)
    boxes = torch.tensor([[0, 0, 20, 20]]).expand(3, 4)
    flip = torch.tensor([False, False, True])
    ours = crop(images, boxes, flip, 20)
    torch.testing.assert_close(ours[:2], images[:2] / 255, atol=1e-7, rtol=0)
    torch.testing.assert_close(ours[2], images[2].flip(-1) / 255, atol=1e-7, rtol=0)


def test_a_crop_reads_nothing_outside_its_box() -> None:
    images = pictures(3, 30)[2:]
    box = torch.tensor([[7, 11, 13, 9]])
    around = torch.full_like(images, 255)
    around[..., 7:20, 11:20] = images[..., 7:20, 11:20]
    flip = torch.zeros(1, dtype=torch.bool)
    assert torch.equal(crop(images, box, flip, 8), crop(around, box, flip, 8))


@pytest.mark.parametrize(("size", "kernel"), [(32, 3), (32, 15), (224, 15), (8, 15), (5, 1)])
def test_blur_equals_torchvision_with_a_sigma_for_each_image(size: int, kernel: int) -> None:
    images, sigma = pictures(6, size) / 255, torch.linspace(0.1, 2.0, 6)
    ours = gaussian_blur(images, sigma, kernel)
    for i, image in enumerate(images):
        theirs = oracle.gaussian_blur(image, [kernel, kernel], [float(sigma[i])] * 2)
        torch.testing.assert_close(ours[i], theirs, atol=1e-5, rtol=0)


def test_centre_resizes_as_torchvision_and_normalises() -> None:
    images, mean, std = (pictures(4, 48) > 127).byte() * 255, [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    resized = oracle.resize(images / 255, [32, 32], oracle.InterpolationMode.BICUBIC, antialias=True)
    assert resized.min() < 0  # the clamp matters on these images
    theirs = oracle.normalize(resized.clamp(0, 1), mean, std)
    torch.testing.assert_close(centre(images, 32, mean, std), theirs, atol=1e-5, rtol=0)


def torchvision_boxes(count: int, canvas: int, scale: list[float], ratio: list[float]) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        image = torch.empty(3, canvas, canvas)
        return torch.tensor([RandomResizedCrop.get_params(image, scale, ratio) for _ in range(count)])


@pytest.mark.parametrize(
    ("scale", "ratio"), [((0.2, 1.0), (3 / 4, 4 / 3)), ((0.5, 1.0), (3 / 4, 4 / 3)), ((0.8, 1.0), (0.5, 3.0))]
)
def test_boxes_follow_the_law_of_random_resized_crop(scale: tuple, ratio: tuple) -> None:
    count, canvas = 4000, 256
    ours = Augment(AugmentationOptions(32, scale, ratio)).draw(count, canvas, torch_generator("boxes", 1)).boxes
    theirs = torchvision_boxes(count, canvas, list(scale), list(ratio))
    for measure in (
        lambda top, left, height, width: height * width,
        lambda top, left, height, width: torch.log(width / height),
        lambda top, left, height, width: (top + 0.5) / (canvas - height + 1),
        lambda top, left, height, width: (left + 0.5) / (canvas - width + 1),
        lambda top, left, height, width: top + left,
    ):
        samples = [measure(*boxes.double().unbind(1)).numpy() for boxes in (ours, theirs)]
        assert ks_2samp(*samples).pvalue > 0.01


@pytest.mark.parametrize("ratio", [(2.0, 3.0), (0.2, 0.4)])
def test_the_central_box_is_taken_when_none_fits(ratio: tuple[float, float]) -> None:
    augment = Augment(AugmentationOptions(32, (0.9, 1.0), ratio))
    theirs = torchvision_boxes(1, 45, [0.9, 1.0], list(ratio))
    assert torch.equal(augment.draw(7, 45, torch_generator(0)).boxes, theirs.expand(7, 4))


@st.composite
def crop_options(draw: st.DrawFn) -> AugmentationOptions:
    scale = sorted(draw(st.tuples(*[st.floats(1e-4, 1.0)] * 2)))
    ratio = sorted(draw(st.tuples(*[st.floats(0.05, 20.0)] * 2)))
    return AugmentationOptions(size=8, scale=tuple(scale), ratio=tuple(ratio))


@given(options=crop_options(), canvas=st.integers(1, 300), seed=st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_boxes_lie_inside_the_canvas(options: AugmentationOptions, canvas: int, seed: int) -> None:
    top, left, height, width = Augment(options).draw(33, canvas, torch_generator(seed)).boxes.unbind(1)
    assert min(int(part.min()) for part in (height, width)) >= 1
    assert min(int(part.min()) for part in (top, left)) >= 0
    assert int((top + height).max()) <= canvas
    assert int((left + width).max()) <= canvas


def test_each_decision_has_its_probability_and_its_range() -> None:
    count = 20_000
    drawn = Augment(SIMCLR).draw(count, 48, torch_generator("probabilities"))
    for mask, probability in ((drawn.flip, 0.5), (drawn.jitter, 0.8), (drawn.grey, 0.2), (drawn.sigma > 0, 0.5)):
        tolerance = 4 * math.sqrt(probability * (1 - probability) / count)
        assert abs(mask.double().mean().item() - probability) < tolerance
    columns = [*drawn.factors.unbind(1), drawn.sigma[drawn.sigma > 0]]
    for column, (low, high) in zip(columns, [*[(0.6, 1.4)] * 3, (-0.1, 0.1), (0.1, 2.0)], strict=True):
        uniform = torch.linspace(low, high, 5000).numpy()
        assert ks_2samp(column.numpy(), uniform).pvalue > 0.01
        assert low - 1e-6 <= column.min() < column.max() <= high + 1e-6
    counts = drawn.order.unique(dim=0, return_counts=True)[1]
    assert len(counts) == 24
    assert chisquare(counts.numpy()).pvalue > 0.01
    assert torch.equal(drawn.order.sort(1).values, torch.arange(4).expand(count, 4))


def test_the_decisions_are_independent_of_each_other() -> None:
    drawn = Augment(SIMCLR).draw(20_000, 48, torch_generator("independent"))
    decisions = (drawn.flip, drawn.jitter, drawn.grey, drawn.sigma > 0, *drawn.factors.T, *drawn.boxes.T[2:])
    correlation = torch.corrcoef(torch.stack([decision.double() for decision in decisions]))
    correlation[-1, -2] = correlation[-2, -1] = 0  # height and width do depend on each other
    assert (correlation - torch.eye(len(decisions))).abs().max() < 4 / math.sqrt(20_000)


@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_probabilities_of_zero_and_one_are_certain(certain: float) -> None:
    names = ("flip", "jitter_probability", "grey_probability", "blur_probability")
    drawn = Augment(replace(SIMCLR, **dict.fromkeys(names, certain))).draw(500, 48, torch_generator(1))
    for mask in (drawn.flip, drawn.jitter, drawn.grey, drawn.sigma > 0):
        assert mask.all() if certain else not mask.any()


def test_the_same_generator_state_gives_the_same_bits() -> None:
    images, augment = pictures(40, 48), Augment(SIMCLR)
    state = torch.get_rng_state()
    first = augment(images, torch_generator("view", 0))
    assert torch.equal(first, augment(images, torch_generator("view", 0)))
    assert not torch.equal(first, augment(images, torch_generator("view", 1)))
    assert torch.equal(state, torch.get_rng_state())


def test_a_draw_depends_neither_on_the_threads_nor_on_the_batch_size() -> None:
    augment, threads = Augment(SIMCLR), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = augment.draw(3000, 48, torch_generator(2))
        torch.set_num_threads(2)
        together = augment.draw(5000, 48, torch_generator(2))
    finally:
        torch.set_num_threads(threads)
    for ours, theirs in zip(alone, together, strict=True):
        assert torch.equal(ours, theirs[:3000])


def test_changing_one_option_moves_no_other_draw() -> None:
    plain = AugmentationOptions(size=32, scale=(0.2, 1.0))
    first = Augment(SIMCLR).draw(100, 48, torch_generator(3))
    second = Augment(plain).draw(100, 48, torch_generator(3))
    third = Augment(replace(SIMCLR, scale=(0.9, 1.0))).draw(100, 48, torch_generator(3))
    assert torch.equal(first.boxes, second.boxes)
    assert not torch.equal(first.boxes, third.boxes)
    for ours, theirs in zip(first[1:], third[1:], strict=True):
        assert torch.equal(ours, theirs)


def test_changing_one_image_changes_only_its_output() -> None:
    images, augment = pictures(32, 48), Augment(SIMCLR)
    drawn = augment.draw(32, 48, torch_generator(4))
    other = images.clone()
    other[9] = 255 - other[9]
    same = (augment.apply(images, drawn) == augment.apply(other, drawn)).flatten(1).all(1)
    assert same.tolist() == [i != 9 for i in range(32)]


def test_apply_changes_neither_its_images_nor_its_parameters() -> None:
    images, augment = pictures(8, 48), Augment(SIMCLR)
    drawn = augment.draw(8, 48, torch_generator(4))
    kept = [images.clone(), *(part.clone() for part in drawn)]
    augment.apply(images, drawn)
    assert all(torch.equal(before, after) for before, after in zip(kept, [images, *drawn], strict=True))


def test_mixed_precision_around_it_changes_no_pixel() -> None:
    images, augment = pictures(8, 48), Augment(SIMCLR)
    plain = augment(images, torch_generator(5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = augment(images, torch_generator(5))
    assert torch.equal(plain, mixed)


def test_an_empty_batch_is_an_empty_batch() -> None:
    empty = Augment(SIMCLR)(torch.empty(0, 3, 48, 48, dtype=torch.uint8), torch_generator(0))
    assert empty.shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    "wrong",
    [
        {"blur_kernel": 4},
        {"blur_kernel": 1},
        {"blur_kernel": 65},
        {"blur_kernel": -3},
        {"scale": (0.0, 1.0)},
        {"scale": (0.2, 1.1)},
        {"scale": (0.9, 0.2)},
        {"ratio": (0.0, 1.0)},
        {"ratio": (2.0, 1.0)},
        {"size": 0},
        {"flip": 1.5},
        {"jitter_probability": -0.1},
        {"grey_probability": math.nan},
        {"blur_probability": 2.0},
        {"jitter": (0.4, -0.4, 0.4, 0.1)},
        {"jitter": (0.4, 0.4, 0.4, 0.6)},
        {"blur_sigma": (0.0, 2.0)},
        {"std": (0.2, 0.0, 0.2)},
    ],
)
def test_an_option_without_meaning_is_refused_by_name(wrong: dict) -> None:
    with pytest.raises(UserError, match=f"augmentation option {next(iter(wrong))} ="):
        replace(SIMCLR, **wrong)


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, 3, 8, 9, dtype=torch.uint8)],
)
def test_images_of_another_type_or_shape_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="not uint8"):
        Augment(SIMCLR)(images, torch_generator(0))
    with pytest.raises(ValueError, match="not uint8"):
        centre(images, 8, SIMCLR.mean, SIMCLR.std)


def test_parameters_for_another_number_of_images_are_refused() -> None:
    augment = Augment(SIMCLR)
    with pytest.raises(ValueError, match="2 images, but parameters for 3"):
        augment.apply(pictures(2, 48), augment.draw(3, 48, torch_generator(0)))

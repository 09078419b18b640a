"""Colour operations: parity with torchvision image by image."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as oracle

from vlrepro.data.colour import brightness_, contrast_, hue_, jitter_colour, saturation_, to_grey
from vlrepro.randomness import torch_generator

ORACLES = (oracle.adjust_brightness, oracle.adjust_contrast, oracle.adjust_saturation, oracle.adjust_hue)


def floats(count: int, size: int) -> Tensor:
    """Noise in [0, 1], except that the first two are flat: black, and a grey."""
    images = torch.rand(count, 3, size, size, generator=torch_generator("colours"))
    images[0], images[1] = 0, 0.3
    return images


def expected_colours(image: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    for column in order.tolist():
        image = ORACLES[column](image, float(factors[column]))
    return image


@pytest.mark.parametrize(
    ("ours", "theirs", "low", "high"),
    [
        (brightness_, oracle.adjust_brightness, 0.0, 2.5),
        (contrast_, oracle.adjust_contrast, 0.0, 2.5),
        (saturation_, oracle.adjust_saturation, 0.0, 2.5),
        (hue_, oracle.adjust_hue, -0.5, 0.5),
    ],
)
def test_each_colour_operation_equals_torchvision(ours, theirs, low: float, high: float) -> None:
    images, factors = floats(23, 16), torch.linspace(low, high, 23)
    changed = images.clone()
    ours(changed, factors)
    for i, image in enumerate(images):
        torch.testing.assert_close(changed[i], theirs(image, float(factors[i])), atol=1e-5, rtol=0)


@given(shift=st.floats(-0.5, 0.5, width=32))
@settings(deadline=None)
def test_hue_agrees_on_the_corners_and_edges_of_the_colour_cube(shift: float) -> None:
    levels = torch.tensor(list(itertools.product((0.0, 0.25, 0.5, 1.0), repeat=3))).T.reshape(1, 3, 8, 8)
    changed = levels.clone()
    hue_(changed, torch.tensor([shift]))
    torch.testing.assert_close(changed, oracle.adjust_hue(levels, shift), atol=1e-5, rtol=0)


def test_every_order_of_the_colour_operations_is_that_images_own() -> None:
    order = torch.tensor(list(itertools.permutations(range(4)))).repeat(2, 1)[torch.arange(48) * 29 % 48]
    images = floats(48, 8)
    factors = torch.stack(
        [torch.linspace(0.6, 1.4, 48).roll(7 * k) for k in range(3)] + [torch.linspace(-0.1, 0.1, 48)], dim=1
    )
    ours = jitter_colour(images, factors, order)
    for i, image in enumerate(images):
        torch.testing.assert_close(ours[i], expected_colours(image, factors[i], order[i]), atol=1e-5, rtol=0)


def test_grey_equals_torchvision() -> None:
    images = floats(5, 9)
    torch.testing.assert_close(to_grey(images), oracle.rgb_to_grayscale(images, 3), atol=1e-6, rtol=0)

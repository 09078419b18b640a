"""Baselines: each as defined, and what they are worth on centred objects and on objects anywhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlrepro.errors import UserError
from vlrepro.saliency.baselines import (
    SIGMAS,
    all_background,
    all_object,
    ceiling,
    centred_gaussian,
    edges,
    mean_mask,
    noise,
    tuned_gaussian,
)
from vlrepro.saliency.canvas import IGNORE
from vlrepro.saliency.overlap import count, mean_iou
from vlrepro.saliency.precision import average_precision
from vlrepro.saliency.resizing import cell_sums, upsampled
from vlrepro.saliency.thresholds import MEAN, binarise


def squares(n, side=24, size=10, spread=0, seed=0):
    """Masks of one square each, at the centre or up to `spread` pixels from it."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, side, side), np.uint8)
    for mask in masks:
        y, x = (side - size) // 2 + rng.integers(-spread, spread + 1, 2)
        mask[y : y + size, x : x + size] = 1
    return masks


def iou_of(baseline, masks):
    return mean_iou(count(binarise(baseline.maps(len(masks)), masks, baseline.threshold), masks)).value


def test_all_object_and_all_background():
    masks = squares(4)
    share = 100 / 576
    assert iou_of(all_object((24, 24)), masks) == pytest.approx(share / 2)
    assert iou_of(all_background((24, 24)), masks) == pytest.approx((1 - share) / 2)
    assert average_precision(all_object((24, 24)).maps(4), masks).value == pytest.approx(share)


def test_noise_depends_on_the_key_alone():
    maps = noise(["a", "b", "c"], (6, 8))
    assert maps.shape == (3, 6, 8)
    assert np.array_equal(noise(["c", "a"], (6, 8)), maps[[2, 0]])
    assert not np.array_equal(noise(["a"], (6, 8), seed=1)[0], maps[0])
    coarse = noise(["a"], (28, 28), cells=7)
    assert np.abs(np.diff(coarse, axis=1)).max() < np.abs(np.diff(noise(["a"], (28, 28)), axis=1)).max() / 2


def test_the_gaussian_is_centred_and_scales_with_the_sides():
    one = centred_gaussian((5, 9), 0.25)
    assert one[2, 4] == one.max() == 1
    assert np.allclose(one, one[::-1, ::-1])
    assert one[2, 8] == pytest.approx(np.exp(-((4 / 9) ** 2) / (2 * 0.25**2)))
    assert one[4, 4] == pytest.approx(np.exp(-((2 / 5) ** 2) / (2 * 0.25**2)))
    masks = squares(6, spread=4)
    ranked = [
        average_precision(np.broadcast_to(centred_gaussian((24, 24), s), masks.shape), masks).value for s in SIGMAS
    ]
    assert ranked == pytest.approx([ranked[0]] * len(ranked))


def test_the_tuned_gaussian_is_the_best_of_its_widths():
    masks = squares(20, spread=3)
    tuned, sigma = tuned_gaussian(masks)
    scores = {}
    for width in SIGMAS:
        maps = np.broadcast_to(centred_gaussian((24, 24), width), masks.shape)
        scores[width] = mean_iou(count(binarise(maps, masks, MEAN), masks)).value
    assert scores[sigma] == max(scores.values())
    assert np.array_equal(tuned.map, centred_gaussian((24, 24), sigma))
    assert iou_of(tuned, masks) >= scores[sigma]
    assert tuned.threshold.rule == "level"


def test_the_mean_mask_by_hand():
    masks = np.array([[[1, 1, 0, IGNORE]], [[1, 0, 0, IGNORE]], [[1, IGNORE, 0, IGNORE]]], np.uint8)
    baseline = mean_mask(masks)
    assert baseline.map == pytest.approx(np.array([[1, 1 / 2, 0, 4 / 8]]))
    # Called object from above 1/2: of 4 object pixels 3 are found, none wrongly; above 0 one more, and one wrongly.
    assert iou_of(baseline, masks) == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_training_masks_are_never_those_scored():
    """Tuning sees its own masks only: another test set changes neither map nor threshold."""
    train, test = squares(20, spread=2), squares(20, spread=6, seed=1)
    before = tuned_gaussian(train)[0].threshold
    iou_of(tuned_gaussian(train)[0], test)
    assert tuned_gaussian(train)[0].threshold == before
    assert iou_of(mean_mask(train), train) > iou_of(mean_mask(train), test)


def test_edges_by_hand():
    picture = np.zeros((1, 3, 5, 6), np.uint8)
    picture[..., 3:] = 10
    found = edges(picture)[0]
    assert found[:, [0, 1, 4, 5]].max() == 0
    assert found[:, 2:4] == pytest.approx(np.sqrt(3 * (4 * 10) ** 2))  # Sobel's kernel sums to 4, three channels
    both = edges(np.concatenate([picture, picture * 0]))
    assert np.array_equal(both[0], found)  # a picture's edges do not depend on the others
    assert not both[1].any()
    assert edges(np.full((1, 3, 5, 5), 200, np.uint8)).max() == 0
    assert edges(picture, blur=1.0)[0, 2, 1] > 0
    with pytest.raises(UserError, match=r"pass \(n, channels, H, W\)"):
        edges(picture[0])


@pytest.mark.parametrize(
    ("small", "shape"), [((7, 7), (96, 96)), ((3, 5), (10, 7)), ((4, 4), (4, 4)), ((6, 6), (4, 3))]
)
def test_upsampling_is_torchs(small, shape):
    maps = np.random.default_rng(0).normal(size=(2, *small))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[:, None], shape, mode="bilinear", align_corners=False
    )
    assert np.allclose(upsampled(maps, shape), expected[:, 0].numpy())


def test_cells_share_pixels_by_area():
    maps = np.arange(25.0).reshape(1, 5, 5)
    sums = cell_sums(maps, 2)
    weights = [1, 1, 0.5, 0, 0]
    assert sums[0, 0, 0] == pytest.approx(
        sum(a * b * maps[0, y, x] for y, a in enumerate(weights) for x, b in enumerate(weights))
    )
    assert sums.sum() == pytest.approx(maps.sum())
    assert np.allclose(cell_sums(maps, 5), maps)


def test_the_ceiling_by_hand_and_at_full_resolution():
    masks = np.zeros((1, 4, 4), np.uint8)
    masks[0, :2, :2] = 1
    masks[0, 0, 2] = IGNORE
    masks[0, 1, 3] = 1
    assert ceiling(masks, 2)[0, [0, 0, 3, 3], [0, 3, 0, 3]] == pytest.approx([1, 1 / 3, 0, 0])
    assert np.array_equal(ceiling(masks, 4), masks == 1)
    masks[0, :2, 2:] = IGNORE
    assert ceiling(masks, 2)[0, 0, 3] == 0


@given(st.integers(4, 9), st.integers(0, 6))
@settings(max_examples=20, deadline=None)
def test_finer_ceilings_are_higher_and_below_the_truth(size, seed):
    masks = squares(5, side=32, size=2 * size, spread=5, seed=seed)
    scores = [average_precision(ceiling(masks, cells), masks).value for cells in (2, 8, 32)]
    assert scores[0] <= scores[1] + 0.02
    assert scores[1] <= scores[2] == 1

"""Saliency scores: against plain loops and scikit-learn, by hand, and by laws that any such score obeys."""

import math
import time
from statistics import fmean

import numpy as np
import pytest
import saliency_oracles as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, jaccard_score

from vlrepro.errors import UserError
from vlrepro.saliency.canvas import IGNORE, OBJECT, rescaled
from vlrepro.saliency.localisation import energy_share, pointing_game, rank_accuracy
from vlrepro.saliency.overlap import count, hard_label_precision, mean_iou, object_iou, pixel_accuracy
from vlrepro.saliency.precision import average_precision, pooled_average_precision, two_class_average_precision
from vlrepro.saliency.scores import score_maps
from vlrepro.saliency.sizes import bin_names, by_bin, centre_distances, object_shares
from vlrepro.saliency.statistics import Ratio
from vlrepro.saliency.thresholds import LEVELS, MEAN, ZERO, Threshold, best_threshold, binarise

SHAPE = (3, 4, 5)
THRESHOLDS = {"mean": MEAN, "zero": ZERO, "top": Threshold("quantile", 0.7), "level": Threshold("level", 0.25)}
# Few values, so that ties are common; quarters, so that sums and rescaled values have no rounding.
VALUES = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0])


@st.composite
def scored_sets(draw):
    """(maps, masks) of a small set; every mask has an object."""
    maps = draw(arrays(np.float32, SHAPE, elements=VALUES))
    masks = draw(arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 0, 1, 1, IGNORE])))
    places = draw(st.lists(st.integers(0, 19), min_size=3, max_size=3))
    masks.reshape(3, 20)[range(3), places] = OBJECT
    return maps, masks


def images_of(maps, masks):
    return [oracle.pixels_of(one, mask) for one, mask in zip(maps, masks, strict=True)]


@given(scored_sets())
@settings(max_examples=60, deadline=None)
def test_threshold_free_scores_against_loops(data):
    maps, masks = data
    images = images_of(maps, masks)
    expected = [oracle.average_precision(pixels) for pixels in images]
    assert average_precision(maps, masks).images == pytest.approx(expected)
    assert average_precision(maps, masks).value == pytest.approx(fmean(expected))
    two = [oracle.average_precision(oracle.both_classes(oracle.rescaled(pixels))) for pixels in images]
    assert two_class_average_precision(maps, masks).images == pytest.approx(two)
    levels = [(math.ceil(v * LEVELS), label) for pixels in images for v, label in oracle.rescaled(pixels)]
    assert pooled_average_precision(maps, masks).value == pytest.approx(oracle.average_precision(levels))
    assert energy_share(maps, masks).images == pytest.approx([oracle.energy(pixels) for pixels in images])
    assert rank_accuracy(maps, masks).images == pytest.approx([oracle.rank(pixels) for pixels in images])
    for reach in (0.0, 1.0, 1.5):
        hits = [oracle.pointing(one, mask, reach) for one, mask in zip(maps, masks, strict=True)]
        assert pointing_game(maps, masks, reach).images == pytest.approx(hits)


@given(scored_sets(), st.sampled_from(["mean", "value", "quantile", "level"]), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
@settings(max_examples=120, deadline=None)
def test_overlaps_against_loops(data, rule, at):
    maps, masks = data
    counts = count(binarise(maps, masks, Threshold(rule, at)), masks)
    called = [oracle.binarised(pixels, rule, at) for pixels in images_of(maps, masks)]
    assert (object_iou(counts).value, mean_iou(counts).value) == pytest.approx(oracle.set_iou(called))
    alone = [oracle.set_iou([image]) for image in called]
    assert object_iou(counts).per_image().value == pytest.approx(fmean(iou for iou, _ in alone))
    assert mean_iou(counts).images == pytest.approx([iou for _, iou in alone])
    assert pixel_accuracy(counts).images == pytest.approx([oracle.accuracy(image) for image in called])
    flat = [pair for image in called for pair in image]
    assert pixel_accuracy(counts).value == pytest.approx(oracle.accuracy(flat))
    ranked = [oracle.average_precision(oracle.both_classes([(float(p), y) for p, y in image])) for image in called]
    assert hard_label_precision(counts).images == pytest.approx(ranked)


@given(scored_sets())
@settings(max_examples=25, deadline=None)
def test_the_best_threshold_is_the_best_of_all(data):
    maps, masks = data
    best = best_threshold(maps, masks)
    images = images_of(maps, masks)
    tried = {
        level: oracle.set_iou([oracle.binarised(pixels, "level", level) for pixels in images])[1]
        for level in (k / LEVELS for k in range(0, LEVELS + 1, 64))
    }
    mine = mean_iou(count(binarise(maps, masks, best), masks)).value
    # A constant map is rescaled to 1/2: object below that level to the fit, always background to the rule.
    if all(one[mask != IGNORE].min() < one[mask != IGNORE].max() for one, mask in zip(maps, masks, strict=True)):
        assert mine >= max(tried.values()) - 1e-9
        assert best.at not in tried or mine == pytest.approx(tried[best.at])


def random_set(n=40, side=16, seed=0):
    rng = np.random.default_rng(seed)
    masks = (rng.random((n, side, side)) < 0.3).astype(np.uint8)
    masks[rng.random(masks.shape) < 0.1] = IGNORE
    masks[:, 0, 0] = OBJECT
    return (rng.normal(size=masks.shape) + (masks == OBJECT)).astype(np.float32), masks


def test_against_scikit_learn():
    maps, masks = random_set()
    maps = np.round(maps, 1)  # ties
    valid = masks != IGNORE
    soft, two = average_precision(maps, masks).images, two_class_average_precision(maps, masks).images
    predictions = binarise(maps, masks, MEAN)
    counts = count(predictions, masks)
    scaled = rescaled(maps, masks)
    for i in range(len(maps)):
        chosen, labels = valid[i], masks[i][valid[i]] == OBJECT
        assert soft[i] == pytest.approx(average_precision_score(labels, maps[i][chosen]))
        s = scaled[i][chosen]
        both = np.stack([~labels, labels], axis=1)
        micro = average_precision_score(both, np.stack([1 - s, s], axis=1), average="micro")
        assert two[i] == pytest.approx(micro)
        b = predictions[i][chosen].astype(float)
        hard = average_precision_score(both, np.stack([1 - b, b], axis=1), average="micro")
        assert hard_label_precision(counts).images[i] == pytest.approx(hard)
        assert object_iou(counts).images[i] == pytest.approx(jaccard_score(labels, b > 0))
        assert mean_iou(counts).images[i] == pytest.approx(jaccard_score(labels, b > 0, average="macro"))
    pooled = average_precision_score(masks[valid] == OBJECT, np.ceil(scaled[valid] * LEVELS))
    assert pooled_average_precision(maps, masks).value == pytest.approx(pooled)


def test_an_example_by_hand():
    """Two images of 2 x 3 pixels: 3 of 6 pixels are object in the first, 1 of 5 valid ones in the second."""
    maps = np.array([[[4, 3, 2], [1, 0, 0]], [[0, 4, 0], [2, 0, 9]]], np.float32)
    masks = np.array([[[1, 0, 1], [0, 1, 0]], [[0, 0, 0], [1, 0, 255]]], np.uint8)
    # First: object at ranks 1 and 3, then a tie of the last two with one object: 1/1, 2/3, 3/6, a third each.
    # Second: the 9 is ignored, so the object is second of 5: 1/2.
    assert average_precision(maps, masks).images == pytest.approx([(1 + 2 / 3 + 1 / 2) / 3, 1 / 2])
    # Means are 10/6 and 6/5: called object are the pixels 4 3 2, and 4 2.
    counts = count(binarise(maps, masks, MEAN), masks)
    assert object_iou(counts).images == pytest.approx([2 / 4, 1 / 2])
    assert object_iou(counts).value == pytest.approx((2 + 1) / (4 + 2))
    assert mean_iou(counts).value == pytest.approx(((2 + 1) / (4 + 2) + (2 + 3) / (4 + 4)) / 2)
    assert mean_iou(counts).per_image().value == pytest.approx((2 / 4 + 2 / 4 + 1 / 2 + 3 / 4) / 4)
    assert pixel_accuracy(counts).value == pytest.approx((4 + 4) / (6 + 5))
    first, second = 4 / 6, 4 / 5
    hard = [first**2 + (1 - first) / 2, second**2 + (1 - second) / 2]
    assert hard_label_precision(counts).images == pytest.approx(hard)
    # The highest pixel of the second is one column and one row from its object.
    assert pointing_game(maps, masks, 1.0).images.tolist() == [1, 0]
    assert pointing_game(maps, masks, 1.5).images.tolist() == [1, 1]
    assert energy_share(maps, masks).images == pytest.approx([6 / 10, 2 / 6])
    # Top 3 of the first are 4 3 2, two of them object; top 1 of the second is 4.
    assert rank_accuracy(maps, masks).images == pytest.approx([2 / 3, 0])
    # One list: levels 1, 1 of the two maxima (one object), .75, .5 (two, both object), .25, 0 (six, one object).
    pooled = (1 / 2 + 2 * 3 / 5 + 4 / 11) / 4
    assert pooled_average_precision(maps, masks).value == pytest.approx(pooled, abs=1e-12)


def test_two_classes_by_hand():
    maps, masks = np.array([[[1.0, 0.25, 0.0]]]), np.array([[[1, 1, 0]]], np.uint8)
    # 1 twice (object as object, background as background), .75 (wrong), .25 (right), 0 twice (wrong).
    assert two_class_average_precision(maps, masks).value == pytest.approx((2 * 1 + 3 / 4) / 3)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 1e30])
def test_constant_maps_say_nothing(value):
    masks = random_set(5)[1]
    maps = np.full(masks.shape, value, np.float32)
    shares = object_shares(masks)
    for score in (average_precision, energy_share, rank_accuracy):
        assert score(maps, masks).images == pytest.approx(shares)
    assert pooled_average_precision(maps, masks).value == pytest.approx((masks == 1).sum() / (masks != IGNORE).sum())
    assert two_class_average_precision(maps, masks).images == pytest.approx([0.5] * 5)
    assert pointing_game(maps, masks, 0).images == pytest.approx(shares)
    for threshold in (MEAN, Threshold("quantile", 0.0), Threshold("level", 0.2)):
        assert not binarise(maps, masks, threshold).any()


def test_increasing_transforms_change_no_ranking_and_affine_ones_no_score():
    maps, masks = random_set()
    maps = maps.astype(np.float64)  # in single precision some neighbours would become ties
    for transformed in (np.exp(maps), maps**3 + 5, np.tanh(maps / 4)):
        for score in (average_precision, rank_accuracy, pointing_game):
            assert score(transformed, masks).images == pytest.approx(score(maps, masks).images)
    scores, moved = (score_maps(m, masks, {"mean": MEAN, "top": THRESHOLDS["top"]}) for m in (maps, maps * 4 + 2))
    for name, statistic in scores.items():
        assert moved[name].value == pytest.approx(statistic.value, abs=1e-6), name


def test_iou_is_symmetric():
    masks = random_set()[1] & 1  # without ignored pixels
    other = np.roll(masks, 3, axis=0)
    other[:, 0, 0] = masks[:, 0, 0] = 1
    for score in (object_iou, mean_iou, pixel_accuracy):
        assert np.array_equal(score(count(other == 1, masks)).images, score(count(masks == 1, other)).images)


def test_permuted_images_change_nothing():
    maps, masks = random_set()
    order = np.random.default_rng(1).permutation(len(maps))
    scores, shuffled = (score_maps(m, k, THRESHOLDS) for m, k in ((maps, masks), (maps[order], masks[order])))
    for name, statistic in scores.items():
        assert shuffled[name].value == pytest.approx(statistic.value, rel=1e-12), name
        assert shuffled[name].of(np.argsort(order)).value == pytest.approx(statistic.value, rel=1e-12), name


def test_ignored_pixels_change_nothing():
    maps, masks = random_set()
    other = maps.copy()
    other[masks == IGNORE] = np.random.default_rng(2).normal(scale=100, size=(masks == IGNORE).sum())
    padded_maps = np.pad(maps, ((0, 0), (0, 3), (0, 0)), constant_values=1e6)
    padded_masks = np.pad(masks, ((0, 0), (0, 3), (0, 0)), constant_values=IGNORE)
    scores = score_maps(maps, masks, THRESHOLDS)
    for name, statistic in score_maps(other, masks, THRESHOLDS).items():
        assert statistic.value == pytest.approx(scores[name].value, rel=1e-12), name
    for name, statistic in score_maps(padded_maps, padded_masks, THRESHOLDS).items():
        if name != "pointing_game":  # its tolerance is a share of the canvas
            assert statistic.value == pytest.approx(scores[name].value, rel=1e-9), name
    assert best_threshold(other, masks) == best_threshold(maps, masks)


def test_perfect_and_inverted_maps():
    masks = random_set()[1]
    perfect = (masks == OBJECT).astype(np.float32)
    for name, statistic in score_maps(perfect, masks, {"mean": MEAN, "zero": ZERO}).items():
        assert statistic.value == 1, name
    inverted = score_maps(1 - perfect, masks, {"mean": MEAN})
    for name in ("mean_iou_at_mean", "object_iou_at_mean", "pixel_accuracy_at_mean", "energy_share", "rank_accuracy"):
        assert inverted[name].value == 0, name


def test_chance_levels():
    """What is known of predictions that look at nothing: for noise, called object with chance 1/2."""
    rng = np.random.default_rng(0)
    masks = np.zeros((200, 32, 32), np.uint8)
    masks[:, 8:24, 6:20] = 1
    p = object_shares(masks)[0]
    scores = score_maps(rng.random(masks.shape), masks, {"mean": MEAN})
    assert scores["object_iou_at_mean"].value == pytest.approx(p / (1 + p), abs=3e-3)
    assert scores["mean_iou_at_mean"].value == pytest.approx((p / (1 + p) + (1 - p) / (2 - p)) / 2, abs=3e-3)
    assert scores["pixel_accuracy_at_mean"].value == pytest.approx(0.5, abs=3e-3)
    assert scores["hard_label_precision_at_mean"].value == pytest.approx(0.5, abs=3e-3)
    assert scores["two_class_average_precision"].value == pytest.approx(0.5, abs=5e-3)
    assert scores["average_precision"].value == pytest.approx(p, abs=1e-2)
    everything = np.ones(masks.shape, bool)
    assert mean_iou(count(everything, masks)).value == pytest.approx(p / 2)
    assert mean_iou(count(~everything, masks)).value == pytest.approx((1 - p) / 2)


def test_bins_of_size_and_place():
    masks = np.zeros((4, 20, 20), np.uint8)
    masks[0, :4, :5] = 1  # 5 %: on an edge, so in the lower bin
    masks[1, :10, :9] = 1
    masks[2, :, :11] = 1
    masks[3, 5:15, 5:15] = 1
    assert object_shares(masks) == pytest.approx([0.05, 0.225, 0.55, 0.25])
    assert bin_names() == ("0-5%", "5-25%", "25-50%", "50-100%")
    counts = count(np.ones(masks.shape, bool), masks)
    bins = by_bin(object_iou(counts), object_shares(masks))
    assert {name: (part.n, part.value) for name, part in bins.items()} == {
        "0-5%": (1, 0.05),
        "5-25%": (2, pytest.approx(190 / 800)),
        "50-100%": (1, pytest.approx(0.55)),
    }
    distances = centre_distances(masks)
    assert distances[3] == 0
    assert distances[0] == pytest.approx(math.hypot(8, 7.5) / math.hypot(10, 10))
    with pytest.raises(UserError, match="one share an image"):
        by_bin(object_iou(counts), object_shares(masks)[:2])


def test_what_cannot_be_scored_is_refused():
    maps, masks = random_set(4)
    with pytest.raises(UserError, match=r"maps of shape \(3, 16, 16\)"):
        average_precision(maps[:3], masks)
    with pytest.raises(UserError, match="masks of uint8 with the values 0, 1, 7"):
        average_precision(maps, np.where(masks == IGNORE, 7, masks).astype(np.uint8))
    with pytest.raises(UserError, match="masks of int64"):
        average_precision(maps, masks.astype(np.int64))
    empty = masks.copy()
    empty[2][empty[2] == 1] = 0
    with pytest.raises(UserError, match=r"mask 2 has no object pixel \(1 such\)"):
        count(maps > 0, empty)
    broken = maps.copy()
    broken[1, 3, 3] = np.nan
    with pytest.raises(UserError, match="map 1 has a value that is no finite number"):
        score_maps(broken, masks, {})
    with pytest.raises(UserError, match=r"quantile at 1\.5"):
        Threshold("quantile", 1.5)


def test_an_absent_class_that_is_not_called_counts_as_right():
    masks = np.ones((1, 2, 2), np.uint8)
    assert mean_iou(count(masks == 1, masks)).value == 1
    assert Ratio(np.zeros((2, 1)), np.zeros((2, 1))).value == 1


def test_a_thousand_maps_take_seconds():
    maps, masks = random_set(200, 96)
    start = time.perf_counter()
    score_maps(maps, masks, {"mean": MEAN})
    assert time.perf_counter() - start < 10  # about one here; loops would take minutes

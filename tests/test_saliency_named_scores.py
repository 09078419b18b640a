"""Scores by their short names, against loops over pixels."""

import math

import numpy as np
import pytest
import saliency_oracles as oracle
from saliency_sets import pictures

from vlrepro.saliency.evaluation import plain
from vlrepro.saliency.named_scores import brief_scores, named_scores
from vlrepro.saliency.thresholds import LEVELS, MEAN, ZERO, Threshold
from vlrepro.tables.saliency_columns import BRIEF, SCORES


@pytest.fixture(scope="module")
def masks():
    return np.stack([one.mask for one in pictures() if one.split == "test"])


def noisy(masks, seed=0):
    """Signed maps with ties that know a little of the object."""
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(size=masks.shape) + (masks == 1) - 0.3, 1).astype(np.float32)


@pytest.mark.parametrize("published", [MEAN, ZERO])
def test_every_short_name_is_the_score_it_stands_for(masks, published):
    tuned = Threshold("level", 0.625)
    maps = noisy(masks)
    scores = named_scores(maps, masks, published, tuned)
    assert set(scores.statistics) == set(SCORES)
    expected = oracle.all_scores(maps, masks, published, tuned)
    for name, statistic in scores.statistics.items():
        assert statistic.value == pytest.approx(expected[name]), name
    sizes = [statistic.n for name, statistic in scores.statistics.items() if name.startswith(("ap_to", "ap_over"))]
    assert (len(sizes), sum(sizes)) == (4, len(masks))
    pairs = zip(maps, masks, strict=True)
    pixels = [pair for one, mask in pairs for pair in oracle.rescaled(oracle.pixels_of(one, mask))]
    levels = [(math.ceil(value * LEVELS), label) for value, label in pixels]
    assert scores.values == {"ap_pooled": pytest.approx(oracle.average_precision(levels))}


def test_sizes_that_no_picture_has_are_left_out(masks):
    small = masks[(masks == 1).mean(axis=(1, 2)) < 0.05]
    scores = named_scores(noisy(small), small, MEAN, MEAN).statistics
    assert set(SCORES) - set(scores) == {"ap_to_25", "ap_to_50", "ap_over_50"}
    assert scores["ap_to_5"].value == scores["ap"].value


def test_brief_scores_are_three_of_all(masks):
    brief, every = brief_scores(noisy(masks), masks, ZERO), named_scores(noisy(masks), masks, ZERO, MEAN)
    assert tuple(brief.statistics) == BRIEF
    whole = plain(every)["scores"]
    assert plain(brief) == {"scores": {name: whole[name] for name in BRIEF}, "values": {}}

"""Set scores under the tables' resamples: the same draws, ratios anew in each, and intervals that cover."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from vlrepro.errors import UserError
from vlrepro.saliency.canvas import OBJECT
from vlrepro.saliency.overlap import count, mean_iou, object_iou
from vlrepro.saliency.precision import average_precision, pooled_average_precision
from vlrepro.saliency.scores import score_maps
from vlrepro.saliency.statistics import from_plain, mean_of, to_plain
from vlrepro.saliency.thresholds import MEAN
from vlrepro.tables.saliency_resampling import resample_statistics
from vlrepro.tables.statistics import Scores, example_weights, mean_interval, paired_difference, resample_column


def images(n, seed, strength=1.0, side=8):
    rng = np.random.default_rng(seed)
    masks = (rng.random((n, side, side)) < rng.random((n, 1, 1)) * 0.6).astype(np.uint8)
    masks[:, 0, 0] = OBJECT
    return (rng.normal(size=masks.shape) + strength * (masks == OBJECT)).astype(np.float32), masks


def test_a_mean_over_images_gets_the_draws_of_every_other_score():
    values = np.random.default_rng(0).random((3, 30))
    plain = resample_column({"row": Scores(values, (2, 0, 1))}, "maps", 200)["row"]
    mine = resample_statistics({"row": {s: mean_of(values[i]) for i, s in enumerate((2, 0, 1))}}, "maps", 200)["row"]
    assert mine.seeds == plain.seeds == (0, 1, 2)
    assert mine.means == pytest.approx(plain.means)
    assert mine.draws == pytest.approx(plain.draws)


def test_every_resample_is_the_score_of_the_images_drawn():
    """A resample that draws an image twice is the score of a set that holds it twice."""
    maps, masks = images(12, 1)
    counts = count(maps > 0.5, masks)
    rows = {"iou": {0: mean_iou(counts)}, "pooled": {0: pooled_average_precision(maps, masks)}}
    resampled = resample_statistics(rows, "maps", 20)
    _, weights = next(example_weights("maps", np.full(12, 1 / 12), 20))
    for draw in range(20):
        drawn = np.repeat(np.arange(12), np.round(weights[draw] * 12).astype(int))
        again = mean_iou(count(maps[drawn] > 0.5, masks[drawn])).value
        assert resampled["iou"].draws[0, draw] == pytest.approx(again)
        pooled = pooled_average_precision(maps[drawn], masks[drawn]).value
        assert resampled["pooled"].draws[0, draw] == pytest.approx(pooled)


def test_pooled_precision_against_scikit_learn_under_weights():
    maps, masks = images(6, 2)
    maps = (maps - maps.min(axis=(1, 2), keepdims=True)) / np.ptp(maps, axis=(1, 2), keepdims=True)
    levels = np.ceil(maps.astype(np.float64) * 1024)
    weights = np.array([[1.0, 0.5, 0.0, 2.0, 0.25, 1.0]])
    pixels = np.broadcast_to(weights[0][:, None, None], masks.shape)
    expected = average_precision_score(masks.ravel(), levels.ravel(), sample_weight=pixels.ravel())
    assert pooled_average_precision(levels, masks).under(weights)[0] == pytest.approx(expected)


def test_metrics_files_hold_statistics_exactly():
    maps, masks = images(5, 4)
    weights = np.random.default_rng(0).random((3, 5))
    for statistic in score_maps(maps, masks, {"mean": MEAN}).values():
        again = from_plain(json.loads(json.dumps(to_plain(statistic))))
        assert np.array_equal(again.under(weights), statistic.under(weights))
    with pytest.raises(UserError, match="no statistic in the keys kind, values"):
        from_plain({"kind": "ratio", "values": []})


def test_differences_are_paired():
    maps, masks = images(60, 3)
    better = maps + 0.3 * (masks == OBJECT)
    rows = {name: {0: average_precision(values, masks)} for name, values in (("a", better), ("b", maps))}
    resampled = resample_statistics(rows, "maps", 400)
    paired = mean_interval(paired_difference(resampled["a"], resampled["b"]))
    apart = [mean_interval(resampled[name]) for name in rows]
    assert paired.low > 0
    assert paired.high - paired.low < 0.5 * min(one.high - one.low for one in apart)


def test_intervals_of_a_ratio_cover_its_value():
    """95 % intervals of the set's IoU hold the value of a very large set in about 95 % of draws of 60 images."""

    def score(seed, n):
        maps, masks = images(n, seed)
        return object_iou(count(maps > 0.5, masks))

    truth = score(999, 20_000).value
    intervals = [
        mean_interval(resample_statistics({"row": {0: score(seed, 60)}}, f"c{seed}", 200)["row"]) for seed in range(150)
    ]
    covered = np.mean([one.low <= truth <= one.high for one in intervals])
    assert 0.88 <= covered <= 0.99


def test_rows_must_share_their_images():
    first, second = mean_of(np.ones(4)), mean_of(np.ones(5))
    for rows in ({"a": {0: first}, "b": {0: second}}, {"a": {0: first, 1: second}}, {"a": {}}, {}):
        with pytest.raises(UserError, match="maps: rows differ in their images or have none"):
            resample_statistics(rows, "maps", 10)

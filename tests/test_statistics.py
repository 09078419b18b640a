"""The bootstrap against plain loops, textbook intervals and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from vlrepro.errors import UserError
from vlrepro.randomness import numpy_generator
from vlrepro.tables import statistics
from vlrepro.tables.statistics import (
    Resampled,
    Scores,
    average_over_columns,
    interval,
    mean_interval,
    paired_difference,
    resample_column,
    resample_table,
    seed_weights,
    shifted,
)


def correct(shape: tuple[int, int], rate: float, key: int) -> np.ndarray:
    return (np.random.default_rng(key).random(shape) < rate).astype(float)


def one(
    values: np.ndarray, column: str = "set", seeds: tuple[int, ...] | None = None, resamples: int = 2000
) -> Resampled:
    seeds = tuple(range(len(values))) if seeds is None else seeds
    return resample_column({"row": Scores(values, seeds)}, column, resamples)["row"]


def slow_interval(values: np.ndarray, column: str, resamples: int) -> tuple[float, float, float]:
    """The documented bootstrap, one number at a time."""
    seeds, examples = values.shape
    drawn = numpy_generator("pigeonhole", "examples", column, examples).integers(
        0, examples, size=(resamples, examples)
    )
    generator = numpy_generator("pigeonhole", "seeds", ",".join(str(seed) for seed in range(seeds)))
    counts = generator.multinomial(seeds, [1 / seeds] * seeds, size=resamples)
    widening = math.sqrt(seeds / (seeds - 1)) * stats.t.ppf(0.975, seeds - 1) / stats.norm.ppf(0.975)
    estimate = sum(values[s, e] for s in range(seeds) for e in range(examples)) / (seeds * examples)
    squares = 0.0
    for b in range(resamples):
        total = 0.0
        for s in range(seeds):
            weight = 1 / seeds + widening * (counts[b, s] / seeds - 1 / seeds)
            total += weight * sum(values[s, e] for e in drawn[b]) / examples
        squares += (total - estimate) ** 2
    half = stats.norm.ppf(0.975) * math.sqrt(squares / resamples)
    return estimate, estimate - half, estimate + half


def test_agrees_with_a_bootstrap_in_plain_loops() -> None:
    values = np.random.default_rng(1).random((3, 11))
    found = interval(one(values, "plain", resamples=40), lowest=-9, highest=9)
    assert (found.value, found.low, found.high) == pytest.approx(slow_interval(values, "plain", 40), abs=1e-12)


@pytest.mark.parametrize("numbers", [1, 50, 999])
def test_the_size_of_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
    values = correct((2, 25), 0.6, 2)
    whole = one(values, resamples=30)
    monkeypatch.setattr(statistics, "_CHUNK_NUMBERS", numbers)
    np.testing.assert_allclose(one(values, resamples=30).draws, whole.draws, atol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_is_students_interval_where_only_seeds_vary(n: int) -> None:
    per_seed = 0.5 + 0.01 * np.random.default_rng(n).standard_normal(n)
    found = interval(one(np.repeat(per_seed[:, None], 20, axis=1)))
    low, high = stats.t.interval(0.95, n - 1, per_seed.mean(), stats.sem(per_seed))
    assert found.value == pytest.approx(per_seed.mean())
    assert found.high - found.low == pytest.approx(high - low, rel=0.08)


def test_is_the_binomial_interval_with_one_seed_and_says_so() -> None:
    found = interval(one(correct((1, 800), 0.3, 3)))
    half = 1.96 * math.sqrt(found.value * (1 - found.value) / 800)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.06)
    assert (found.covers, found.n_seeds) == ("examples", 1)
    assert interval(one(correct((2, 50), 0.3, 3))).covers == "seeds and examples"


@pytest.mark.parametrize("n", [3, 5])
def test_covers_the_truth(n: int) -> None:
    generator = np.random.default_rng(n)
    tables, hits = 300, 0
    for table in range(tables):
        seed_effect, difficulty = generator.normal(0, 0.05, (n, 1)), generator.uniform(-0.3, 0.3, 80)
        chance = np.clip(0.5 + seed_effect + difficulty, 0, 1)
        found = interval(one((generator.random((n, 80)) < chance).astype(float), f"table {table}", resamples=300))
        hits += found.low <= 0.5 <= found.high
    assert 0.92 <= hits / tables <= 1.0


def test_seed_weights_sum_to_one_and_vary_as_students_t_asks() -> None:
    weights = seed_weights((0, 1, 2), 20_000)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    expected = (stats.t.ppf(0.975, 2) / stats.norm.ppf(0.975)) ** 2 / 3
    values = np.array([-1.0, 0.0, 1.0])  # sample variance 1
    assert np.var(weights @ values) == pytest.approx(expected, rel=0.03)


def test_paired_difference_of_correlated_rows_is_narrower_than_unpaired() -> None:
    generator = np.random.default_rng(5)
    difficulty = generator.random(300)
    rows = {name: Scores((difficulty < rate) * np.ones((3, 1)), (0, 1, 2)) for name, rate in (("a", 0.6), ("b", 0.5))}
    cells = resample_column(rows, "set")
    paired = interval(paired_difference(cells["a"], cells["b"]))
    parts = [interval(cell) for cell in cells.values()]
    unpaired = math.hypot(*(part.high - part.low for part in parts))
    assert paired.high - paired.low < 0.6 * unpaired
    assert paired.value == pytest.approx(parts[0].value - parts[1].value)


def test_identical_rows_differ_by_exactly_nothing() -> None:
    values = correct((3, 60), 0.4, 6)
    cells = resample_column({"a": Scores(values, (0, 1, 2)), "b": Scores(values.copy(), (0, 1, 2))}, "set")
    found = interval(paired_difference(cells["a"], cells["b"]))
    assert (found.value, found.low, found.high) == (0, 0, 0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 30))
def test_swapping_rows_mirrors_the_difference(key: int, n: int, examples: int) -> None:
    generator = np.random.default_rng(key)
    seeds = tuple(range(n))
    rows = {name: Scores(generator.random((n, examples)), seeds) for name in "ab"}
    cells = resample_column(rows, "set", 50)
    forth, back = (interval(paired_difference(cells[x], cells[y])) for x, y in ("ab", "ba"))
    assert (forth.value, forth.low, forth.high) == (-back.value, -back.high, -back.low)


def test_rows_of_a_column_share_their_weights_and_columns_do_not() -> None:
    values = correct((2, 40), 0.5, 7)
    cells = resample_column({"a": Scores(values, (0, 1)), "b": Scores(1 - values, (0, 1))}, "set", 30)
    np.testing.assert_allclose(cells["a"].draws + cells["b"].draws, 1)
    assert not np.allclose(one(values, "other", resamples=30).draws, cells["a"].draws)


def test_another_row_changes_nothing() -> None:
    first, second = (Scores(correct((2, 40), rate, 8), (0, 1)) for rate in (0.3, 0.8))
    alone = resample_column({"a": first}, "set", 30)["a"]
    np.testing.assert_array_equal(resample_column({"b": second, "a": first}, "set", 30)["a"].draws, alone.draws)


def test_the_order_of_seeds_changes_nothing() -> None:
    values = np.random.default_rng(9).random((3, 20))
    order = [2, 0, 1]
    straight = interval(one(values, seeds=(4, 7, 9)))
    assert interval(one(values[order], seeds=tuple((4, 7, 9)[i] for i in order))) == straight


def test_the_order_of_examples_leaves_the_mean() -> None:
    values = np.random.default_rng(10).random((3, 50))
    shuffled = values[:, np.random.default_rng(0).permutation(50)]
    assert interval(one(shuffled)).value == pytest.approx(interval(one(values)).value, abs=1e-14)


def test_weights_give_the_mean_over_classes() -> None:
    generator = np.random.default_rng(11)
    labels = generator.choice(4, size=200, p=[0.6, 0.2, 0.15, 0.05])
    predicted = np.where(generator.random(200) < 0.2 + 0.2 * labels, labels, (labels + 1) % 4)
    weights = 1 / (4 * np.bincount(labels)[labels])
    scores = Scores((predicted == labels).astype(float)[None], (0,), weights)
    found = mean_interval(resample_column({"row": scores}, "set")["row"])
    assert found.value == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found.low < found.value < found.high


def test_uniform_weights_are_the_default() -> None:
    values = correct((2, 32), 0.5, 12)
    weighted = Scores(values, (0, 1), np.full(32, 1 / 32))
    found = resample_column({"row": weighted}, "set", 40)["row"]
    np.testing.assert_array_equal(found.draws, one(values, resamples=40).draws)


def test_each_resample_of_weighted_examples_is_a_mean() -> None:
    scores = Scores(np.full((1, 4), 0.7), (0,), np.array([0.1, 0.2, 0.3, 0.4]))
    found = interval(resample_column({"row": scores}, "set")["row"])
    assert (found.value, found.low, found.high) == pytest.approx((0.7, 0.7, 0.7), abs=1e-12)


def test_weighted_interval_is_not_narrower_than_the_truth() -> None:
    """Two classes of very different size: the spread of the small class rules."""
    generator = np.random.default_rng(13)
    labels = np.repeat([0, 1], [380, 20])
    weights = 1 / (2 * np.bincount(labels)[labels])
    found = [
        resample_column({"row": Scores(correct((1, 400), 0.5, int(k)), (0,), weights)}, "set", 300)["row"]
        for k in generator.integers(0, 10**9, 100)
    ]
    hits = [cell.low <= 0.5 <= cell.high for cell in map(mean_interval, found)]
    assert 0.88 <= np.mean(hits) <= 1


def test_average_is_the_mean_with_shared_seeds_and_separate_examples() -> None:
    per_seed = np.repeat(np.array([[0.4], [0.5], [0.6]]), 30, axis=1)
    only_seeds = [one(per_seed, name) for name in "abcd"]
    width = lambda cell: interval(cell).high - interval(cell).low  # noqa: E731
    assert width(average_over_columns(only_seeds)) == pytest.approx(width(only_seeds[0]))
    only_examples = [one(correct((1, 400), 0.5, key), f"set {key}") for key in range(4)]
    average = average_over_columns(only_examples)
    assert width(average) == pytest.approx(width(only_examples[0]) / 2, rel=0.1)
    assert interval(average).value == pytest.approx(np.mean([interval(cell).value for cell in only_examples]))


def test_average_of_differences_is_the_difference_of_averages() -> None:
    scores = {(r, c): Scores(correct((2, 30), 0.5, i), (0, 1)) for i, (r, c) in enumerate(("ax", "ay", "bx", "by"))}
    cells = resample_table(scores, ["x", "y"])
    one_way = paired_difference(cells["a", "avg"], cells["b", "avg"])
    other = average_over_columns([paired_difference(cells["a", c], cells["b", c]) for c in "xy"])
    np.testing.assert_allclose(one_way.draws, other.draws, atol=1e-15)


def test_missing_seeds_columns_and_rows() -> None:
    scores = {
        ("a", "x"): Scores(correct((3, 30), 0.5, 1), (0, 1, 2)),
        ("a", "y"): Scores(correct((2, 30), 0.5, 2), (2, 0)),
        ("b", "x"): Scores(correct((2, 30), 0.5, 3), (1, 2)),
        ("c", "x"): Scores(np.empty((0, 30)), ()),
    }
    cells = resample_table(scores, ["x", "y"], 20)
    assert set(cells) == {("a", "x"), ("a", "y"), ("a", "avg"), ("b", "x")}
    assert cells["a", "avg"].seeds == (0, 2)
    difference = paired_difference(cells["a", "x"], cells["b", "x"])
    assert difference.seeds == (1, 2)
    expected = scores["a", "x"].values[1:].mean() - scores["b", "x"].values.mean()
    assert interval(difference).value == pytest.approx(expected)
    assert paired_difference(cells["a", "x"], None) is None
    assert paired_difference(cells["a", "x"].of((0,)), cells["b", "x"]) is None


def test_a_share_is_cut_to_its_range() -> None:
    values = np.repeat(np.array([[0.9], [1.0]]), 10, axis=1)
    assert interval(one(values), highest=9).high > 1
    assert mean_interval(one(values)).high == 1
    assert interval(one(1 - values)).low < 0
    assert mean_interval(one(1 - values)).low == 0


def test_a_higher_level_is_wider() -> None:
    cell = one(correct((3, 50), 0.5, 1))
    ends = [interval(cell, level, highest=9) for level in (0.9, 0.95, 0.99)]
    assert ends[0].high < ends[1].high < ends[2].high


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (Scores(np.zeros(3), (0, 1, 2)), "shape"),
        (Scores(np.zeros((2, 3)), (0,)), "2, 3.*1 seeds"),
        (Scores(np.zeros((1, 0)), (0,)), "shape"),
        (Scores(np.zeros((2, 3)), (1, 1)), "twice"),
        (Scores(np.array([[0.5, np.nan]]), (0,)), "numbers in"),
        (Scores(np.array([[0.5, 62.0]]), (0,)), "numbers in"),
        (Scores(np.zeros((1, 3)), (0,), np.ones(2) / 2), "weights of shape"),
        (Scores(np.zeros((1, 3)), (0,), np.ones(3)), "sum to 1"),
        (Scores(np.zeros((1, 3)), (0,), np.array([-1.0, 1, 1])), "negative"),
    ],
)
def test_impossible_scores_are_refused_by_name(cell: Scores, words: str) -> None:
    with pytest.raises(UserError, match=f"simclr on dtd: .*{words}.*: remove the metrics"):
        resample_column({"simclr": cell}, "dtd")


def test_rows_with_other_examples_are_refused() -> None:
    rows = {"a": Scores(np.zeros((1, 3)), (0,)), "b": Scores(np.zeros((1, 4)), (0,))}
    with pytest.raises(UserError, match="b on dtd: other test examples"):
        resample_column(rows, "dtd")


def test_a_shifted_statistic_has_the_same_spread() -> None:
    cell = one(correct((3, 40), 0.6, 14), resamples=50)
    before, after = interval(cell), interval(shifted(cell, 0.25))
    assert (after.value, after.low, after.high) == pytest.approx(
        (before.value - 0.25, before.low - 0.25, before.high - 0.25)
    )

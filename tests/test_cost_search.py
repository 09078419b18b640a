"""Searches for a cost: what they visit, in which order ties are broken, and that they find a peak."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlrepro.evaluation.search import SEARCHES, bisection, grid, window

COARSE = [10.0**decade for decade in range(-6, 7, 2)]


def visits(search, score):
    """What a search returns and the costs it scores, each once, in order."""
    seen = []

    def counted(cost):
        assert cost not in seen
        seen.append(cost)
        return score(cost)

    return search(counted), seen


def sevenths(costs):
    """Costs as steps of a seventh of a decade from 1."""
    steps = [round(7 * math.log10(cost)) for cost in costs]
    assert costs == pytest.approx([10 ** (step / 7) for step in steps])
    return steps


def test_the_window_holds_29_costs_around_the_best_of_seven():
    best, seen = visits(window, lambda cost: -abs(math.log10(cost) - 0.5))
    assert sorted(seen[:7]) == COARSE
    assert sorted(sevenths(seen)) == sorted({*range(-42, 43, 14), *range(-14, 15)})
    assert best == pytest.approx(10 ** (round(0.5 * 7) / 7), rel=0.4)


def test_the_window_ends_at_the_range():
    best, seen = visits(window, lambda cost: math.log10(cost))
    assert best == 1e6
    assert sorted(sevenths(seen)) == sorted({*range(-42, 43, 14), *range(28, 43)})


def test_bisection_visits_what_it_does_by_hand():
    best, seen = visits(bisection, lambda cost: 0.0)  # all equal: always the left half
    assert sevenths(seen) == [*range(-42, 43, 14), -39, -35, -31, -41, -37, -40]
    assert best == 1e-6
    best, seen = visits(bisection, lambda cost: -abs(round(7 * math.log10(cost))))  # middle, middle, right, left, right
    assert sevenths(seen) == [*range(-42, 43, 14), -7, 7, -4, 3, -3, -1, 1, 2]
    assert best == 1


def test_bisection_takes_the_first_visited_of_equal_costs():
    best, _ = visits(bisection, lambda cost: float(0.5 < cost < 20))
    assert best == 1  # of the first stage, before any of the second
    best, _ = visits(bisection, lambda cost: float(0.5 < cost < 20 and not 0.9 < cost < 1.1) + 0.5 * (0.9 < cost < 1.1))
    assert best == 10  # the right quarter, before what lies nearer


@pytest.mark.parametrize("search", [window, bisection])
@settings(deadline=None)
@given(peak=st.integers(-42, 42), slopes=st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)))
def test_a_single_peak_is_found(search, peak, slopes):
    def score(cost):
        distance = 7 * math.log10(cost) - peak
        return -distance * slopes[1] if distance > 0 else distance * slopes[0]

    best, seen = visits(search, score)
    reached = [step for step in range(peak - 14, peak + 15) if step % 14 == 0]
    assert len(reached) >= 2
    assert sevenths([best]) == [peak]
    assert len(seen) <= {window: 33, bisection: 19}[search]


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=85, max_size=85))
def test_the_window_is_a_superset_of_the_bisection(values):
    scores = dict(zip(range(-42, 43), values, strict=True))

    def score(cost):
        return scores[round(7 * math.log10(cost))]

    (wide, all_seen), (narrow, seen) = visits(window, score), visits(bisection, score)
    assert set(seen) <= set(all_seen)
    assert score(wide) >= score(narrow)
    assert score(wide) == max(map(score, all_seen))
    assert wide == min(cost for cost in all_seen if score(cost) == score(wide))


def test_the_grid_is_45_weight_decays_and_ties_go_to_the_smallest():
    best, seen = visits(grid, lambda cost: 0.0)
    assert sorted(seen) == pytest.approx(sorted(1 / np.logspace(-6, 5, 45)))
    assert best == 1e6
    best, _ = visits(grid, lambda cost: float(cost < 1.5))
    assert best == 1


@pytest.mark.parametrize("search", SEARCHES.values())
def test_equal_up_to_rounding_is_a_tie(search):
    best, _ = visits(search, lambda cost: 0.7 + 1e-16 * math.log10(cost))
    assert best == (1e6 if search is grid else 1e-6)

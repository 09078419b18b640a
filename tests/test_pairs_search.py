"""Nearest rows against a brute-force search; the approximate search and the recall it measures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlrepro.pairs import search
from vlrepro.pairs.search import ApproximateSearch, exact_search


def unit_rows(count, seed, width=4):
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def brute_force(rows, k):
    """The k greatest cosines with other rows, (n, k), -inf where there are fewer."""
    cosines = rows.astype(np.float64) @ rows.T.astype(np.float64)
    np.fill_diagonal(cosines, -np.inf)
    padded = np.hstack([cosines, np.full((len(rows), k), -np.inf)])
    return -np.sort(-padded, axis=1)[:, :k]


@settings(max_examples=50, deadline=None)
@given(
    count=st.integers(1, 40),
    k=st.integers(1, 6),
    repeats=st.integers(0, 20),
    block=st.integers(1, 50),
    seed=st.integers(0, 99),
)
def test_exact_search_is_brute_force_in_blocks_of_any_size(count, k, repeats, block, seed):
    rows = unit_rows(count, seed)
    rows[: min(repeats, count)] = rows[0]  # equal rows: self is not always the first that is found
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "BLOCK", block)
        found, cosines = exact_search(rows, k)
    assert found.shape == cosines.shape == (count, k)
    assert np.allclose(cosines, brute_force(rows, k), atol=1e-6)
    assert not np.any(found == np.arange(count)[:, None])
    for row, names in enumerate(found):
        names = names[names >= 0]
        assert len(set(names)) == len(names) == min(k, count - 1)
        assert np.allclose(rows[names] @ rows[row], cosines[row, : len(names)], atol=1e-6)


@pytest.fixture
def few_are_enough(monkeypatch):
    """Approximate searches of 2,000 rows; faiss would like more to train its cells on, and says so."""
    monkeypatch.setattr(search, "MINIMUM_ROWS", 1500)


def test_recall_is_the_share_of_nearest_rows_that_were_found(few_are_enough, monkeypatch):
    monkeypatch.setattr(search, "_QUERIES", 10**6)
    rows = unit_rows(2000, 0, width=16)  # without any structure: the hardest case
    approximate = ApproximateSearch(0)
    assert approximate.recall is None
    found, cosines = approximate(rows, 3)
    truth = brute_force(rows, 3)
    share = np.mean([len(set(f) & set(t)) / 3 for f, t in zip(found, exact_search(rows, 3)[0], strict=True)])
    assert 0.3 < share < 1
    assert approximate.recall == pytest.approx(share, abs=1e-3)
    assert not np.any(found == np.arange(2000)[:, None])
    assert np.all(cosines <= truth + 1e-5)


def test_recall_on_a_sample_is_near_that_of_all(few_are_enough):
    rows = unit_rows(2500, 1, width=16)
    approximate = ApproximateSearch(0)
    found, _ = approximate(rows, 2)
    share = np.mean([len(set(f) & set(t)) / 2 for f, t in zip(found, exact_search(rows, 2)[0], strict=True)])
    assert approximate.recall == pytest.approx(share, abs=0.05)


def test_approximate_search_repeats_and_clusters_are_found(few_are_enough):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(100, 16))[rng.integers(0, 100, 2000)] + 0.2 * rng.normal(size=(2000, 16))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    first, second = ApproximateSearch(3), ApproximateSearch(3)
    assert np.array_equal(first(rows, 2)[0], second(rows, 2)[0])
    assert first.recall > 0.98


def test_small_scopes_are_searched_exactly():
    approximate, rows = ApproximateSearch(0), unit_rows(50, 0)
    assert np.array_equal(approximate(rows, 2)[0], exact_search(rows, 2)[0])
    assert approximate.recall is None

"""Nearest rows against a brute-force search; the approximate search and the recall it measures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlrepro.pairs import approximate as module
from vlrepro.pairs.approximate import ApproximateSearch
from vlrepro.pairs.nearest import Nearest
from vlrepro.pairs.search import exact_search


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
    seed=st.integers(0, 99),
)
def test_exact_search_of_few_rows_is_brute_force(count, k, repeats, seed):
    rows = unit_rows(count, seed)
    rows[: min(repeats, count)] = rows[0]  # equal rows: self is not always the first that is found
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
    monkeypatch.setattr(module, "MINIMUM_ROWS", 1500)


def test_recall_is_the_share_of_nearest_rows_that_were_found(few_are_enough, monkeypatch):
    monkeypatch.setattr(module, "_QUERIES", 10**6)
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


@pytest.fixture
def clustered():
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(100, 16))[rng.integers(0, 100, 2000)] + 0.5 * rng.normal(size=(2000, 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_rows_on_disk_give_the_answers_of_rows_in_memory(few_are_enough, monkeypatch, tmp_path, clustered):
    wanted = ApproximateSearch(3)
    found, cosines = wanted(clustered, 3)
    monkeypatch.setattr(module, "IN_MEMORY", 1000)
    monkeypatch.setattr(module, "PART", 300)
    monkeypatch.setattr(module, "BLOCK", 170)
    made = ApproximateSearch(3, tmp_path / "state")
    again, near = made(clustered, 3)
    assert np.allclose(near, cosines, atol=1e-6)
    assert (again == found).mean() > 0.999  # of equally near ones another may be named
    assert made.recall == wanted.recall
    assert [path.suffix for path in (tmp_path / "state").iterdir()] == [".safetensors"]


def test_an_approximate_search_goes_on_after_its_last_block(few_are_enough, monkeypatch, tmp_path, clustered):
    monkeypatch.setattr(module, "BLOCK", 170)
    monkeypatch.setattr(module, "IN_MEMORY", 1000)
    whole = ApproximateSearch(3)(clustered, 2)
    save, saved = Nearest.save, []

    def dies(self, path, digest, position):
        save(self, path, digest, position)
        saved.append(position[0])
        if len(saved) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Nearest, "save", dies)
        with pytest.raises(KeyboardInterrupt):
            ApproximateSearch(3, tmp_path, "these", 0)(clustered, 2)
    assert saved[-1] == 680
    searched, ask = [], module.answers
    monkeypatch.setattr(module, "answers", lambda *given: searched.append(given[2][0]) or ask(*given))
    resumed = ApproximateSearch(3, tmp_path, "these", 0)(clustered, 2)
    assert searched[0] == 680
    assert all(np.array_equal(one, other) for one, other in zip(resumed, whole, strict=True))
    searched.clear()
    ApproximateSearch(3, tmp_path, "others", 0)(clustered, 2)
    assert searched[0] == 0

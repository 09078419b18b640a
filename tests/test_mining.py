"""Pairs against a brute-force search, with repeated captions and scopes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlrepro.errors import UserError
from vlrepro.pairs.mining import Pairs, mine_pairs
from vlrepro.pairs.purity import purity, random_purity, summarise


def random_captions(count: int, distinct: int, seed: int):
    """Captions with repeats and one unit embedding for each distinct text."""
    rng = np.random.default_rng(seed)
    texts = [f"caption {number}" for number in rng.integers(0, distinct, count)]
    vectors = {text: rng.normal(size=8) for text in sorted(set(texts))}
    embeddings = np.stack([vectors[text] / np.linalg.norm(vectors[text]) for text in texts]).astype(np.float32)
    groups = [f"g{number}" for number in rng.integers(0, 3, count)]
    return texts, embeddings, [f"k{number:03d}" for number in range(count)], groups


def brute_force_cosines(embeddings, groups):
    """Each picture's best cosine among the others of its group; nan where it is alone."""
    best = np.full(len(embeddings), np.nan)
    for i in range(len(embeddings)):
        others = [j for j in range(len(embeddings)) if j != i and groups[j] == groups[i]]
        if others:
            best[i] = max(float(embeddings[i].astype(np.float64) @ embeddings[j]) for j in others)
    return best


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 40), distinct=st.integers(1, 30), seed=st.integers(0, 10**6), scoped=st.booleans())
def test_equals_brute_force(count, distinct, seed, scoped):
    texts, embeddings, keys, groups = random_captions(count, distinct, seed)
    pairs = mine_pairs(texts, embeddings, keys, groups if scoped else None)
    expected = brute_force_cosines(embeddings, groups if scoped else ["all"] * count)
    assert list(pairs.source) == [i for i in range(count) if not np.isnan(expected[i])]
    assert np.allclose(pairs.cosine, expected[pairs.source], atol=1e-6)
    found = (embeddings[pairs.source] * embeddings[pairs.neighbour]).sum(1)
    assert np.allclose(found, pairs.cosine, atol=1e-5)
    assert not np.any(pairs.source == pairs.neighbour)
    if scoped:
        assert all(groups[i] == groups[j] for i, j in zip(pairs.source, pairs.neighbour, strict=True))


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 40),
    distinct=st.integers(1, 30),
    k=st.integers(1, 8),
    seed=st.integers(0, 10**6),
    scoped=st.booleans(),
)
def test_several_neighbours_equal_brute_force(count, distinct, k, seed, scoped):
    texts, embeddings, keys, groups = random_captions(count, distinct, seed)
    groups = groups if scoped else ["all"] * count
    pairs = mine_pairs(texts, embeddings, keys, groups, k=k)
    for i in range(count):
        others = [j for j in range(count) if j != i and groups[j] == groups[i]]
        cosines = sorted((float(embeddings[i].astype(np.float64) @ embeddings[j]) for j in others), reverse=True)
        mine = pairs.source == i
        found = pairs.neighbour[mine]
        assert set(found) <= set(others)
        assert len(set(found)) == len(found) == min(k, len(others))
        assert np.allclose(pairs.cosine[mine], cosines[:k], atol=1e-6)
        assert np.allclose(embeddings[found] @ embeddings[i], pairs.cosine[mine], atol=1e-5)
        assert list(pairs.rank[mine]) == list(range(len(found)))
        # The holders of the same caption come first, from the next in key order on.
        same = [j for j in others if texts[j] == texts[i]]
        assert list(found[: len(same)]) == sorted(same, key=lambda j: (j < i, j))[:k]
    assert np.all(np.diff(pairs.source) >= 0)
    assert len(np.unique(pairs.source)) + sum(pairs.left_out.values()) == count
    first = mine_pairs(texts, embeddings, keys, groups)
    assert np.array_equal(first.neighbour, pairs.neighbour[pairs.rank == 0])


def test_identical_captions_only():
    pairs = mine_pairs(["look at this"] * 5, np.ones((5, 1), np.float32), list("edcba"), k=2)
    assert pairs.neighbour.reshape(5, 2).tolist() == [[4, 3], [0, 4], [1, 0], [2, 1], [3, 2]]
    summary = summarise(pairs, {"concept": list("xxxyy")}, ["look at this"] * 5)
    assert summary["same_caption"] == 1.0
    assert summary["pictures"] == 5
    assert mine_pairs(["one"], np.ones((1, 1), np.float32), ["a"]).left_out == {"alone_in_scope": 1}


def test_unknown_scopes_are_not_a_scope():
    texts, embeddings, keys, _ = random_captions(6, 6, 0)
    pairs = mine_pairs(texts, embeddings, keys, ["a", "a", None, None, "b", "a"], minimum_cosine=-1)
    assert pairs.left_out == {"alone_in_scope": 1, "unknown_scope": 2}
    assert list(pairs.source) == [0, 1, 5]


def test_repeated_captions_are_spread_and_never_self():
    texts = ["look at this"] * 50 + ["a cat"]
    embeddings = np.repeat(np.eye(2, dtype=np.float32), [50, 1], axis=0)
    pairs = mine_pairs(texts, embeddings, [f"k{i:02d}" for i in range(51)])
    neighbours = pairs.neighbour[:50]
    assert not np.any(neighbours == np.arange(50))
    assert sorted(neighbours) == list(range(50))  # each is the neighbour of exactly one other


def test_does_not_depend_on_order():
    texts, embeddings, keys, groups = random_captions(30, 12, 5)
    order = np.random.default_rng(0).permutation(30)
    first = mine_pairs(texts, embeddings, keys, groups)
    shuffled = mine_pairs(
        [texts[i] for i in order], embeddings[order], [keys[i] for i in order], [groups[i] for i in order]
    )
    named = {(keys[i], keys[j]) for i, j in zip(first.source, first.neighbour, strict=True)}
    assert named == {(keys[order[i]], keys[order[j]]) for i, j in zip(shuffled.source, shuffled.neighbour, strict=True)}


def test_minimum_cosine_and_bad_embeddings():
    texts, embeddings, keys, _ = random_captions(30, 30, 1)
    pairs = mine_pairs(texts, embeddings, keys, minimum_cosine=0.6)
    assert 0 < len(pairs.source) < 30
    assert pairs.cosine.min() >= 0.6
    embeddings[3] = np.nan
    with pytest.raises(UserError, match=r"1 rows are not of unit length.*k003"):
        mine_pairs(texts, embeddings, keys)


def test_purity_counts_equal_names():
    pairs = mine_pairs(["a", "a", "b", "b"], np.repeat(np.eye(2, dtype=np.float32), 2, axis=0), list("wxyz"))
    share, low, high = purity(pairs, ["cat", "cat", "dog", "cow"])
    assert share == 0.5
    assert 0 < low < 0.5 < high < 1
    # Two pairs a source say no more about the interval than one.
    twice = Pairs(np.repeat(pairs.source, 2), np.repeat(pairs.neighbour, 2), np.repeat(pairs.cosine, 2))
    assert purity(twice, ["cat", "cat", "dog", "cow"]) == (share, low, high)
    # 4 pictures, 2 of one name: 2 ordered same-name pairs of 12.
    assert random_purity(["cat", "cat", "dog", "cow"]) == pytest.approx(2 / 12)

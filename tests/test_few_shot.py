"""Few-shot episodes and their scores against plain loops over episodes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlrepro.errors import UserError
from vlrepro.evaluation import few_shot as module
from vlrepro.evaluation.few_shot import ERICSSON, LGSSL, FewShotProtocol, draw_episodes, few_shot

SMALL = FewShotProtocol(ways=3, shots=2, queries=3, episodes=40)


def labels_of(sizes):
    """Shuffled labels with the given count of each."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return torch.tensor(np.random.default_rng(0).permutation(labels))


def gaussians(labels, dimension, spread, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(int(labels.max()) + 1, dimension, generator=torch.Generator().manual_seed(5))
    return 2 + centres[labels] + spread * torch.randn(len(labels), dimension, generator=generator)


def plain_loop(train, test, episodes, protocol):
    """Each episode by itself, in float64, following the text of the protocol."""
    supports, queries = train.double().numpy(), test.double().numpy()
    if protocol.pool == "all":
        supports = queries = np.concatenate([supports, queries])
    counts = []
    for support_rows, query_rows, mask in zip(episodes.support, episodes.query, episodes.query_mask, strict=True):
        support = supports[support_rows.numpy()]
        centre = support.reshape(-1, support.shape[-1]).mean(0) if protocol.centre else 0
        length = (lambda x: x / np.linalg.norm(x)) if protocol.normalise else (lambda x: x)
        prototypes = [np.mean([length(x - centre) for x in way], axis=0) for way in support]
        right = 0
        for way, (rows, kept) in enumerate(zip(query_rows.numpy(), mask.numpy(), strict=True)):
            for x in queries[rows[kept]]:
                distances = [np.linalg.norm(length(x - centre) - prototype) for prototype in prototypes]
                right += int(np.argmin(distances) == way)
        counts.append(right)
    return counts


@pytest.mark.parametrize("pool", ["train/test", "all"])
@pytest.mark.parametrize(("centre", "normalise"), [(True, True), (False, False), (True, False), (False, True)])
def test_scores_are_those_of_a_plain_loop(pool, centre, normalise):
    train_labels, test_labels = labels_of([9, 8, 7, 12]), labels_of([2, 9, 5, 6])
    train, test = gaussians(train_labels, 6, 1.5), gaussians(test_labels, 6, 1.5, seed=1)
    protocol = replace(SMALL, pool=pool, centre=centre, normalise=normalise)
    episodes = draw_episodes(train_labels, test_labels, protocol, "toy")
    result = few_shot(train, test, episodes, protocol)
    assert result.correct.tolist() == plain_loop(train, test, episodes, protocol)
    assert result.total.tolist() == [int(mask.sum()) for mask in episodes.query_mask]
    shares = [c / t for c, t in zip(result.correct.tolist(), result.total.tolist(), strict=True)]
    assert result.accuracy == pytest.approx(np.mean(shares))
    assert result.std == pytest.approx(np.std(shares))
    assert result.half_width == pytest.approx(1.96 * np.std(shares) / math.sqrt(40))
    assert 0.34 < result.accuracy < 0.99


def test_chunks_change_nothing(monkeypatch):
    labels = labels_of([10, 10, 10, 10])
    features = gaussians(labels, 5, 2.0)
    episodes = draw_episodes(labels, labels, SMALL, "toy")
    whole = few_shot(features, features, episodes, SMALL)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 1000)
    assert torch.equal(few_shot(features, features, episodes, SMALL).correct, whole.correct)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), min_size=3, max_size=7),
    st.integers(1, 4),
    st.integers(1, 5),
    st.sampled_from(["train/test", "all"]),
    st.integers(0, 100),
)
def test_episodes_keep_their_laws(sizes, shots, queries, pool, seed):
    train_sizes, test_sizes = zip(*sizes, strict=True)
    train, test = labels_of(train_sizes), labels_of(test_sizes)
    protocol = FewShotProtocol(ways=3, shots=shots, queries=queries, episodes=8, pool=pool, seed=seed)
    pooled = pool == "all"
    spare = [a + b - shots if pooled else b if a >= shots else 0 for a, b in sizes]
    fit = [label for label, left in enumerate(spare) if left >= 1]
    if len(fit) < 3:
        with pytest.raises(UserError, match="3 ways"):
            draw_episodes(train, test, protocol, "toy")
        return
    episodes = draw_episodes(train, test, protocol, "toy")
    present = {label for label, (a, b) in enumerate(sizes) if a + b}
    assert set(episodes.left_out) == present - set(fit)
    support_labels = torch.cat([train, test]) if pooled else train
    query_labels = torch.cat([train, test]) if pooled else test
    assert episodes.support.shape == (8, 3, shots)
    assert episodes.query.shape == episodes.query_mask.shape == (8, 3, queries)
    for support, query, mask in zip(episodes.support, episodes.query, episodes.query_mask, strict=True):
        ways = support_labels[support[:, 0]].tolist()
        assert len(set(ways)) == 3
        for way, label in enumerate(ways):
            drawn, asked = support[way].tolist(), query[way][mask[way]].tolist()
            assert set(support_labels[support[way]].tolist()) == {label}
            assert set(query_labels[query[way]].tolist()) == {label}
            assert len(set(drawn)) == shots
            assert len(set(asked)) == len(asked) == min(queries, spare[label])
            if pooled:
                assert not set(drawn) & set(asked)


def test_classes_and_pictures_are_drawn_uniformly():
    train, test = labels_of([6, 7, 8, 9]), labels_of([5, 5, 6, 9])
    for pool in ("train/test", "all"):
        protocol = FewShotProtocol(ways=3, shots=2, queries=2, episodes=6000, pool=pool)
        episodes = draw_episodes(train, test, protocol, "toy")
        for rows, labels in (
            (episodes.support, torch.cat([train, test]) if pool == "all" else train),
            (episodes.query, torch.cat([train, test]) if pool == "all" else test),
        ):
            seen = torch.bincount(rows.flatten(), minlength=len(labels)).double()
            chance = 3 / 4 * 2 / torch.bincount(labels)[labels].double()
            error = (6000 * chance * (1 - chance)).sqrt()
            assert ((seen - 6000 * chance).abs() < 5 * error).all()


def test_pairs_of_pictures_are_drawn_uniformly():
    labels = labels_of([4, 4])
    protocol = FewShotProtocol(ways=2, shots=2, queries=1, episodes=6000)
    support = draw_episodes(labels, labels, protocol, "toy").support.flatten(0, 1)
    pairs = torch.bincount(support[:, 0] * 8 + support[:, 1], minlength=64)
    possible = (labels[:, None] == labels[None]) & ~torch.eye(8, dtype=torch.bool)
    assert (pairs.view(8, 8)[~possible] == 0).all()
    assert ((pairs.view(8, 8)[possible] - 500).abs() < 5 * math.sqrt(500)).all()


def test_episodes_depend_on_the_set_and_the_seed_only():
    labels = labels_of([9, 9, 9, 9])
    first = draw_episodes(labels, labels, SMALL, "toy")
    torch.manual_seed(1)
    np.random.seed(1)  # global state must not matter
    again = draw_episodes(labels, labels, SMALL, "toy")
    assert torch.equal(first.support, again.support)
    assert torch.equal(first.query, again.query)
    for other in (
        draw_episodes(labels, labels, SMALL, "other"),
        draw_episodes(labels, labels, replace(SMALL, seed=1), "toy"),
    ):
        assert not torch.equal(first.support, other.support)
        assert not torch.equal(first.query, other.query)
    square = draw_episodes(labels, labels, replace(SMALL, queries=2), "toy")
    assert not torch.equal(square.support, square.query)


@pytest.mark.parametrize("pool", ["train/test", "all"])
def test_more_episodes_begin_with_the_same_ones(pool):
    labels = labels_of([9, 9, 9, 9])
    few = draw_episodes(labels, labels, replace(SMALL, pool=pool, episodes=10), "toy")
    many = draw_episodes(labels, labels, replace(SMALL, pool=pool, episodes=30), "toy")
    assert torch.equal(few.support, many.support[:10])
    assert torch.equal(few.query, many.query[:10])


@pytest.mark.parametrize("protocol", [LGSSL, ERICSSON], ids=["lgssl", "ericsson"])
def test_random_features_are_right_once_in_ways(protocol):
    labels = torch.arange(4000) % 8
    features = torch.randn(8000, 4, generator=torch.Generator().manual_seed(0))
    protocol = replace(protocol, episodes=1000)
    episodes = draw_episodes(labels, labels, protocol, "noise")
    result = few_shot(features[:4000], features[4000:], episodes, protocol)
    assert abs(result.accuracy - 1 / 5) < 2 * result.half_width
    assert result.half_width < 0.01


def test_distant_classes_are_always_right():
    labels = torch.arange(60) % 6
    features = 10 * torch.eye(6)[labels] + 0.01 * torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    result = few_shot(features, features, draw_episodes(labels, labels, SMALL, "toy"), SMALL)
    assert result.accuracy == 1
    assert result.half_width == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_rotation_shift_and_scale_of_features_change_nothing(seed, scale):
    labels = labels_of([8, 8, 8, 8])
    features = gaussians(labels, 6, 1.5).double()
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    moved = scale * features @ rotation + torch.randn(6, generator=generator, dtype=torch.float64)
    episodes = draw_episodes(labels, labels, SMALL, "toy")
    plain = few_shot(features, features, episodes, SMALL)
    assert torch.equal(few_shot(moved, moved, episodes, SMALL).correct, plain.correct)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"ways": 5}, "toy: 4 of 4 classes"), ({"shots": 10}, "toy: 0 of 4 classes"), ({"queries": 0}, "queries is 0")],
)
def test_impossible_protocols_are_refused(change, message):
    labels = labels_of([9, 9, 9, 9])
    with pytest.raises(UserError, match=message):
        draw_episodes(labels, labels, replace(SMALL, **change), "toy")


def test_unusable_features_are_refused():
    labels = labels_of([9, 9, 9, 9])
    episodes = draw_episodes(labels, labels, SMALL, "toy")
    features = gaussians(labels, 4, 1.0)
    broken = features.clone()
    broken[[2, 5], 1] = torch.inf
    with pytest.raises(UserError, match="test features: 2 of 36 rows"):
        few_shot(features, broken, episodes, SMALL)
    with pytest.raises(UserError, match="training features"):
        few_shot(features[:5], features, episodes, SMALL)

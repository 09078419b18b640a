"""Retrieval against full sorting in whole numbers, and galleries of any size against drawing them."""

from fractions import Fraction
from itertools import combinations, pairwise, permutations
from math import comb
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom
from torch.nn.functional import normalize

from vlrepro.errors import UserError
from vlrepro.evaluation.galleries import (
    DIRECTIONS,
    Gallery,
    average_recall,
    batch_ranks,
    expected_curve,
    gallery_ranks,
    in_batches,
    part_of,
    recall_curve,
    sampled_curve,
)
from vlrepro.evaluation.retrieval import Ranks, expected_rank, hits, median_rank, recall, retrieval_ranks, rows_at
from vlrepro.randomness import torch_generator


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch_generator(seed, "retrieval", *shape)), dim=-1)


def whole_numbers(rows):
    """Rows as Python's integers, which never overflow: multiples of 2^-26, to the nearest even."""
    return [[round(float(value) * 2**26) for value in row] for row in rows.tolist()]


def brute_force(queries, items, owner_of_query, owner_of_item):
    """(ahead, wrong ties, right ties) of each query by comparing everything, in exact arithmetic."""
    found, right = [], whole_numbers(items)
    for query, owner in zip(whole_numbers(queries), owner_of_query.tolist(), strict=True):
        similarity = [sum(a * b for a, b in zip(query, item, strict=True)) for item in right]
        mine = [own == owner for own in owner_of_item.tolist()]
        best = max(value for value, own in zip(similarity, mine, strict=True) if own)
        pairs = list(zip(similarity, mine, strict=True))
        found.append(
            [
                sum(value > best and not own for value, own in pairs),
                sum(value == best and not own for value, own in pairs),
                sum(value == best and own for value, own in pairs),
            ]
        )
    return found


def listed(ranks):
    return torch.stack(ranks, dim=1).tolist()


def ranks_of(*queries):
    return Ranks(*(torch.tensor(column) for column in zip(*queries, strict=True)))


def gallery_of(pictures=60, captions=1, width=16, noise=0.3, seed=0):
    """Captions near their pictures, in mixed order where there are several."""
    rows = unit(pictures, width, seed=seed)
    generator = torch_generator(seed, "order")
    order = torch.randperm(pictures * captions, generator=generator)
    owner = torch.arange(pictures).repeat_interleave(captions)
    noisy = normalize(rows[owner] + noise * unit(pictures * captions, width, seed=seed + 1) * width**0.5, dim=1)
    return Gallery(rows, noisy[order], owner[order]) if captions > 1 else Gallery(rows, noisy, owner)


def sorted_ranks(gallery, direction):
    """0-based rank of the best right item, by a full sort of float64 similarities without ties."""
    pictures, captions, owner = gallery.pictures.double().numpy(), gallery.captions.double().numpy(), gallery.picture_of
    similarity, found = captions @ pictures.T, []
    if direction == "text_to_image":
        for row, own in zip(similarity, owner.tolist(), strict=True):
            found.append(np.argsort(-row).tolist().index(own))
        return found
    for number, column in enumerate(similarity.T):
        places = {int(caption): place for place, caption in enumerate(np.argsort(-column))}
        found.append(min(places[caption] for caption in np.flatnonzero(owner.numpy() == number)))
    return found


@pytest.mark.parametrize("captions", [1, 5])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_ranks_are_those_of_a_full_sort(direction, captions):
    gallery = gallery_of(40, captions, noise=0.5)
    ranks, truth = gallery_ranks(gallery, direction), sorted_ranks(gallery, direction)
    assert ranks.ahead.tolist() == truth
    assert max(truth) > 5
    assert (ranks.wrong_ties == 0).all()
    assert (ranks.right_ties == 1).all()
    for k in (1, 5, 10):
        assert recall(ranks, k) == pytest.approx(np.mean([rank < k for rank in truth]), abs=1e-12)
    assert median_rank(ranks) == np.median([rank + 1 for rank in truth])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 40), st.integers(1, 6), st.integers(1, 9))
def test_repeated_rows_are_ties_whatever_the_blocks(seed, n, m, owners, block):
    """Few distinct rows, so that most items are level, right ones with wrong ones."""
    generator = torch_generator(seed, "ties")
    distinct = unit(7, 12, seed=seed)
    items = distinct[torch.randint(7, (m + owners,), generator=generator)]
    owner_of_item = torch.cat([torch.randint(owners, (m,), generator=generator), torch.arange(owners)])
    owner_of_query = torch.randint(owners, (n,), generator=generator)
    queries = torch.where(torch.rand(n, 1, generator=generator) < 0.5, unit(n, 12, seed=seed + 1), distinct[:1])
    found = retrieval_ranks(queries, items, owner_of_query, owner_of_item, block)
    assert listed(found) == brute_force(queries, items, owner_of_query, owner_of_item)
    order = torch.randperm(len(items), generator=generator)
    assert listed(retrieval_ranks(queries, items[order], owner_of_query, owner_of_item[order])) == listed(found)


@pytest.mark.parametrize("block", [7, 300, 4096])
@pytest.mark.parametrize("rows", ["float32", "float64", "float16"])
def test_what_float32_cannot_order_is_ordered_exactly(block, rows, monkeypatch):
    """Items that differ by a few units of 2^-26, among many that do not: both ways to settle what is open."""
    near = unit(1, 256) + torch.randint(-3, 4, (24, 256), generator=torch_generator(0, "near")) * 2.0**-25
    items = torch.cat([near, unit(276, 256, seed=2)]).to(getattr(torch, rows))
    queries, owner = torch.cat([near[:4], unit(8, 256, seed=3)]), torch.arange(300)
    asked = torch.cat([torch.arange(4) + 3, torch.arange(8) * 30])
    truth = brute_force(queries, items, asked, owner)
    assert listed(retrieval_ranks(queries, items, asked, owner, block)) == truth
    for dense in (0, 1 << 40):  # never, and always, by a product of the whole block
        monkeypatch.setattr("vlrepro.evaluation.retrieval._DENSE", dense)
        assert listed(retrieval_ranks(queries, items, asked, owner, block)) == truth


def test_products_of_fewer_bits_are_not_trusted():
    queries, items, owner = unit(50, 64), unit(50, 64, seed=1), torch.arange(50)
    expected = listed(retrieval_ranks(queries, items, owner, owner))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert listed(retrieval_ranks(queries, items, owner, owner)) == expected
    finally:
        torch.set_float32_matmul_precision(before)


def test_hits_and_ranks_are_means_over_all_orders_of_ties():
    for ahead, wrong, right in [(0, 0, 1), (2, 0, 2), (0, 3, 1), (1, 2, 2), (0, 2, 3), (3, 4, 1)]:
        ranks, level = ranks_of((ahead, wrong, right)), [False] * wrong + [True] * right
        places = [ahead + order.index(True) for order in permutations(level)]
        assert expected_rank(ranks).item() == pytest.approx(1 + np.mean(places), abs=1e-12)
        for k in range(1, 10):
            assert hits(ranks, k).item() == pytest.approx(np.mean([place < k for place in places]), abs=1e-12)


def test_hits_are_hypergeometric_with_millions_of_ties():
    queries = [(0, 5_000_000, 1), (3, 5_000_000, 5), (0, 4_999_999, 2), (9, 80, 5), (10, 0, 99), (0, 3, 4_000_000)]
    for k in (1, 5, 10, 40):
        places = [max(k - ahead, 0) for ahead, _, _ in queries]
        truth = [1 - Fraction(comb(w, j), comb(w + r, j)) for (_, w, r), j in zip(queries, places, strict=True)]
        assert hits(ranks_of(*queries), k).tolist() == pytest.approx([float(one) for one in truth], abs=1e-14)


def test_a_collapsed_model_is_right_by_chance():
    rows, owner = unit(1, 8).repeat(50, 1), torch.arange(50)
    ranks = retrieval_ranks(rows, rows, owner, owner)
    assert [recall(ranks, k) for k in (1, 5, 50)] == pytest.approx([0.02, 0.1, 1.0], abs=1e-12)
    assert median_rank(ranks) == 25.5


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30))
def test_a_wrong_item_more_never_helps_and_more_places_never_harm(seed, n):
    queries, items, owner = unit(n, 4, seed=seed), unit(n, 4, seed=seed + 1), torch.arange(n)
    ranks = retrieval_ranks(queries, items, owner, owner)
    more = torch.cat([items, items[:1], unit(1, 4, seed=seed + 2)])
    joined = retrieval_ranks(queries, more, owner, torch.cat([owner, torch.tensor([n, n])]))
    before = torch.zeros(n)
    for k in range(1, n + 1):
        assert (hits(joined, k) <= hits(ranks, k)).all()
        assert (hits(ranks, k) >= before).all()
        before = hits(ranks, k)
    assert recall(ranks, n) == pytest.approx(1.0)


def test_batches_are_consecutive_full_and_galleries_of_their_own():
    assert in_batches(15_840, size=2000)[-1] == range(12_000, 14_000)
    assert in_batches(15_840, size=2000)[:2] == [range(0, 2000), range(2000, 4000)]
    assert in_batches(50, number=7) == [range(7 * start, 7 * start + 7) for start in range(7)]
    gallery = gallery_of(45, captions=3, noise=0.6)
    for direction in DIRECTIONS:
        (whole,) = batch_ranks(gallery, in_batches(45, size=45), direction)
        assert listed(whole) == listed(gallery_ranks(gallery, direction))
        batches = in_batches(45, size=20)
        found, truth = batch_ranks(gallery, batches, direction), []
        for batch in batches:
            inside = torch.tensor([own in batch for own in gallery.picture_of.tolist()])
            captions, owner = gallery.captions[inside], gallery.picture_of[inside] - batch.start
            part = Gallery(gallery.pictures[batch.start : batch.stop], captions, owner)
            truth.append(np.mean([rank < 2 for rank in sorted_ranks(part, direction)]))
        assert average_recall(found, 2) == pytest.approx(np.mean(truth), abs=1e-12)
        assert average_recall(found, 2) > recall(whole, 2)


def test_expected_recall_at_a_size_is_the_mean_over_all_galleries_of_it():
    """Six pictures; every subset, with two captions that are level among them."""
    rows = unit(6, 3, seed=5)
    gallery = Gallery(rows, normalize(rows + 0.9 * unit(6, 3, seed=6), dim=1), torch.arange(6))
    gallery.pictures[4] = gallery.pictures[1]
    for direction in DIRECTIONS:
        whole = gallery_ranks(gallery, direction)
        for k in (1, 2, 3):
            for size in range(1, 7):
                found = []
                for chosen in combinations(range(6), size):
                    found += hits(gallery_ranks(part_of(gallery, torch.tensor(chosen)), direction), k).tolist()
                (point,) = recall_curve(gallery, direction, whole, [size], k)
                assert point.recall == pytest.approx(np.mean(found), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 400), st.integers(1, 12), st.data())
def test_expected_recall_is_scipys_hypergeometric_and_falls_with_size(pictures, k, data):
    ahead = data.draw(st.integers(0, pictures - 1))
    wrong = data.draw(st.integers(0, pictures - 1 - ahead))
    sizes = sorted({data.draw(st.integers(1, pictures)) for _ in range(3)} | {pictures})
    ranks = ranks_of((ahead, wrong, 1))
    found = [point.recall for point in expected_curve(ranks, pictures, sizes, k)]
    for size, value in zip(sizes, found, strict=True):
        first = [hypergeom.cdf(k - 1, pictures - 1, ahead + level, size - 1) for level in range(wrong + 1)]
        assert value == pytest.approx(np.mean(first), abs=1e-9)
    assert found[-1] == pytest.approx(recall(ranks, k), abs=1e-9)
    assert all(after <= before + 1e-12 for before, after in pairwise(found))


def test_sampled_recall_is_near_the_closed_form_and_repeats():
    gallery, sizes = gallery_of(60, captions=1, noise=0.6), [10, 30, 60]
    for direction in DIRECTIONS:
        exact = recall_curve(gallery, direction, gallery_ranks(gallery, direction), sizes, 2)
        sampled = sampled_curve(gallery, direction, sizes, 2, draws=60)
        for truth, point in zip(exact, sampled, strict=True):
            assert point.size == truth.size
            assert abs(point.recall - truth.recall) <= 4 * point.error + 1e-12
        assert sampled[-1].error == exact[-1].error == 0
        assert sampled == sampled_curve(gallery, direction, sizes, 2, draws=60)
        assert sampled[:1] != sampled_curve(gallery, direction, sizes[:1], 2, draws=60, seed=1)


def test_sampled_recall_of_many_captions_is_the_mean_over_all_galleries():
    gallery = gallery_of(7, captions=3, width=3, noise=0.8, seed=3)
    found = []
    for chosen in combinations(range(7), 4):
        part = part_of(gallery, torch.tensor(chosen))
        assert sorted(part.picture_of.tolist()) == sorted([0, 1, 2, 3] * 3)
        found += hits(gallery_ranks(part, "image_to_text"), 1).tolist()
    whole = gallery_ranks(gallery, "image_to_text")
    (point,) = recall_curve(gallery, "image_to_text", whole, [4], 1, draws=200)
    assert 0 < point.error < 0.05
    assert abs(point.recall - np.mean(found)) < 4 * point.error


class Counted:
    """Rows that exist only while they are read, as a memory map's; watches how many bytes the process holds."""

    def __init__(self, rows, width):
        self.rows, self.width, self.longest, self.held = rows, width, 0, 0

    def __len__(self):
        return self.rows

    def __getitem__(self, part):
        start, stop, _ = part.indices(self.rows)
        self.longest = max(self.longest, stop - start)
        self.held = max(self.held, int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
        seeds = torch.arange(start, stop).unsqueeze(1) * 0.37 + torch.arange(self.width)
        return normalize(torch.sin(seeds * 12.9898), dim=1)


@pytest.mark.parametrize("side", ["queries", "items"])
def test_memory_is_bounded_by_the_block(side):
    """A side of 200,000 x 64 (51 MB) is searched in blocks of 1,024 rows: 17 MB or so at a time."""
    many, few = Counted(200_000, 64), Counted(300, 64)
    owners = torch.arange(200_000) * 300 // 200_000
    sides = [(few, torch.arange(300)), (many, owners)]
    (queries, of_query), (items, of_item) = reversed(sides) if side == "queries" else sides
    retrieval_ranks(few, few, torch.arange(300), torch.arange(300))  # what libraries take once
    before = few.held
    many.held = few.held = 0
    ranks = retrieval_ranks(queries, items, of_query, of_item)
    assert len(ranks.ahead) == len(queries)
    assert max(many.longest, few.longest) <= 2048
    assert max(many.held, few.held) - before < 40 << 20


def test_memory_maps_and_tensors_give_the_same(tmp_path):
    items, owner = unit(90, 8, seed=1), torch.arange(90) // 3
    np.save(tmp_path / "items.npy", items.numpy())
    mapped = np.load(tmp_path / "items.npy", mmap_mode="r")
    queries = unit(30, 8)
    expected = retrieval_ranks(queries, items, torch.arange(30), owner)
    assert listed(retrieval_ranks(queries, mapped, torch.arange(30), owner, 7)) == listed(expected)
    positions = torch.tensor([88, 3, 4, 5, 3, 70])
    assert torch.equal(rows_at(mapped, positions), items[positions])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: retrieval_ranks(unit(3, 4), unit(3, 4), torch.arange(3), torch.tensor([0, 1, 1])), "query 2 of pict"),
        (lambda: retrieval_ranks(unit(3, 4), unit(3, 5), torch.arange(3), torch.arange(3)), "width 4 and items of 5"),
        (lambda: retrieval_ranks(unit(3, 4), unit(3, 4), torch.arange(2), torch.arange(3)), "3 queries with owners"),
        (lambda: retrieval_ranks(unit(3, 4), 2 * unit(3, 4), torch.arange(3), torch.arange(3)), "row 0 has length 2:"),
        (lambda: retrieval_ranks(unit(3, 4) * torch.nan, unit(3, 4), torch.arange(3), torch.arange(3)), "length nan"),
        (lambda: hits(ranks_of((0, 0, 1)), 0), "recall@0"),
        (lambda: recall(Ranks(*[torch.zeros(0, dtype=torch.int64)] * 3), 1), "no query"),
        (lambda: in_batches(1999, size=2000), "1999 pictures do not fill a batch of 2000"),
        (lambda: in_batches(6, number=7), "6 pictures do not fill 7 batch"),
        (lambda: in_batches(10), "give either"),
        (lambda: average_recall([], 1), "no batch"),
        (lambda: expected_curve(ranks_of((0, 0, 2)), 5, [2], 1), "sampled_curve"),
        (lambda: expected_curve(ranks_of((5, 0, 1)), 5, [2], 1), "5 wrong items among 5"),
        (lambda: expected_curve(ranks_of((0, 0, 1)), 5, [6], 1), "1 to 5 pictures"),
        (lambda: sampled_curve(gallery_of(5), "image_to_text", [2], 1, draws=1), "2 or more"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call, said):
    with pytest.raises(UserError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)

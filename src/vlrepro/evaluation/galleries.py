"""Galleries of pictures and their captions, searched in both directions: whole, in batches, or at any size.

Recall depends on how much is searched. "Evaluating Distilled Hard Negative Training on Google's Conceptual Captions
Dataset" (section 4) searches consecutive batches of 2,000 pictures and averages the batches' recalls (section 5), which
flatters a model: a random batch holds few of the wrong items that a whole gallery has ahead of the right one. The curve
of recall against size shows by how much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vlrepro.errors import UserError
from vlrepro.evaluation.retrieval import Ranks, Rows, hits, recall, retrieval_ranks, rows_at
from vlrepro.randomness import torch_generator

REVISION = 1

Direction = Literal["text_to_image", "image_to_text"]
DIRECTIONS: tuple[Direction, ...] = ("text_to_image", "image_to_text")


class Gallery(NamedTuple):
    """Pictures with one or many captions each, embedded in one space as rows of unit length.

    `pictures`: (n, d); `captions`: (m, d), in any order; `picture_of`: (m,) int64, each caption's picture, 0 to n - 1.
    """

    pictures: Rows
    captions: Rows
    picture_of: Tensor


class Point(NamedTuple):
    """Expected recall of a random gallery of `size` pictures, with its standard error where it was sampled, or 0."""

    size: int
    recall: float
    error: float = 0.0


def gallery_ranks(gallery: Gallery, direction: Direction) -> Ranks:
    """Ranks of a direction: one a caption (its picture among pictures) or one a picture (its nearest caption).

    Raises `UserError` as `retrieval_ranks` does: for a picture without a caption, say.
    """
    number = torch.arange(len(gallery.pictures))
    pictures, captions = (gallery.pictures, number), (gallery.captions, gallery.picture_of)
    asked, searched = (captions, pictures) if direction == "text_to_image" else (pictures, captions)
    return retrieval_ranks(asked[0], searched[0], asked[1], searched[1])


def part_of(gallery: Gallery, chosen: Tensor | range) -> Gallery:
    """The gallery of the `chosen` pictures (positions, ascending) and all of their captions, numbered anew from 0."""
    chosen = torch.arange(chosen.start, chosen.stop) if isinstance(chosen, range) else chosen
    captions = torch.isin(gallery.picture_of, chosen).nonzero().flatten()
    picture_of = torch.searchsorted(chosen, gallery.picture_of[captions])
    return Gallery(rows_at(gallery.pictures, chosen), rows_at(gallery.captions, captions), picture_of)


def in_batches(count: int, size: int | None = None, number: int | None = None) -> list[range]:
    """Consecutive batches of equal size of `count` pictures: as many of `size` as are full, or `number` of them.

    What is left over after the last full batch is left out, as in the paper, whose seven batches of 2,000 are all full.
    Raises `UserError` unless exactly one of `size` and `number` is given, and where not even one batch is full.
    """
    if (size is None) == (number is None) or (size or number or 0) < 1:
        raise UserError(f"batches of size {size} or number {number}: give either, 1 or more")
    size = size or count // number
    if not 0 < size <= count:
        raise UserError(f"{count} pictures do not fill {number or 'a'} batch of {size}: choose fewer or smaller ones")
    return [range(start, start + size) for start in range(0, count - size + 1, size)][:number]


def batch_ranks(gallery: Gallery, batches: Sequence[range], direction: Direction) -> list[Ranks]:
    """Ranks within each batch as a gallery of its own. Raises `UserError` as `gallery_ranks` does."""
    return [gallery_ranks(part_of(gallery, batch), direction) for batch in batches]


def average_recall(ranks: Sequence[Ranks], k: int) -> float:
    """The plain mean of the batches' recall@k, in [0, 1], as the paper averages (section 5). `UserError`: no batch."""
    if not ranks:
        raise UserError("recall in batches: no batch to average over: give at least one")
    return sum(recall(one, k) for one in ranks) / len(ranks)


def recall_curve(
    gallery: Gallery, direction: Direction, ranks: Ranks, sizes: Sequence[int], k: int, draws: int = 20, seed: int = 0
) -> list[Point]:
    """Expected recall@k in a random gallery of each size that holds the query's own picture.

    In closed form from the whole gallery's `ranks` of the direction (`expected_curve`), except of pictures among
    several captions each (`sampled_curve`, which `draws` and `seed` are for). Raises `UserError` as these do.
    """
    if direction == "image_to_text" and len(gallery.captions) > len(gallery.pictures):
        return sampled_curve(gallery, direction, sizes, k, draws, seed)
    return expected_curve(ranks, len(gallery.pictures), sizes, k)


def expected_curve(ranks: Ranks, pictures: int, sizes: Sequence[int], k: int) -> list[Point]:
    """Expected recall@k in a random gallery of each size that holds the query's own picture, in closed form.

    For ranks among items that are one a picture: of captions among pictures, or of pictures among captions that are one
    each. With a items ahead of the right one, how many of them are among the size - 1 others that are drawn without
    replacement is hypergeometric, and the query hits where it is less than k. Of the w that are level, each number from
    0 to w is equally likely to come before the right one, as in `hits`.

    Args:
        ranks: in the whole gallery, with one right item each.
        pictures: how many the whole gallery has.
        sizes: how many a random one has, 1 to `pictures`.
        k: recall at.

    Raises:
        UserError: a query has several right items that are level, a size or `k` that cannot be, no query.
    """
    if (ranks.right_ties > 1).any() or not len(ranks.ahead):
        raise UserError("recall against size: for one right item a query; use sampled_curve where there are several")
    if (most := int((ranks.ahead + ranks.wrong_ties).max())) >= pictures:
        raise UserError(f"recall against size: {most} wrong items among {pictures} pictures: use sampled_curve")
    points = []
    for size in _possible(sizes, pictures, k):
        chance = torch.from_numpy(_few_drawn(pictures - 1, size - 1, k))
        summed = torch.cat([torch.zeros(1, dtype=torch.float64), chance.cumsum(0)])
        last = ranks.ahead + ranks.wrong_ties + 1
        level = (summed[last] - summed[ranks.ahead]) / (ranks.wrong_ties + 1)
        points.append(Point(size, torch.where(ranks.wrong_ties == 0, chance[ranks.ahead], level).mean().item()))
    return points


def sampled_curve(
    gallery: Gallery, direction: Direction, sizes: Sequence[int], k: int, draws: int = 20, seed: int = 0
) -> list[Point]:
    """Expected recall@k in a random gallery of each size, from at least `draws` of them that are drawn and searched.

    For what has no closed form: pictures among many captions each, where all captions of a picture come along. The
    galleries of a size are disjoint parts of random orders, which depend on `seed` and the size alone. The error is the
    standard deviation of their recalls over the root of their number, too large by what disjointness saves.

    Raises:
        UserError: a size or `k` that cannot be, fewer than 2 draws, and as `gallery_ranks` does.
    """
    if draws < 2:
        raise UserError(f"recall against size: {draws} draws have no standard error: ask for 2 or more")
    points = []
    for size in _possible(sizes, len(gallery.pictures), k):
        if size == len(gallery.pictures):
            points.append(Point(size, recall(gallery_ranks(gallery, direction), k)))
            continue
        drawn = _random_parts(len(gallery.pictures), size, draws, seed)
        found = [hits(gallery_ranks(part_of(gallery, chosen), direction), k) for chosen in drawn]
        means = torch.stack([one.mean() for one in found])
        points.append(Point(size, torch.cat(found).mean().item(), (means.std() / len(means) ** 0.5).item()))
    return points


def _random_parts(count: int, size: int, draws: int, seed: int) -> Iterator[Tensor]:
    """At least `draws` sets of `size` of `count` positions, ascending; those of one random order are disjoint."""
    for number in range(-(-draws // (count // size))):
        order = torch.randperm(count, generator=torch_generator("galleries of a size", seed, size, number))
        yield from (part.sort().values for part in order[: count - count % size].split(size))


def _possible(sizes: Sequence[int], pictures: int, k: int) -> Sequence[int]:
    if k < 1 or not all(1 <= size <= pictures for size in sizes):
        raise UserError(f"recall@{k} at sizes {list(sizes)}: ask for the first 1 or more, of 1 to {pictures} pictures")
    return sizes


def _few_drawn(others: int, drawn: int, k: int) -> np.ndarray:
    """The probability that fewer than `k` of x marked are among the `drawn` of `others`: (others + 1,) for every x.

    In an order of all with the marked ones first, that is where the k-th drawn one stands at x or behind, from 0. It
    stands at x with the probability C(x, k - 1) C(others - x - 1, drawn - k) / C(others, drawn) (the negative
    hypergeometric distribution), which is computed by its ratio from one x to the next and scaled to the sum 1.
    """
    if drawn < k:
        return np.ones(others + 1)
    x = np.arange(k - 1, others - 1 - (drawn - k), dtype=np.float64)
    steps = np.log((x + 1) / (x + 2 - k)) + np.log1p(-(drawn - k) / (others - 1 - x))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    places = np.exp(logs - logs.max())
    chance = np.zeros(others + 1)
    chance[k - 1 : k - 1 + len(places)] = places / places.sum()
    return np.cumsum(chance[::-1])[::-1].copy()

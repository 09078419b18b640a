"""Few-shot classification by nearest prototype, all episodes of a protocol drawn and scored in batches.

An episode draws some classes and, of each, some labelled support pictures and some query pictures; every query goes to
the class with the nearest prototype. With `centre` and `normalise` this is the rule of Wang et al., "SimpleShot:
Revisiting Nearest-Neighbor Classification for Few-Shot Learning" (2019), section 3 (CL2N), with the mean of the
episode's own support instead of that of base classes, as El Banani et al. evaluate ("Learning Visual Representations
via Language-Guided Sampling", CVPR 2023); without, that of Snell et al., "Prototypical Networks for Few-shot Learning"
(NeurIPS 2017), section 2.3, on frozen features.

Episodes depend on the labels, the protocol and the set's name only, never on a model, so differences between models are
paired; with more episodes, the first ones stay the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from vlrepro.errors import UserError
from vlrepro.randomness import numpy_generator

REVISION = 1

_SHORTEST = 1e-12  # features shorter than this are divided by it instead of by their length
_CHUNK_BYTES = 4 * 1024**2  # features gathered at a time: larger chunks leave the processor's caches and are slower


@dataclass(frozen=True)
class FewShotProtocol:
    """What an episode is; the defaults are the protocol `lgssl` of El Banani et al. (CVPR 2023).

    `pool`: support from the training and queries from the test pictures, or both from `all` of them together. `centre`
    subtracts the episode's support mean, `normalise` then scales each feature to length 1.
    """

    ways: int = 5
    shots: int = 5
    queries: int = 6
    episodes: int = 5000
    seed: int = 0
    pool: Literal["train/test", "all"] = "train/test"
    centre: bool = True
    normalise: bool = True


LGSSL = FewShotProtocol()
# Ericsson, Gouk and Hospedales, "How Well Do Self-Supervised Models Transfer?" (CVPR 2021), main tables.
ERICSSON = FewShotProtocol(shots=20, queries=15, episodes=600, pool="all", centre=False, normalise=False)


@dataclass(frozen=True)
class Episodes:
    """Rows of the pictures of e episodes: `support` (e, ways, shots) and `query` (e, ways, queries), int64.

    Support rows count in the training set and query rows in the test set; for the pool `all`, both count in the two
    sets one after the other. `query_mask` is False where a class has too few pictures to fill its queries. `left_out`
    lists the labels that have too few support pictures or none to query.
    """

    support: Tensor
    query: Tensor
    query_mask: Tensor
    left_out: tuple[int, ...]


@dataclass(frozen=True)
class FewShotResult:
    """Accuracy in [0, 1]: mean and standard deviation (of the population) over episodes, half of the 95 % interval.

    `correct` and `total` (e,) int64 count the queries of each episode. The interval covers the drawing of episodes, not
    the finite set of pictures nor the model's training.
    """

    accuracy: float
    std: float
    half_width: float
    correct: Tensor
    total: Tensor


def draw_episodes(train_labels: Tensor, test_labels: Tensor, protocol: FewShotProtocol, set_name: str) -> Episodes:
    """Draw the protocol's episodes for labels (n_train,) and (n_test,): classes and pictures without replacement.

    A class with fewer test pictures than `queries` gives all it has. Raises `UserError` when fewer classes than `ways`
    can be drawn, or for a protocol count below 1.
    """
    _check_protocol(protocol)
    pooled = protocol.pool == "all"
    train, test = train_labels.cpu().numpy(), test_labels.cpu().numpy()
    support_pool = np.concatenate([train, test]) if pooled else train
    classes = np.unique(np.concatenate([train, test]))
    support_set, query_set = _Members.of(support_pool, classes), _Members.of(support_pool if pooled else test, classes)
    spare = query_set.counts - protocol.shots * pooled
    eligible = np.flatnonzero((support_set.counts >= protocol.shots) & (spare >= 1))
    if len(eligible) < protocol.ways:
        found = f"{len(eligible)} of {len(classes)} classes have {protocol.shots} support pictures and one to query"
        raise UserError(f"{set_name}: {found}: {protocol.ways} ways need as many; lower ways or shots")
    order = _generator(protocol, set_name, "classes").random((protocol.episodes, len(eligible))).argsort(1)
    drawn = eligible[order[:, : protocol.ways]]
    if pooled:
        rows = support_set.draw(drawn, protocol.shots + protocol.queries, _generator(protocol, set_name, "pictures"))
        support, query = rows[..., : protocol.shots], rows[..., protocol.shots :]
    else:
        support = support_set.draw(drawn, protocol.shots, _generator(protocol, set_name, "support"))
        query = query_set.draw(drawn, protocol.queries, _generator(protocol, set_name, "query"))
    mask = np.arange(protocol.queries) < spare[drawn][..., None]
    left_out = np.delete(classes, eligible)
    return Episodes(*map(torch.from_numpy, (support.copy(), query.copy(), mask)), tuple(left_out.tolist()))


def few_shot(
    train_features: Tensor, test_features: Tensor, episodes: Episodes, protocol: FewShotProtocol = LGSSL
) -> FewShotResult:
    """Score features (n_train, d) and (n_test, d) on the episodes drawn for their labels.

    A prototype is the mean of a class's support features, not normalised again; the nearest one in Euclidean distance
    wins, the first of equally near ones. Raises `UserError` for non-finite features or too few rows for the episodes.
    """
    pooled = protocol.pool == "all"
    support = torch.cat([train_features, test_features]) if pooled else train_features
    query = support if pooled else test_features
    _check_features(support, episodes.support, "pooled" if pooled else "training")
    if not pooled:
        _check_features(query, episodes.query, "test")
    each = episodes.support[0].numel() + episodes.query[0].numel()
    size = max(1, _CHUNK_BYTES // (each * support.shape[1] * support.element_size()))
    nearest = [
        _nearest(_take(support, rows), _take(query, asked), protocol)
        for rows, asked in zip(episodes.support.split(size), episodes.query.split(size), strict=True)
    ]
    truth = torch.arange(episodes.query.shape[1])[:, None]
    correct = ((torch.cat(nearest).cpu() == truth) & episodes.query_mask).sum((1, 2))
    total = episodes.query_mask.sum((1, 2))
    accuracies = correct.double() / total
    std = accuracies.std(correction=0).item()
    return FewShotResult(accuracies.mean().item(), std, 1.96 * std / math.sqrt(len(total)), correct, total)


def _take(features: Tensor, rows: Tensor) -> Tensor:
    """The rows (...) of features (n, d): (..., d), as `features[rows]` in half the time."""
    return features.index_select(0, rows.flatten().to(features.device)).unflatten(0, rows.shape)


def _nearest(support: Tensor, query: Tensor, protocol: FewShotProtocol) -> Tensor:
    """The way of the nearest prototype for support (e, w, s, d) and query (e, w, q, d), both overwritten: (e, w, q)."""
    if protocol.centre:
        centre = support.mean((1, 2), keepdim=True)
        support -= centre
        query -= centre
    if protocol.normalise:
        support = normalize(support, dim=-1, eps=_SHORTEST)
    prototypes = support.mean(2)
    # ||q - p||^2 without ||q||^2, which is the same for every prototype p of a query q.
    products = query.flatten(1, 2) @ prototypes.mT
    if protocol.normalise:  # of the queries: dividing their products is cheaper than dividing them
        products /= query.flatten(1, 2).norm(dim=-1, keepdim=True).clamp_min(_SHORTEST)
    distances = prototypes.square().sum(-1)[:, None] - 2 * products
    return distances.argmin(-1).unflatten(1, query.shape[1:3])


@dataclass(frozen=True)
class _Members:
    """The rows of each class, one class after the other: `rows` (n,), and each class's `starts` and `counts`."""

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, labels: NDArray[np.int64], classes: NDArray[np.int64]) -> _Members:
        rows = labels.argsort(kind="stable")
        starts, ends = (np.searchsorted(labels[rows], classes, side) for side in ("left", "right"))
        return cls(rows, starts, ends - starts)

    def draw(self, drawn: NDArray[np.int64], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Draw `count` different rows of each drawn class (e, w): (e, w, count); past the last, any of its rows."""
        sizes = self.counts[drawn]
        places = _distinct(sizes, count, generator)
        return self.rows[self.starts[drawn][..., None] + np.minimum(places, sizes[..., None] - 1)]


def _distinct(sizes: NDArray[np.int64], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw, for each size m of an array, `count` different integers below m in uniformly random order: (..., count).

    The i-th is the r-th of the integers not drawn so far, with r uniform below m - i; it is found by stepping over the
    drawn ones in rising order. That needs count^2 / 2 array operations and no table as long as the largest size. Past
    the m-th, the numbers mean nothing.
    """
    uniform = generator.random((*sizes.shape, count))
    places = np.empty((*sizes.shape, count), dtype=np.int64)
    for i in range(count):
        left = np.maximum(sizes - i, 1)
        place = (uniform[..., i] * left).astype(np.int64)
        for earlier in np.moveaxis(np.sort(places[..., :i], axis=-1), -1, 0):
            place += place >= earlier
        places[..., i] = place
    return places


def _generator(protocol: FewShotProtocol, set_name: str, purpose: str) -> np.random.Generator:
    return numpy_generator("few-shot", set_name, protocol.seed, purpose)


def _check_protocol(protocol: FewShotProtocol) -> None:
    for name in ("ways", "shots", "queries", "episodes"):
        if getattr(protocol, name) < 1:
            raise UserError(f"few-shot protocol: {name} is {getattr(protocol, name)}: give 1 or more")


def _check_features(features: Tensor, rows: Tensor, name: str) -> None:
    if features.dim() != 2 or len(features) <= rows.max():
        shape = tuple(features.shape)
        raise UserError(
            f"{name} features {shape}: the episodes use row {rows.max()}: pass the features of their labels"
        )
    # Zero times NaN or infinity is NaN: a quarter of the time of `isfinite`, which shows in short protocols.
    broken = int((features * 0).sum(1).isnan().sum())
    if broken:
        raise UserError(f"{name} features: {broken} of {len(features)} rows hold NaN or infinity: mend the model")

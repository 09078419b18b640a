"""Who sees what: the pretrain, reference and heldout partitions, and train / val / test splits of a set."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vlrepro.data.sources.pocket_build.drawing import THUMB
from vlrepro.data.sources.pocket_build.items import Item
from vlrepro.randomness import numpy_generator

MIN_TEST, MIN_TRAIN = 6, 8  # pictures of a class; classes below are left out of a set
TEST_SHARE, VAL_SHARE = 0.30, 0.14
TWIN_DISTANCE = 150.0  # mean squared difference of thumbnails (0 to 255 squared) below which two drawings are twins
STAY = 2  # pictures of a concept that must remain in pretrain


def twins(items: Sequence[Item], distance: float = TWIN_DISTANCE) -> list[int]:
    """A cluster number for every item: near copies of one drawing, also mirrored ones, share a number.

    Only pictures of one unit are compared ("man juggling", "woman juggling" and the same in other designs): faces
    with different expressions look alike in a thumbnail and are different pictures.
    """
    parent = list(range(len(items)))
    units: dict[str, list[int]] = defaultdict(list)
    for position, item in enumerate(items):
        units[item.unit].append(position)
    for positions in units.values():
        for one, other in itertools.combinations(positions, 2):
            if _difference(items[one].thumb, items[other].thumb) < distance:
                _join(parent, one, other)
    return [_root(parent, number) for number in range(len(items))]


def _difference(one: bytes, other: bytes) -> float:
    left = np.frombuffer(one, np.uint8).astype(np.int64).reshape(THUMB, THUMB, 4)
    right = np.frombuffer(other, np.uint8).astype(np.int64).reshape(THUMB, THUMB, 4)
    return min(float(((left - shown) ** 2).mean()) for shown in (right, right[:, ::-1]))


def _root(parent: list[int], number: int) -> int:
    while parent[number] != number:
        parent[number] = parent[parent[number]]
        number = parent[number]
    return number


def _join(parent: list[int], one: int, other: int) -> None:
    low, high = sorted((_root(parent, one), _root(parent, other)))
    parent[high] = low


def partition(items: Sequence[Item], clusters: Sequence[int], sizes: dict[str, int]) -> dict[str, list[Item]]:
    """Split items into `pretrain` and the partitions of `sizes` (name -> wanted number of pictures).

    Clusters of twins move as a whole. A partition takes a concept once, and `STAY` pictures of each concept stay
    in pretrain, so that what is asked of held-out pictures was seen, in other designs.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for position, cluster in enumerate(clusters):
        members[cluster].append(position)
    left = Counter(item.picture.concept for item in items)
    home = dict.fromkeys(range(len(items)), "pretrain")
    for name, wanted in sizes.items():
        _fill(name, wanted, items, members, left, home)
    parts: dict[str, list[Item]] = {name: [] for name in ("pretrain", *sizes)}
    for position, item in enumerate(items):
        parts[home[position]].append(item)
    return parts


def _fill(
    name: str,
    wanted: int,
    items: Sequence[Item],
    members: dict[int, list[int]],
    left: Counter[str],
    home: dict[int, str],
) -> None:
    taken: set[str] = set()
    filled = 0
    keys = {cluster: items[positions[0]].picture.key for cluster, positions in members.items()}
    ranks = {cluster: numpy_generator("pocket", name, key).random() for cluster, key in keys.items()}
    for cluster in sorted(members, key=lambda number: (ranks[number], keys[number])):
        positions = members[cluster]
        concepts = Counter(items[position].picture.concept for position in positions)
        free = all(home[position] == "pretrain" for position in positions)
        if not free or taken & set(concepts) or any(left[slug] - n < STAY for slug, n in concepts.items()):
            continue
        left.subtract(concepts)
        taken |= set(concepts)
        home.update(dict.fromkeys(positions, name))
        filled += len(positions)
        if filled >= wanted:
            return


def split_set(name: str, items: Sequence[Item], counts: Counter[str]) -> list[Item]:
    """Give every item of set `name` a split, class by class; classes too small are left out and counted.

    About 30 % test, 14 % val, the rest train; units (near copies of one drawing) are never torn apart.
    """
    classes: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        classes[item.picture.label].append(item)
    kept = []
    for label in sorted(classes):
        members = split_class(name, label, classes[label])
        sizes = Counter(item.picture.split for item in members)
        if sizes["test"] >= MIN_TEST and sizes["train"] >= MIN_TRAIN and sizes["val"]:
            kept += members
        else:
            counts[f"classes left out of {name}"] += 1
    return kept


def split_class(name: str, label: str, items: Sequence[Item]) -> list[Item]:
    """The items of one class with their splits, in their order."""
    units = Counter(item.unit for item in items)
    wanted = {"test": max(MIN_TEST, round(TEST_SHARE * len(items))), "val": max(1, round(VAL_SHARE * len(items)))}
    order = numpy_generator("pocket", "split", name, label).permutation(len(units))
    home, filled = {}, Counter()
    for unit in np.array(sorted(units), dtype=object)[order]:
        split = next((part for part, size in wanted.items() if filled[part] + units[unit] / 2 <= size), "train")
        home[unit] = split
        filled[split] += units[unit]
    return [replace(item, picture=replace(item.picture, split=home[item.unit])) for item in items]

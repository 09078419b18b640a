"""Synthetic authors and dates: who could have posted a picture, and when. Nobody real is meant."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vlrepro.data.sources.pocket_build.items import Item
from vlrepro.randomness import numpy_generator

AUTHORS = 60
FIRST_DAY = datetime.date(2018, 1, 1)
LAST_DAY = datetime.date(2020, 12, 31)
HOME_SHARE = 0.8  # of the posts that are made in one of the author's home groups


class Authors:
    """Sixty invented authors: activity falls as 1 / rank (Zipf), each is at home in one to four groups."""

    def __init__(self, groups: Sequence[str]) -> None:
        self._activity = 1.0 / np.arange(1, AUTHORS + 1)
        self._homes: dict[str, list[int]] = {group: [] for group in groups}
        for author in range(AUTHORS):
            random = numpy_generator("pocket", "homes", author)
            count = min(int(random.integers(1, 5)), len(groups))
            for group in random.choice(sorted(groups), size=count, replace=False):
                self._homes[str(group)].append(author)

    def signed(self, item: Item) -> Item:
        """The item with an author and a day, both a function of its key alone."""
        random = numpy_generator("pocket", "author", item.picture.key)
        homes = self._homes.get(item.picture.group, [])
        pool = np.array(homes) if homes and random.random() < HOME_SHARE else np.arange(AUTHORS)
        chances = self._activity[pool] / self._activity[pool].sum()
        author = int(random.choice(pool, p=chances))
        day = FIRST_DAY + datetime.timedelta(days=int(random.integers((LAST_DAY - FIRST_DAY).days + 1)))
        return replace(item, picture=replace(item.picture, author=f"author-{author + 1:02d}", date=day.isoformat()))

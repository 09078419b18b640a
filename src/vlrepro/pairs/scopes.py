"""Scopes of the search for neighbours: weak supervision by where, when or by whom a picture was posted.

*Impact of Language Guidance*'s code base has global search and scopes by subreddit, year and both; a picture's
author is one more. Groups play the subreddits.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlrepro.errors import UserError
from vlrepro.pairs.columns import numbered

COLUMNS: dict[str, tuple[str, ...]] = {
    "global": (),
    "group": ("group",),
    "year": ("date",),
    "author": ("author",),
    "group_year": ("group", "date"),
}
"""Scope -> the columns of a pack's index that it is made from."""


def scope_numbers(pictures: pa.Table, scope: str) -> np.ndarray | None:
    """A number for each picture's scope, (n,) int64, -1 for a picture that has none; None for `global`.

    `pictures` has the scope's `COLUMNS`. Raises `UserError` where no picture has a scope.
    """
    if scope == "global":
        return None
    numbers = np.zeros(pictures.num_rows, np.int64)
    known = np.ones(pictures.num_rows, bool)
    for name in COLUMNS[scope]:
        values = pictures.column(name)
        part = numbered(pc.utf8_slice_codeunits(values, 0, 4) if name == "date" else values, blank=True)
        known &= part >= 0
        numbers = numbers * (int(part.max(initial=0)) + 1) + part
    if len(known) and not known.any():
        raise UserError(f"scope {scope}: no picture of the pack has one: fill in the index or choose another scope")
    return np.where(known, numbers, -1)


def scope_sizes(numbers: np.ndarray) -> dict[str, float]:
    """How many scopes there are and how many pictures they hold: the fewest, the median, the most."""
    _, sizes = np.unique(numbers[numbers >= 0], return_counts=True)
    return {
        "scopes": len(sizes),
        "smallest": int(sizes.min()),
        "median": float(np.median(sizes)),
        "largest": int(sizes.max()),
    }

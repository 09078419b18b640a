"""Scopes of the search for neighbours: weak supervision by where, when or by whom a picture was posted.

*Impact of Language Guidance*'s code base has global search and scopes by subreddit, year and both; a picture's
author is one more. Groups play the subreddits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vlrepro.data.pack import Row
from vlrepro.errors import UserError

_PARTS: dict[str, tuple[Callable[[Row], str], ...]] = {
    "group": (lambda row: row.group,),
    "year": (lambda row: row.date[:4],),
    "author": (lambda row: row.author,),
    "group_year": (lambda row: row.group, lambda row: row.date[:4]),
}


def scope_names(rows: Sequence[Row], scope: str) -> list[str | None] | None:
    """The name of each picture's scope, None for a picture that has none; None instead of a list for `global`.

    Raises `UserError` where no picture has one.
    """
    if scope == "global":
        return None
    names: list[str | None] = []
    for row in rows:
        parts = [part(row) for part in _PARTS[scope]]
        names.append("\x1f".join(parts) if all(parts) else None)
    if rows and not any(names):
        raise UserError(f"scope {scope}: no picture of the pack has one: fill in the index or choose another scope")
    return names


def scope_sizes(names: Sequence[str | None]) -> dict[str, float]:
    """How many scopes there are and how many pictures they hold: the fewest, the median, the most."""
    _, sizes = np.unique([name for name in names if name is not None], return_counts=True)
    return {
        "scopes": len(sizes),
        "smallest": int(sizes.min()),
        "median": float(np.median(sizes)),
        "largest": int(sizes.max()),
    }

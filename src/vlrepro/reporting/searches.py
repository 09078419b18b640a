"""What retrieval found, query by query, as metrics files keep it of whole galleries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlrepro.errors import UserError
from vlrepro.files import read_json

DIRECTIONS = {"text_to_image": "Text to image", "image_to_text": "Image to text"}


@dataclass(frozen=True)
class Search:
    """One direction over one gallery: each query's rank, the numbers of its nearest items, and recall@1 by size.

    `ranks` count from 1, in the mean over the orders of what is exactly as near; `curve` has (size, recall, error).
    """

    ranks: Sequence[float]
    nearest: Sequence[Sequence[int]]
    curve: Sequence[tuple[int, float, float]]


@dataclass(frozen=True)
class Searched:
    """A run's searches of one gallery, by direction; `keys` are its pictures', `picture_of` whose each caption is."""

    run: str
    keys: Sequence[str]
    captions: Sequence[str]
    picture_of: Sequence[int]
    directions: Mapping[str, Search]

    def captions_of(self, picture: int) -> list[int]:
        """The numbers of a picture's captions."""
        return [number for number, owner in enumerate(self.picture_of) if owner == picture]


def read_searches(path: str | Path, name: str) -> Searched | None:
    """The searches of the set `name` in a metrics file; None of a run that failed to train.

    Raises `UserError` where the file has none of that set.
    """
    metrics: dict[str, Any] = read_json(path)
    if metrics.get("failed"):
        return None
    try:
        found = metrics["searches"][name]
        return Searched(
            metrics["run"],
            found["pictures"],
            found["captions"],
            found["picture_of"],
            {
                key: Search(entry["ranks"], entry["nearest"], [tuple(point) for point in entry["curve"]])
                for key, entry in found["directions"].items()
            },
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: no searches of {name} ({error}): delete it and run again") from error

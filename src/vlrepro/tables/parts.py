"""The parts of a table as it is shown: plain values, which `layout` fills and `rendering` writes out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Literal

Status = Literal["done", "pending", "not run", "failed", "printed", "blank"]
Kind = Literal["ours", "difference", "paper"]


@dataclass(frozen=True)
class Cell:
    """One number with its interval, or the reason why there is none.

    The paper's cells are `printed` or `blank`, ours `done`, `pending` (scores missing), `not run` (no recipe), `blank`
    (no recipe in this column) or `failed` (a run failed to train). The number is a share, not a percentage; of unit
    `count` it is a whole number. `text` is shown in its place: the digits that the paper prints, or what failed.
    """

    status: Status
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n_seeds: int | None = None
    covers: str | None = None
    unit: Literal["share", "count"] = "share"
    text: str | None = None


@dataclass(frozen=True)
class Column:
    """A column's key and heading, the title of its evaluation, and whether it is a mean over that one's data sets.

    Neighbours of one `group` share that heading above their own.
    """

    name: str
    title: str
    evaluation: str = ""
    average: bool = False
    group: str = ""

    def full_title(self) -> str:
        """Its heading with the one above it."""
        return f"{self.group} {self.title}".strip()


@dataclass(frozen=True)
class Row:
    """A row's cells in the order of its part's columns."""

    id: str
    label: str
    block: str | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Part:
    """Rows that share columns and a heading."""

    kind: Kind
    heading: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def groups(self) -> list[tuple[str, int]]:
        """(heading, how many columns it is over) of the line above the columns' own; nothing where there is none."""
        if not any(column.group for column in self.columns):
            return []
        return [(group, len(list(columns))) for group, columns in groupby(self.columns, key=lambda c: c.group)]

    def most_seeds(self) -> int:
        """The largest number of seeds of any cell; cells with fewer are marked."""
        return max((cell.n_seeds or 0 for row in self.rows for cell in row.cells), default=0)


@dataclass(frozen=True)
class Table:
    """Everything that a rendering needs; `details` are parts that only the CSV has."""

    slug: str
    study: str
    name: str
    heading: str
    title: str
    scale: str
    parts: tuple[Part, ...]
    details: tuple[Part, ...]
    footnotes: tuple[str, ...]

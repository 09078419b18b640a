"""The parts of a table as it is shown: plain values, which `layout` fills and `rendering` writes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["done", "pending", "not run", "printed", "blank"]
Kind = Literal["ours", "difference", "paper"]


@dataclass(frozen=True)
class Cell:
    """One number with its interval, or the reason why there is none.

    The paper's cells are `printed` or `blank`, ours `done`, `pending` (scores missing) or `not run` (no recipe).
    The number is a share, not a percentage; of unit `count` it is a whole number.
    """

    status: Status
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n_seeds: int | None = None
    covers: str | None = None
    unit: Literal["share", "count"] = "share"


@dataclass(frozen=True)
class Column:
    """A column's key and heading, the title of its evaluation, and whether it is a mean over that one's data sets."""

    name: str
    title: str
    evaluation: str = ""
    average: bool = False


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

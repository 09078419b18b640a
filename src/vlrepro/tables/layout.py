"""A table as it is shown: our cells, our paired differences, the paper's cells, and what one must know to read them.

Our numbers and the paper's stand in parts of their own and are never subtracted from each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from vlrepro.errors import UserError
from vlrepro.tables.statistics import (
    RESAMPLES,
    Interval,
    Resampled,
    Scores,
    interval,
    mean_interval,
    paired_difference,
    resample_table,
)
from vlrepro.tables.study import AVERAGE, PaperTable, Study, TableRow

Status = Literal["done", "pending", "not run", "printed", "blank"]
Kind = Literal["ours", "difference", "paper"]


@dataclass(frozen=True)
class SetInfo:
    """A data set of ours: `name` is its key, `chance` the share correct when guessing; `n_test` counts images."""

    name: str
    title: str
    n_classes: int
    n_test: int
    chance: float


@dataclass(frozen=True)
class Cell:
    """One number (a share, not a percentage) with its interval, or the reason why there is none.

    The paper's cells are `printed` or `blank`, ours `done`, `pending` (scores missing) or `not run` (no recipe).
    """

    status: Status
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n_seeds: int | None = None
    covers: str | None = None


@dataclass(frozen=True)
class Column:
    """A column's key and heading."""

    name: str
    title: str


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
    """Everything that a rendering needs."""

    slug: str
    study: str
    number: int
    title: str
    caption: str
    metric: str
    scale: str
    parts: tuple[Part, ...]
    footnotes: tuple[str, ...]


def build_table(
    study: Study,
    table_number: int,
    scores: Mapping[tuple[str, str], Scores],
    sets: Sequence[SetInfo],
    scale: str,
    stand_ins: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> Table:
    """Lay out table `table_number` of `study`.

    `scores` is keyed by (recipe, set name); recipes and sets that the table does not have are passed over, absent
    ones are pending. The columns are `sets` in their order and the average; at scale `paper` they are the paper's.
    `stand_ins` are sentences that say what stands for what, shown as footnotes.
    Raises `UserError` for an unknown table, for scores that cannot be, and at scale `paper` for a set that the
    paper does not have.
    """
    paper = study.table(table_number)
    columns = _paper_columns(paper, sets) if scale == "paper" else tuple(Column(e.name, e.title) for e in sets)
    cells = resample_table(scores, [column.name for column in columns], resamples)
    columns = (*columns, Column(AVERAGE, "Avg"))
    parts = (_ours(paper, columns, cells, scale), _differences(paper, columns, cells), _reported(paper))
    return Table(
        study.slug,
        study.title,
        paper.number,
        paper.title,
        paper.caption,
        paper.metric,
        scale,
        tuple(part for part in parts if part.rows),
        _footnotes(study, paper, cells.values(), sets, scale, stand_ins),
    )


def _paper_columns(paper: PaperTable, sets: Sequence[SetInfo]) -> tuple[Column, ...]:
    """The paper's columns in its order; a set that was not evaluated stays as an empty column."""
    columns = tuple(Column(column.name, column.title) for column in paper.data_sets())
    for entry in sets:
        if entry.name not in {column.name for column in columns}:
            raise UserError(
                f"table {paper.number}: set {entry.name!r} is not a column of the paper: remove it from the sets of"
                " this scale"
            )
    return columns


def _ours(
    paper: PaperTable, columns: tuple[Column, ...], cells: Mapping[tuple[str, str], Resampled], scale: str
) -> Part:
    rows = []
    for row in paper.rows:
        found = [cells.get((row.recipe, column.name)) if row.recipe else None for column in columns]
        rows.append(_row(row, row.recipe is not None, [cell and mean_interval(cell) for cell in found]))
    return Part("ours", f"Re-run, scale {scale}", columns, tuple(rows))


def _differences(paper: PaperTable, columns: tuple[Column, ...], cells: Mapping[tuple[str, str], Resampled]) -> Part:
    """Every row that has a recipe minus its baseline, where that has one too."""
    rows = []
    for row in paper.rows:
        base = paper.row(row.baseline or paper.baseline)
        if row.recipe is None or base.recipe is None or row.recipe == base.recipe:
            continue
        both = [(cells.get((row.recipe, c.name)), cells.get((base.recipe, c.name))) for c in columns]
        found = [paired_difference(first, second) for first, second in both]
        label = f"{row.full_label()} minus {base.full_label()}"
        named = row.model_copy(update={"id": f"{row.id}-minus-{base.id}", "label": label, "block": None})
        rows.append(_row(named, True, [cell and interval(cell) for cell in found]))
    return Part("difference", "Re-run, paired differences in percentage points", columns, tuple(rows))


def _row(row: TableRow, runnable: bool, intervals: Iterable[Interval | None]) -> Row:
    missing = Cell("pending" if runnable else "not run")
    cells = tuple(
        Cell("done", found.value, found.low, found.high, found.n_seeds, found.covers) if found else missing
        for found in intervals
    )
    return Row(row.id, row.label, row.block, cells)


def _reported(paper: PaperTable) -> Part:
    rows = tuple(
        Row(row.id, row.label, row.block, tuple(_printed(value) for value in row.reported))
        for row in paper.rows
        if row.reported is not None
    )
    columns = tuple(Column(column.name, column.title) for column in paper.columns)
    return Part("paper", f"The paper, as printed ({paper.where})", columns, rows)


def _printed(percent: float | None) -> Cell:
    return Cell("blank") if percent is None else Cell("printed", percent / 100)


def _footnotes(
    study: Study,
    paper: PaperTable,
    cells: Iterable[Resampled],
    sets: Sequence[SetInfo],
    scale: str,
    stand_ins: Sequence[str],
) -> tuple[str, ...]:
    notes = [
        _scale_note(study, scale),
        f"Metric: {paper.metric}.",
        *_interval_notes(paper, cells),
        *([_sets_note(sets)] if sets else []),
        *stand_ins,
        *paper.notes,
    ]
    return tuple(" ".join(note.split()) for note in notes)


def _scale_note(study: Study, scale: str) -> str:
    paper = f"The paper's scale: {study.setup}"
    if scale == "paper":
        return paper
    return (
        f"The re-run is at scale {scale}: its data, backbone and training length are not the paper's. Levels are not"
        f" to be compared with the paper's; only the directions of effects are judged. {paper}"
    )


def _interval_notes(paper: PaperTable, cells: Iterable[Resampled]) -> list[str]:
    seeds = sorted({seed for cell in cells for seed in cell.seeds})
    if not seeds:
        return ["Nothing has been scored yet."]
    one = len(seeds) == 1
    covers = f"{paper.example}s only, since there is one seed" if one else f"seeds and {paper.example}s"
    student = "" if one else ", with Student's t for the number of seeds"
    return [
        f"Seeds: {', '.join(map(str, seeds))}." + ("" if one else " A cell with fewer seeds than the others gives n."),
        f"Brackets hold 95 % intervals over {covers}: pigeonhole bootstrap (Owen 2007){student}."
        " Differences are paired: the same seeds and the same test examples in both rows. Intervals"
        " of Avg take the data sets as fixed.",
        "▲ higher, ▼ lower: the interval of the difference excludes 0. ○ undecided: it does not.",
    ]


def _sets_note(sets: Sequence[SetInfo]) -> str:
    details = [
        f"{entry.title} ({entry.n_classes:,} classes, {entry.n_test:,} test images, chance {100 * entry.chance:.1f})"
        for entry in sets
    ]
    return f"Data sets: {'; '.join(details)}."

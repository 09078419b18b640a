"""A table as it is shown: our cells, our paired differences, the paper's cells, and what one must know to read them.

Our numbers and the paper's stand in parts of their own and are never subtracted from each other. A table that the
paper does not print has a column for each evaluation, the mean over the data sets; the single sets are its `details`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from vlrepro.errors import UserError
from vlrepro.tables.cells import Cells, ModelSize, SetInfo
from vlrepro.tables.footnotes import footnotes
from vlrepro.tables.parts import Cell, Column, Part, Row, Table
from vlrepro.tables.saliency_layout import probe_note, saliency_parts
from vlrepro.tables.statistics import (
    RESAMPLES,
    Interval,
    Resampled,
    interval,
    mean_interval,
    paired_difference,
)
from vlrepro.tables.study import AVERAGE, PaperTable, Study, TableRow

Found = Mapping[tuple[str, str], Resampled]
"""Resampled cells by (recipe, column name)."""


def build_table(
    study: Study,
    name: str,
    cells: Cells,
    scale: str,
    stand_ins: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> Table:
    """Lay out table `name` of `study`.

    Recipes and sets of `cells` that the table does not have are passed over, absent ones are pending. A printed
    table's columns are our sets in their order and the average; at scale `paper` they are the paper's. `stand_ins`
    are sentences that say what stands for what, shown as footnotes.
    Raises `UserError` for an unknown table, for scores that cannot be, and at scale `paper` for a set that the
    printed table does not have.
    """
    table = study.table(name)
    if table.saliency:
        parts = saliency_parts(table, cells, scale, resamples)
        seeds = {seed for entry in table.evaluations for seed in cells.seeds(entry)}
        return _shown(study, table, cells, scale, (parts, []), sorted(seeds), [*stand_ins, probe_note(table, cells)])
    found = {}
    columns = {}
    for evaluation in table.evaluations:
        columns[evaluation] = _columns(study, table, evaluation, cells.sets.get(evaluation, ()), scale)
        sets = [column.name for column in columns[evaluation][:-1]]
        found[evaluation] = cells.resampled(evaluation, sets, resamples)
    parts = [
        part
        for evaluation in table.evaluations
        for part in (
            _ours(table, columns[evaluation], found[evaluation], f"Re-run, scale {scale}"),
            _differences(table, columns[evaluation], found[evaluation]),
        )
    ]
    details: list[Part] = []
    if table.printed:
        parts.append(_reported(table))
    else:
        details = [_without_averages(part) for part in parts]
        parts = _summaries(study, table, parts, cells.models, scale)
    seeds = {seed for entries in found.values() for cell in entries.values() for seed in cell.seeds}
    return _shown(study, table, cells, scale, (parts, details), sorted(seeds), stand_ins)


def _shown(
    study: Study,
    table: PaperTable,
    cells: Cells,
    scale: str,
    parts: tuple[Sequence[Part], Sequence[Part]],
    seeds: Sequence[int],
    stand_ins: Sequence[str],
) -> Table:
    """The table of its parts and its details, empty ones left out, with its footnotes."""
    shown, details = (tuple(part for part in found if part.rows) for found in parts)
    notes = footnotes(study, table, seeds, cells.sets, scale, stand_ins)
    return Table(study.slug, study.title, table.name, table.heading(), table.title, scale, shown, details, notes)


def _columns(
    study: Study, table: PaperTable, evaluation: str, sets: Sequence[SetInfo], scale: str
) -> tuple[Column, ...]:
    """Our sets and the average; at scale `paper` the paper's columns, empty where a set was not evaluated."""
    title = study.evaluations[evaluation].title
    names = {entry.name: entry.title for entry in sets}
    if scale == "paper" and table.printed:
        printed = {column.name: column.title for column in table.data_sets()}
        for name in names:
            if name not in printed:
                raise UserError(
                    f"table {table.number}: set {name!r} is not a column of the paper: remove it from the sets of"
                    " this scale"
                )
        names = printed
    return (*(Column(name, heading, title) for name, heading in names.items()), Column(AVERAGE, "Avg", title, True))


def _ours(table: PaperTable, columns: tuple[Column, ...], cells: Found, heading: str) -> Part:
    rows = []
    for row in table.rows:
        found = [cells.get((row.recipe, column.name)) if row.recipe else None for column in columns]
        rows.append(_row(row.id, row.label, row.block, row.recipe is not None, map(_optional(mean_interval), found)))
    return Part("ours", heading, columns, tuple(rows))


def _differences(table: PaperTable, columns: tuple[Column, ...], cells: Found) -> Part:
    """Every row that has a recipe minus each of its baselines that has one too."""
    rows = []
    for row, base in _comparisons(table):
        both = [(cells.get((row.recipe, c.name)), cells.get((base.recipe, c.name))) for c in columns]
        found = [paired_difference(first, second) for first, second in both]
        rows.append(_row(f"{row.id}-minus-{base.id}", row.minus(base), None, True, map(_optional(interval), found)))
    return Part("difference", "Re-run, paired differences in percentage points", columns, tuple(rows))


def _comparisons(table: PaperTable) -> Iterable[tuple[TableRow, TableRow]]:
    for row in table.rows:
        for base in table.baselines_of(row):
            if row.recipe and base.recipe and row.recipe != base.recipe:
                yield row, base


def _optional(function: Callable[[Resampled], Interval]) -> Callable[[Resampled | None], Interval | None]:
    return lambda cell: None if cell is None else function(cell)


def _row(row_id: str, label: str, block: str | None, runnable: bool, intervals: Iterable[Interval | None]) -> Row:
    missing = Cell("pending" if runnable else "not run")
    cells = tuple(
        Cell("done", found.value, found.low, found.high, found.n_seeds, found.covers) if found else missing
        for found in intervals
    )
    return Row(row_id, label, block, cells)


def _summaries(
    study: Study, table: PaperTable, parts: Sequence[Part], models: Mapping[str, ModelSize], scale: str
) -> list[Part]:
    """Our cells and our differences with one column an evaluation: the averages of `parts`."""
    titles = {name: study.evaluations[name].title for name in table.evaluations}
    columns = tuple(Column(name, title, title, True) for name, title in titles.items())
    ours, differences = (
        replace(_side_by_side([part for part in parts if part.kind == kind]), columns=columns)
        for kind in ("ours", "difference")
    )
    ours = replace(ours, heading=f"Re-run, scale {scale}, averages over the data sets")
    return [_with_models(table, ours, models) if table.models else ours, differences]


def _side_by_side(parts: Sequence[Part]) -> Part:
    """The last cell (the average) of each part's rows; all parts have the same rows."""
    rows = (
        replace(same[0], cells=tuple(row.cells[-1] for row in same))
        for same in zip(*(part.rows for part in parts), strict=True)
    )
    return replace(parts[0], rows=tuple(rows))


def _without_averages(part: Part) -> Part:
    rows = tuple(replace(row, cells=row.cells[:-1]) for row in part.rows)
    return replace(part, columns=part.columns[:-1], rows=rows)


def _with_models(table: PaperTable, part: Part, models: Mapping[str, ModelSize]) -> Part:
    """Two columns before the others: how large each row's backbone is."""
    rows = []
    for row in part.rows:
        recipe = table.row(row.id).recipe
        size = models.get(recipe) if recipe else None
        missing = Cell("pending" if recipe else "not run")
        sizes = (
            [Cell("done", value, unit="count") for value in (size.parameters, size.feature_width)]
            if size
            else [missing, missing]
        )
        rows.append(replace(row, cells=(*sizes, *row.cells)))
    columns = (Column("parameters", "Backbone parameters"), Column("feature_width", "Feature width"), *part.columns)
    return replace(part, columns=columns, rows=tuple(rows))


def _reported(table: PaperTable) -> Part:
    rows = tuple(
        Row(row.id, row.label, row.block, tuple(_printed(value) for value in row.reported))
        for row in table.rows
        if row.reported is not None
    )
    columns = tuple(Column(column.name, column.title) for column in table.columns)
    return Part("paper", f"The paper, as printed ({table.where})", columns, rows)


def _printed(percent: float | None) -> Cell:
    return Cell("blank") if percent is None else Cell("printed", percent / 100)

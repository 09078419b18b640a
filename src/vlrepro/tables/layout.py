"""A table as it is shown: our cells, our paired differences, the paper's cells, and what one must know to read them.

Our numbers and the paper's stand in parts of their own and are never subtracted from each other. A table that the
paper does not print has a column for each evaluation (of each variant), the mean over the data sets; the single sets
are its `details`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vlrepro.errors import UserError
from vlrepro.tables.cells import Cells, ModelSize, SetInfo
from vlrepro.tables.footnotes import FAILED, footnotes
from vlrepro.tables.grid_layout import columns_note, grid_parts
from vlrepro.tables.parts import Cell, Column, Part, Row, Table
from vlrepro.tables.saliency_layout import probe_note, saliency_parts
from vlrepro.tables.scored import Scored
from vlrepro.tables.statistics import RESAMPLES
from vlrepro.tables.study import AVERAGE, PaperTable, Study


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
    if table.grid:
        parts, seeds = grid_parts(study, table, cells, scale, resamples)
        notes = [*columns_note(table, cells, scale), *stand_ins]
        return _shown(study, table, cells, scale, ([*parts, _reported(table)], []), seeds, notes)
    parts, seeds = _parts(study, table, cells, scale, resamples)
    if table.printed:
        return _shown(study, table, cells, scale, ([*parts, _reported(table)], []), seeds, stand_ins)
    shown = _summaries(table, parts, cells.models, scale), [_without_averages(part) for part in parts]
    return _shown(study, table, cells, scale, shown, seeds, stand_ins)


def _parts(study: Study, table: PaperTable, cells: Cells, scale: str, resamples: int) -> tuple[list[Part], list[int]]:
    """Our cells and our differences under each evaluation of each variant, and the seeds that they rest on."""
    parts, seeds = [], set()
    for variant in table.every_variant():
        for evaluation in table.evaluations:
            columns = _columns(study, table, evaluation, cells.sets.get(evaluation, ()), scale)
            columns = tuple(replace(column, group=table.variants.get(variant or "", "")) for column in columns)
            scored = Scored.of(cells, evaluation, [column.name for column in columns[:-1]], resamples)
            parts.append(_ours(table, variant, columns, scored, f"Re-run, scale {scale}"))
            parts.append(_differences(table, variant, columns, scored))
            seeds |= scored.seeds()
    return parts, sorted(seeds)


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
    failed = any(cell.status == "failed" for part in shown for row in part.rows for cell in row.cells)
    notes = footnotes(study, table, seeds, cells.sets, scale, [*stand_ins, *([FAILED] if failed else [])])
    return Table(study.slug, study.title, table.name, table.heading(), table.title, scale, shown, details, notes)


def _columns(
    study: Study, table: PaperTable, evaluation: str, sets: Sequence[SetInfo], scale: str
) -> tuple[Column, ...]:
    """Our sets and the average; at scale `paper` the paper's columns, empty where a set was not evaluated."""
    title = study.evaluations[evaluation].title
    names = {entry.name: entry.title for entry in sets if table.about(entry.name)}
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


def _ours(table: PaperTable, variant: str | None, columns: tuple[Column, ...], scored: Scored, heading: str) -> Part:
    rows = []
    for row in table.rows:
        cells = tuple(scored.mean(row, variant, column.name) for column in columns)
        rows.append(Row(row.id, row.label, row.block, cells))
    return Part("ours", heading, columns, tuple(rows))


def _differences(table: PaperTable, variant: str | None, columns: tuple[Column, ...], scored: Scored) -> Part:
    """Every row that has a recipe minus each of its baselines that has one too."""
    rows = []
    for row, base in table.comparisons():
        first, second = row.key_of(variant), base.key_of(variant)
        cells = tuple(scored.difference(first, second, column.name) for column in columns)
        rows.append(Row(f"{row.id}-minus-{base.id}", row.minus(base), None, cells))
    return Part("difference", "Re-run, paired differences in percentage points", columns, tuple(rows))


def _summaries(table: PaperTable, parts: Sequence[Part], models: Mapping[str, ModelSize], scale: str) -> list[Part]:
    """Our cells and our differences with one column an evaluation (of each variant): the averages of `parts`."""
    names = [f"{v}_{name}" if v else name for v in table.every_variant() for name in table.evaluations]
    ours, differences = (
        _side_by_side([part for part in parts if part.kind == kind], names) for kind in ("ours", "difference")
    )
    ours = replace(ours, heading=f"Re-run, scale {scale}, averages over the data sets")
    return [_with_models(table, ours, models) if table.models else ours, differences]


def _side_by_side(parts: Sequence[Part], names: Sequence[str]) -> Part:
    """The last column (the average) of each part, named and titled by its evaluation; all parts have the same rows."""
    rows = (
        replace(same[0], cells=tuple(row.cells[-1] for row in same))
        for same in zip(*(part.rows for part in parts), strict=True)
    )
    ends = zip((part.columns[-1] for part in parts), names, strict=True)
    columns = tuple(replace(column, name=name, title=column.evaluation) for column, name in ends)
    return replace(parts[0], columns=columns, rows=tuple(rows))


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
    columns = tuple(Column(c.name, c.title, group=table.group_of(c)) for c in table.printed_columns())
    return Part("paper", f"The paper, as printed ({table.where})", columns, rows)


def _printed(percent: float | None) -> Cell:
    return Cell("blank") if percent is None else Cell("printed", percent / 100, text=str(percent))

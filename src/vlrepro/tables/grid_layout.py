"""A grid table as it is shown: the columns that the paper prints, filled by our recipes, sets and evaluations.

At another scale than the paper's a column of a table without variants is headed by our data set's title, since that is
what it is about; `columns_note` says which of the paper's it stands for.
"""

from __future__ import annotations

from vlrepro.tables.cells import Cells
from vlrepro.tables.parts import Column, Part, Row
from vlrepro.tables.scored import Scored
from vlrepro.tables.study import PaperColumn, PaperTable, Study, TableRow


def grid_parts(
    study: Study, table: PaperTable, cells: Cells, scale: str, resamples: int
) -> tuple[list[Part], list[int]]:
    """Our cells and their paired differences, and the seeds that they rest on.

    A column that the paper does not print is left out where its set was not evaluated.
    """
    of_rows = [row.set for row in table.rows if row.set]
    sets = {
        name: list(dict.fromkeys([*of_rows, *(c.set for c in table.columns if c.set and c.evaluation == name)]))
        for name in table.evaluations
    }
    scored = {name: Scored.of(cells, name, found, resamples) for name, found in sets.items()}
    evaluated = {name: set(cells.columns(name)) for name in table.evaluations}
    chosen = [c for c in table.columns if not c.extra or not c.set or c.set in evaluated[c.evaluation or ""]]
    columns = tuple(_column(study, table, column, cells, scale) for column in chosen)
    ours = [
        Row(
            row.id,
            _label(row, cells, scale),
            row.block,
            tuple(scored[c.evaluation].mean(row, c.variant, row.set or c.set) for c in chosen),
        )
        for row in table.rows
    ]
    differences = [
        Row(
            f"{row.id}-minus-{base.id}",
            row.minus(base),
            None,
            tuple(
                scored[c.evaluation].difference(row.key_of(c.variant), base.key_of(c.variant), row.set or c.set)
                for c in chosen
            ),
        )
        for row, base in table.comparisons()
    ]
    words = "row minus baseline of the same column" if table.variants else "row minus baseline"
    parts = [
        Part("ours", f"Re-run, scale {scale}", columns, tuple(ours)),
        Part("difference", f"Re-run, paired differences in percentage points, {words}", columns, tuple(differences)),
    ]
    return parts, sorted({seed for entry in scored.values() for seed in entry.seeds()})


def columns_note(table: PaperTable, cells: Cells, scale: str) -> list[str]:
    """Which of our data sets stands under which of the paper's headings, and which columns are ours alone."""
    titles = _titles(cells)
    pairs = {
        titles[column.set]: table.group_of(column)
        for column in table.printed_columns()
        if column.set in titles and not table.variants and titles[column.set] != table.group_of(column)
    }
    notes = []
    if pairs and scale != "paper":
        notes.append(f"In the place of the paper's columns: {'; '.join(f'{a} for {b}' for a, b in pairs.items())}.")
    extra = dict.fromkeys(titles.get(c.set, table.column_label(c)) for c in table.columns if c.extra)
    shown = [title for title in extra if table.sets_in_rows or title in titles.values()]
    if shown:
        notes.append(f"Columns that the paper does not have: {', '.join(shown)}.")
    if table.sets_in_rows and scale != "paper":
        rows = [f"{titles[row.set]} for {row.label}" for row in table.rows if row.set in titles and row.reported]
        notes.append(f"In the place of the paper's rows: {'; '.join(rows)}.")
    return notes


def _column(study: Study, table: PaperTable, column: PaperColumn, cells: Cells, scale: str) -> Column:
    group = table.group_of(column)
    if not table.variants and (scale != "paper" or column.extra):
        group = _titles(cells).get(column.set, group if column.set or column.extra else "")
    return Column(column.name, column.title, study.evaluations[column.evaluation].title, group=group)


def _label(row: TableRow, cells: Cells, scale: str) -> str:
    """A row's label; at another scale than the paper's, of a row that is a data set of the paper, our data set's."""
    return _titles(cells).get(row.set, row.label) if scale != "paper" and row.reported else row.label


def _titles(cells: Cells) -> dict[str | None, str]:
    """Set -> its title, over all evaluations."""
    return {entry.name: entry.title for sets in cells.sets.values() for entry in sets}

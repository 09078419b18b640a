"""A saliency table as it is shown: for each method's maps the scores of every row, then what the rows gain.

Gains stand in columns, one a score and reference row ("AP over the best prior"): the same pictures and seeds in both,
so that the interval is that of a paired difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vlrepro.tables.cells import Cells, Failure
from vlrepro.tables.parts import Cell, Column, Part, Row
from vlrepro.tables.saliency_columns import MAPS, SCORES, evaluation_name
from vlrepro.tables.statistics import Interval, Resampled, interval, mean_interval, paired_difference
from vlrepro.tables.study import AVERAGE, PaperTable, TableRow

Found = Mapping[str, Mapping[tuple[str, str], Resampled]]
"""Evaluation -> resampled cells by (row's key, set name), with the average over sets."""


def saliency_parts(table: PaperTable, cells: Cells, scale: str, resamples: int) -> list[Part]:
    """Two parts a method: scores, and gains where the table asks for them; averages over the table's sets."""
    columns = table.saliency
    found = {name: cells.resampled(name, cells.columns(name), resamples) for name in columns.evaluations()}
    parts = []
    for method in columns.maps:
        parts += [_scores(table, found, method, scale, cells), _gains(table, found, method, cells)]
    return parts


def probe_note(table: PaperTable, cells: Cells) -> str:
    """How right the probes are that the maps explain, the mean over seeds: without that, no map means much."""
    found = cells.probes.get(table.evaluations[0], {})
    shares = [f"{row.full_label()} {100 * found[row.key]:.1f}" for row in table.rows if row.key in found]
    return f"Accuracy of the explained probe on the test pictures, in percent: {', '.join(shares) or 'pending'}."


def _scores(table: PaperTable, found: Found, method: str, scale: str, cells: Cells) -> Part:
    columns = tuple(Column(score, SCORES[score][0], MAPS[method]) for score in table.saliency.scores)
    names = [evaluation_name(table.saliency.protocol, method, score) for score in table.saliency.scores]
    rows = tuple(
        _row(row, [_lost(cells, name, [row]) or _optional(found[name].get((row.key, AVERAGE))) for name in names])
        for row in table.rows
    )
    return Part("ours", f"{MAPS[method]}: re-run, scale {scale}", columns, rows)


def _gains(table: PaperTable, found: Found, method: str, cells: Cells) -> Part:
    wanted = [(table.row(name), score) for name, scores in table.saliency.gains.items() for score in scores]
    columns = tuple(
        Column(f"{score}_over_{base.id}", f"{SCORES[score][0]} over {base.label}", MAPS[method])
        for base, score in wanted
    )
    models = [row for row in table.rows if not row.prior]  # priors are what gains are over
    rows = []
    for row in models:
        gains = []
        for base, score in wanted:
            name = evaluation_name(table.saliency.protocol, method, score)
            scores = found[name]
            gain = paired_difference(scores.get((row.key, AVERAGE)), scores.get((base.key, AVERAGE)))
            gains.append(_lost(cells, name, [row, base]) or (None if gain is None else interval(gain)))
        own = [row.key == base.key for base, _ in wanted]
        shown = zip(own, _row(row, gains).cells, strict=True)
        rows.append(Row(row.id, row.label, row.block, tuple(Cell("blank") if same else cell for same, cell in shown)))
    heading = f"{MAPS[method]}: gains, paired differences in percentage points"
    return Part("difference", heading, columns, tuple(rows) if columns else ())


def _optional(cell: Resampled | None) -> Interval | None:
    return None if cell is None else mean_interval(cell)


def _lost(cells: Cells, evaluation: str, rows: Sequence[TableRow]) -> Failure | None:
    """How many seeds of these rows failed to train; None where none did."""
    return cells.failure(evaluation, [row.key for row in rows if row.key], cells.columns(evaluation))


def _row(row: TableRow, found: Sequence[Interval | Failure | None]) -> Row:
    missing = Cell("pending" if row.key else "not run")
    return Row(row.id, row.label, row.block, tuple(_cell(entry) if entry else missing for entry in found))


def _cell(found: Interval | Failure) -> Cell:
    if isinstance(found, Failure):
        return Cell("failed", n_seeds=found.seeds, text=str(found))
    return Cell("done", found.value, found.low, found.high, found.n_seeds, found.covers)

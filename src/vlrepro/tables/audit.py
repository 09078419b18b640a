"""What a paper's own tables and sentences show when they are read with a calculator; no run is needed.

Numbers are printed rounded: a number with d decimals stands for anything within half a unit of its last digit. The
decimals are those of the study file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from vlrepro.tables.chance import judge_printed_chance
from vlrepro.tables.claims import ChanceTest, PaperClaim, ScoreTest
from vlrepro.tables.facts import check_fact, printed_tables
from vlrepro.tables.printed import decimals, half_unit
from vlrepro.tables.reported import judge_reported
from vlrepro.tables.study import AVERAGE, PaperColumn, PaperTable, Study, TableRow
from vlrepro.tables.verdicts import explain

Kind = Literal[
    *("average", "blank", "repeated", "chance", "decimals", "range", "shared"),
    *("claim", "number", "disagreement", "reference"),
]


@dataclass(frozen=True)
class Finding:
    """One finding: what kind, where in the paper, and what was found in one sentence."""

    kind: Kind
    place: str
    text: str


def audit(study: Study) -> list[Finding]:
    """All findings on a study, table by table, then its sentences."""
    tables = printed_tables(study)
    of_tables = [
        finding
        for table in tables
        for check in (
            check_averages,
            check_row_means,
            check_blanks,
            check_repeats,
            check_chance,
            check_decimals,
            check_range,
        )
        for finding in check(table)
    ]
    return [
        *of_tables,
        *check_shared(tables),
        *check_claims(study),
        *check_disagreements(study),
        *check_references(study),
    ]


def mean_of(table: PaperTable, row: TableRow) -> tuple[float, float] | None:
    """The mean of a row's printed cells and how far rounding of the cells can move it; None for a blank row."""
    values = list(table.reported(row.id).values())
    if not values:
        return None
    return math.fsum(values) / len(values), math.fsum(half_unit(value) for value in values) / len(values)


def check_averages(table: PaperTable) -> Iterator[Finding]:
    """A printed average that is not the mean of its row within rounding; what a blank one would be."""
    for row, average in _averages(table):
        found = mean_of(table, row)
        place = f"{_place(table)}, {row.full_label()}, Avg"
        if found is None:
            continue
        mean, slack = found
        missing = len(table.data_sets()) - len(table.reported(row.id))
        of = "" if not missing else f" ({missing} blank cells left out)"
        if average is None:
            yield Finding(
                "average", place, f"The cell is blank; the mean of the row's printed cells{of} is {mean:.2f}."
            )
        elif abs(average - mean) > slack + half_unit(average) + 1e-9:
            reach = slack + half_unit(average)
            text = f"{average} is printed; the mean of its row{of} is {mean:.2f}; rounding explains {reach:.2f}."
            yield Finding("average", place, text)


def check_row_means(table: PaperTable) -> Iterator[Finding]:
    """What the paper prints as the mean of other rows, beside their mean."""
    for row in (row for row in table.rows if row.mean_of):
        for column in table.printed_columns():
            values = [table.reported(name).get(column.name) for name in row.mean_of]
            printed = table.reported(row.id).get(column.name)
            if printed is None or None in values:
                continue
            mean = math.fsum(values) / len(values)
            reach = math.fsum(map(half_unit, values)) / len(values) + half_unit(printed)
            agrees = (
                "which rounding explains" if abs(printed - mean) <= reach + 1e-9 else "which rounding does not explain"
            )
            text = f"{printed} is stated; the mean of the {len(values)} rows is {mean:.2f}, {agrees} ({reach:.2f})."
            yield Finding("average", f"{_place(table)}, {row.full_label()}, {table.column_label(column)}", text)


def _averages(table: PaperTable) -> Iterator[tuple[TableRow, float | None]]:
    names = [column.name for column in table.printed_columns()]
    if AVERAGE in names:
        for row in table.rows:
            if row.reported is not None:
                yield row, row.reported[names.index(AVERAGE)]


def check_blanks(table: PaperTable) -> Iterator[Finding]:
    """Blank cells in all, then blocks and rows without a number, and columns without one."""
    rows = [row for row in table.rows if row.reported is not None]
    cells = [cell for row in rows for cell in row.reported or []]
    blank = cells.count(None)
    if not blank:
        return
    yield Finding("blank", _place(table), f"{blank} of {len(cells)} cells are blank.")
    empty = [row for row in rows if all(cell is None for cell in row.reported or [])]
    blocks = {row.block for row in rows if row.block}
    bare = sorted(block for block in blocks if all(row in empty for row in rows if row.block == block))
    for block in bare:
        yield Finding("blank", f"{_place(table)}, block {block}", "The whole block is blank.")
    for row in empty:
        if row.block not in bare:
            yield Finding("blank", f"{_place(table)}, {row.full_label()}", "The whole row is blank.")
    for number, column in enumerate(table.printed_columns()):
        if rows and all((row.reported or [])[number] is None for row in rows):
            yield Finding(
                "blank", f"{_place(table)}, column {table.column_label(column)}", "The whole column is blank."
            )


def check_repeats(table: PaperTable) -> Iterator[Finding]:
    """Equal numbers in one column: how many, and how many chance would give; rows that share two or more.

    What is exactly at chance is left out: see `check_chance`.
    """
    rows = [row for row in table.rows if table.reported(row.id) and not row.mean_of]
    expected, equal, compared = 0.0, [], 0
    for column in table.data_sets():
        printed = [
            (row, value)
            for row in rows
            if (value := table.reported(row.id).get(column.name)) is not None and value != column.chance
        ]
        pairs = list(combinations(printed, 2))
        compared += len(pairs)
        expected += len(pairs) * _chance([value for _, value in printed])
        equal += [(table.column_label(column), a, b, value) for (a, value), (b, other) in pairs if value == other]
    if equal:
        words = "; ".join(f"{title} {value} in {a.full_label()} and {b.full_label()}" for title, a, b, value in equal)
        text = (
            f"{len(equal)} of {compared} pairs of cells in one column are equal ({words}); {expected:.1f} are expected"
        )
        yield Finding("repeated", _place(table), f"{text} if cells were uniform over their column's range.")
    for first, second in combinations(rows, 2):
        shared = [title for title, a, b, _ in equal if (a, b) == (first, second)]
        both = [name for name in table.reported(first.id) if name in table.reported(second.id)]
        if len(shared) >= 2:
            text = f"Equal in {len(shared)} of {len(both)} cells: {', '.join(shared)}."
            yield Finding("repeated", f"{_place(table)}, {first.full_label()} and {second.full_label()}", text)


def _chance(values: Sequence[float]) -> float:
    """The chance that two numbers of a column's range and decimals are equal."""
    unit = 2 * min((half_unit(value) for value in values), default=0.5)
    return 1 / ((max(values) - min(values)) / unit + 1) if values else 0.0


def check_chance(table: PaperTable) -> Iterator[Finding]:
    """Cells that are exactly what guessing gets right, which one answer to everything gets on a balanced set."""
    found = [
        f"{table.column_label(column)} {value} in {row.full_label()}"
        for row, column, value in _cells(table)
        if value == column.chance
    ]
    if found:
        text = (
            f"{len(found)} cells are exactly chance: {'; '.join(found)}. A model that answers the same to everything"
            " has that accuracy where all classes have as many pictures."
        )
        yield Finding("chance", _place(table), text)


def check_decimals(table: PaperTable) -> Iterator[Finding]:
    """Cells with other decimals than most cells of their table; averages have their own, and chance is as it is."""
    for average in (False, True):
        cells = [
            (row, column, value)
            for row, column, value in _cells(table)
            if value != column.chance and (column.name == AVERAGE or bool(row.mean_of)) == average
        ]
        counts = [decimals(value) for _, _, value in cells]
        usual = max(sorted(set(counts)), key=counts.count, default=0)
        for row, column, value in cells:
            if decimals(value) != usual:
                text = f"{value} is printed with {decimals(value)} decimals where most cells have {usual}."
                yield Finding("decimals", f"{_place(table)}, {row.full_label()}, {table.column_label(column)}", text)


def check_range(table: PaperTable) -> Iterator[Finding]:
    """Cells that are no percentage."""
    for row, column, value in _cells(table):
        if not 0 <= value <= 100:
            place = f"{_place(table)}, {row.full_label()}, {table.column_label(column)}"
            yield Finding("range", place, f"{value} is not between 0 and 100 percent.")


def _cells(table: PaperTable) -> Iterator[tuple[TableRow, PaperColumn, float]]:
    """Every number of a table with its row and column."""
    for row in table.rows:
        for column, value in zip(table.printed_columns(), row.reported or [], strict=False):
            if value is not None:
                yield row, column, value


def check_shared(tables: Sequence[PaperTable]) -> Iterator[Finding]:
    """Cells that two tables both print, being of one recipe, data set and evaluation: how many, and which differ."""
    for first, second in combinations(tables, 2):
        there = {key: (label, value) for key, label, value in _identified(second)}
        both = [(label, value, *there[key]) for key, label, value in _identified(first) if key in there]
        if not both:
            continue
        differing = [f"{label} {value} and {other} {again}" for label, value, other, again in both if value != again]
        words = f"; these differ: {'; '.join(differing)}" if differing else ", and all are equal"
        place = f"{_place(first)} and {_place(second)}"
        yield Finding("shared", place, f"{len(both)} cells are in both tables{words}.")


def _identified(table: PaperTable) -> Iterator[tuple[tuple[str, str, str], str, float]]:
    """Of the numbers that a recipe fills: (recipe, evaluation, set), where it stands, the number."""
    for row, column, value in _cells(table):
        key = row.key_of(column.variant)
        name = row.set or column.set if table.grid else column.name
        evaluation = column.evaluation if table.grid else table.evaluations[0]
        if key and evaluation and name and name != AVERAGE:
            yield (key, evaluation, name), f"{row.full_label()}, {table.column_label(column)}", value


def check_claims(study: Study) -> Iterator[Finding]:
    """What the paper claims and its own cells contradict, or leave untestable where a printed table has the rows."""
    printed = {table.name for table in printed_tables(study)}
    for claim in (claim for claim in study.claims if claim.kind == "claim"):
        if isinstance(claim.test, ScoreTest | ChanceTest):
            judged = judge_reported if isinstance(claim.test, ScoreTest) else judge_printed_chance
            verdict = judged(study, claim.tables, claim.test)
            if verdict.outcome == "contradicted" or (verdict.outcome == "not testable" and printed & set(claim.tables)):
                text = f"“{_line(claim.quote)}”, read as: {_line(claim.statement)}"
                reason = explain(verdict, claim.test, "")
                yield Finding("claim", claim.where, f"{text} On the printed cells {verdict.outcome}: {reason}")
            if isinstance(claim.test, ScoreTest) and (claim.test.direction, claim.test.over) == ("equal", "average"):
                yield _stated_gain(study, claim, claim.test)
        elif claim.test is not None and claim.test.kind == "fact":
            fact = check_fact(study, claim.test.fact, claim.test.arguments)
            if not fact.holds:
                yield Finding("claim", claim.where, f"“{_line(claim.quote)}” {fact.reason}")


def _stated_gain(study: Study, claim: PaperClaim, test: ScoreTest) -> Finding:
    """Which two rows' averages differ by the number that is stated, in the printed tables of the claim."""
    differences = [
        (a[0] - b[0], f"{first.full_label()} minus {second.full_label()} in table {table.number}")
        for table in (study.table(name) for name in claim.tables if study.table(name).printed)
        for first in table.rows
        for second in table.rows
        if first is not second and (a := mean_of(table, first)) and (b := mean_of(table, second))
    ]
    near = sorted(differences, key=lambda entry: abs(entry[0] - test.margin))
    hits = [label for value, label in near if abs(value - test.margin) <= (test.tolerance or 0)]
    if hits:
        return Finding("number", claim.where, f"A difference of {test.margin} points is that of {'; '.join(hits)}.")
    nearest = f"the nearest is {near[0][0]:+.2f}, {near[0][1]}" if near else "no two rows are printed"
    text = f"No two rows' averages of printed cells differ by the stated {test.margin} points; {nearest}."
    return Finding("number", claim.where, text)


def check_disagreements(study: Study) -> Iterator[Finding]:
    """Where the paper's places say different things of one matter."""
    for entry in study.disagreements:
        words = "; ".join(f"{version.where}: “{_line(version.quote)}”" for version in entry.versions)
        yield Finding("disagreement", entry.versions[0].where, f"{_line(entry.about)}: {words}.")
    for claim in study.claims:
        if claim.versions:
            words = "; ".join(f"{version.where}: “{_line(version.quote)}”" for version in claim.versions)
            yield Finding("disagreement", claim.where, f"“{_line(claim.quote)}”, but {words}.")


def check_references(study: Study) -> Iterator[Finding]:
    """Tables and figures that the text names and does not print."""
    printed = {f"Table {table.number}" for table in printed_tables(study)} | set(study.figures)
    for mention in study.mentions:
        if mention.name not in printed:
            text = f"“{mention.name}” is not printed: “{_line(mention.quote)}”."
            yield Finding("reference", mention.where, text)


def _place(table: PaperTable) -> str:
    return f"Table {table.number}"


def _line(text: str) -> str:
    return " ".join(text.split())

"""Which rows a claim compares, in which tables, under which evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vlrepro.tables.claims import ScoreTest
from vlrepro.tables.study import PaperTable, Study


class Comparison(NamedTuple):
    """One pair of rows of one table under one evaluation, and the pair that is taken off, if any."""

    table: PaperTable
    evaluation: str
    pair: Sequence[str]
    minus: Sequence[str] | None

    def rows(self) -> list[str]:
        """Ids of all its rows."""
        return [*self.pair, *(self.minus or ())]

    def label(self) -> str:
        """Its rows in words."""
        first, second, *others = (self.table.row(name) for name in self.rows())
        text = first.minus(second)
        return f"[{text}] minus [{others[0].minus(others[1])}]" if others else text


def comparisons_of(
    study: Study, tables: Sequence[str], test: ScoreTest, pairs: Sequence[Sequence[str]]
) -> Iterator[Comparison]:
    """Each of `pairs` in every table and evaluation that a test is about."""
    for table in map(study.table, tables):
        for evaluation in table.evaluations:
            if test.evaluations is None or evaluation in test.evaluations:
                yield from (Comparison(table, evaluation, pair, test.minus) for pair in pairs)


def labels_of(study: Study, comparisons: Sequence[Comparison]) -> list[str]:
    """Labels that tell the comparisons apart: rows, evaluation, or both."""
    names = [comparison.label() for comparison in comparisons]
    titles = [study.evaluations[comparison.evaluation].title for comparison in comparisons]
    if len(set(titles)) == 1:
        return names
    return titles if len(set(names)) == 1 else [f"{a}, {b}" for a, b in zip(names, titles, strict=True)]


def printed_differences(comparison: Comparison) -> list[float]:
    """Differences (shares) on the data sets that all rows of the comparison have in print."""
    cells = [comparison.table.reported(name) for name in comparison.rows()]
    common = [name for name in cells[0] if all(name in row for row in cells)]
    signs = (1, -1, -1, 1)
    return [sum(sign * row[name] for sign, row in zip(signs, cells, strict=False)) / 100 for name in common]

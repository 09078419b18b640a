"""Which rows a claim compares, in which tables, under which evaluations, in which variants."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vlrepro.tables.claims import ChanceTest, CostTest, ScoreTest, row_and_variant
from vlrepro.tables.study import PaperTable, Study, TableRow

PRECISION = 10
"""Decimals of differences of printed numbers: equal ones must differ by 0, not by a float's last bit."""


class Member(NamedTuple):
    """A row of a table in one of its variants; None where the table has none."""

    row: TableRow
    variant: str | None

    @property
    def key(self) -> str | None:
        """What its scores are called in cells."""
        return self.row.key_of(self.variant)

    @property
    def blank(self) -> bool:
        """Whether the row has nothing in this variant, which is another thing than not being run."""
        return self.key is None and bool(self.row.recipes)


class Comparison(NamedTuple):
    """One pair of rows of one table under one evaluation, and the pair that is taken off, if any.

    `variant` is that of rows which do not name their own (`row@variant`).
    """

    table: PaperTable
    evaluation: str
    pair: Sequence[str]
    minus: Sequence[str] | None
    variant: str | None = None

    def members(self) -> list[Member]:
        """All its rows, each in its variant."""
        return [member_of(self.table, name, self.variant) for name in (*self.pair, *(self.minus or ()))]

    def columns(self, evaluated: Sequence[str], wanted: Sequence[str] | None) -> list[list[str]]:
        """The sets of all members, one list a case: the sets that a test wants, or those that the table is about.

        In a table whose rows are data sets the one case has each row's own.
        """
        members = self.members()
        if self.table.sets_in_rows:
            return [[member.row.set or "" for member in members]]
        names = wanted or self.table.sets_of(self.evaluation, members[0].variant, evaluated)
        return [[name] * len(members) for name in names]

    def label(self) -> str:
        """Its rows in words."""
        first, second, *others = self.members()
        text = _minus(self.table, first, second)
        text = f"[{text}] minus [{_minus(self.table, *others)}]" if others else text
        return f"{text}, {self.table.variants[self.variant]}" if self.variant else text


def member_of(table: PaperTable, name: str, variant: str | None) -> Member:
    """The row that `name` means, in the variant that it names itself or in `variant`."""
    row, own = row_and_variant(name)
    return Member(table.row(row), own or variant)


def variants_of(table: PaperTable, test: ScoreTest | ChanceTest | CostTest) -> list[str | None]:
    """The variants that a test is about; one None where the table has none."""
    return [name for name in table.every_variant() if not (table.variants and test.variants) or name in test.variants]


def evaluations_of(table: PaperTable, test: ScoreTest | ChanceTest) -> list[str]:
    """The evaluations of a table that a test is about."""
    return [name for name in table.evaluations if test.evaluations is None or name in test.evaluations]


def comparisons_of(
    study: Study, tables: Sequence[str], test: ScoreTest, pairs: Sequence[Sequence[str]]
) -> Iterator[Comparison]:
    """Each of `pairs` in every table, evaluation and variant that a test is about."""
    for table in map(study.table, tables):
        for evaluation in evaluations_of(table, test):
            for pair in pairs:
                variants = [None] if "@" in pair[0] else variants_of(table, test)
                yield from (Comparison(table, evaluation, pair, test.minus, variant) for variant in variants)


def labels_of(study: Study, comparisons: Sequence[Comparison]) -> list[str]:
    """Labels that tell the comparisons apart: rows, evaluation, or both."""
    names = [comparison.label() for comparison in comparisons]
    titles = [study.evaluations[comparison.evaluation].title for comparison in comparisons]
    if len(set(titles)) == 1:
        return names
    return titles if len(set(names)) == 1 else [f"{a}, {b}" for a, b in zip(names, titles, strict=True)]


def printed_differences(comparison: Comparison, wanted: Sequence[str] | None = None) -> dict[str, float]:
    """Set -> difference (a share), of the sets that all rows of the comparison have in print (`wanted`, or all)."""
    table, evaluation = comparison.table, comparison.evaluation
    cells = [table.reported_under(member.row.id, evaluation, member.variant) for member in comparison.members()]
    common = [name for name in cells[0] if all(name in row for row in cells) and (wanted is None or name in wanted)]
    signs = (1, -1, -1, 1)
    sums = {name: math.fsum(sign * row[name] for sign, row in zip(signs, cells, strict=False)) for name in common}
    return {name: round(total / 100, PRECISION) for name, total in sums.items()}


def _minus(table: PaperTable, first: Member, second: Member) -> str:
    if first.variant == second.variant:
        return first.row.minus(second.row)
    titles = [table.variants.get(member.variant or "", "") for member in (first, second)]
    if first.row.id == second.row.id:
        return f"{first.row.full_label()}, {titles[0]} minus {titles[1]}"
    return f"{first.row.full_label()}, {titles[0]} minus {second.row.full_label()}, {titles[1]}"

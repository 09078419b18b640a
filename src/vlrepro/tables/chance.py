"""Whether rows are at chance, or clearly above it: on our cells, where runs can have failed, and on the paper's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from vlrepro.tables.cells import Cells, Failure
from vlrepro.tables.claims import ChanceTest
from vlrepro.tables.comparisons import Member, evaluations_of, member_of, variants_of
from vlrepro.tables.printed import half_unit
from vlrepro.tables.statistics import Interval, Resampled, mean_interval
from vlrepro.tables.study import PaperTable, Study
from vlrepro.tables.verdicts import Outcome, Verdict, all_of

_NAMED = 6
"""Cells that a reason names one by one."""


class Place(NamedTuple):
    """A row in one variant, under one evaluation of its table."""

    table: PaperTable
    evaluation: str
    member: Member

    def label(self, study: Study) -> str:
        """It in words."""
        variant = self.table.variants.get(self.member.variant or "")
        several = len(self.table.evaluations) > 1
        words = [self.member.row.full_label(), variant, study.evaluations[self.evaluation].title if several else None]
        return ", ".join(word for word in words if word)


def judge_chance(
    study: Study,
    tables: Sequence[str],
    test: ChanceTest,
    cells: Cells,
    resampled: Mapping[str, Mapping[tuple[str, str], Resampled]],
) -> Verdict:
    """Judge on our cells, set by set; a cell all of whose runs failed is at chance.

    Where some failed, the others decide.
    """
    outcomes: list[tuple[Outcome, str]] = []
    seeds = []
    for place in _places(study, tables, test):
        if place.member.key is None:
            return Verdict("not run")
        for info in _sets(place, test, cells):
            key = (place.member.key, info.name)
            failure = cells.failure(place.evaluation, [key[0]], [info.name])
            cell = resampled.get(place.evaluation, {}).get(key)
            if cell is None and failure is None:
                return Verdict("pending")
            found = None if cell is None else mean_interval(cell)
            seeds.append(failure.seeds if failure else len(cell.seeds))
            outcomes.append(
                (_outcome(found, info.chance, test), f"{place.label(study)}: {_score(found, failure, info.chance)}")
            )
    if not outcomes:
        return Verdict("pending")
    return Verdict(all_of([found for found, _ in outcomes]), reason=_words(outcomes, test), n_seeds=min(seeds))


def judge_printed_chance(study: Study, tables: Sequence[str], test: ChanceTest) -> Verdict:
    """Judge on the printed cells of columns whose chance the study file gives; rounding counts for the claim."""
    outcomes: list[tuple[Outcome, str]] = []
    for place in _places(study, tables, test):
        for column in place.table.printed_columns():
            if (column.evaluation, column.variant) != (place.evaluation, place.member.variant):
                continue
            cell = place.table.reported(place.member.row.id).get(column.name)
            if cell is None or column.chance is None:
                return Verdict("not testable")
            room = test.tolerance + half_unit(cell)
            holds = cell <= column.chance + room if test.direction == "at" else cell > column.chance + test.tolerance
            outcomes.append(
                ("supported" if holds else "contradicted", f"{place.label(study)}: {cell} (chance {column.chance})")
            )
    if not outcomes:
        return Verdict("not testable")
    return Verdict(all_of([found for found, _ in outcomes]), reason=_words(outcomes, test))


def _places(study: Study, tables: Sequence[str], test: ChanceTest) -> Iterator[Place]:
    for table in map(study.table, tables):
        for name in test.rows:
            for variant in [None] if "@" in name else variants_of(table, test):
                member = member_of(table, name, variant)
                if not member.blank:
                    yield from (Place(table, evaluation, member) for evaluation in evaluations_of(table, test))


def _sets(place: Place, test: ChanceTest, cells: Cells) -> list:
    evaluated = cells.sets.get(place.evaluation, ())
    names = [info.name for info in evaluated]
    wanted = test.sets or place.table.sets_of_row(place.member.row, place.evaluation, place.member.variant, names)
    return [info for info in evaluated if info.name in wanted]


def _outcome(found: Interval | None, chance: float, test: ChanceTest) -> Outcome:
    """None: every run failed."""
    bound = chance + test.tolerance / 100
    if found is None:
        return "supported" if test.direction == "at" else "contradicted"
    above: Outcome = "supported" if found.low > bound else "contradicted" if found.high <= bound else "undecided"
    if test.direction == "above":
        return above
    return {"supported": "contradicted", "contradicted": "supported"}.get(above, "undecided")  # type: ignore[return-value]


def _score(found: Interval | None, failure: Failure | None, chance: float) -> str:
    words = [str(failure)] if failure else []
    if found is not None:
        low, high = 100 * found.low, 100 * found.high
        words.append(f"{100 * found.value:.1f} [{low:.1f}, {high:.1f}], chance {100 * chance:.1f}")
    return "; ".join(words)


def _words(outcomes: Sequence[tuple[Outcome, str]], test: ChanceTest) -> str:
    """How many of the cells are as claimed, and the first of the others, or of all."""
    holding = sum(found == "supported" for found, _ in outcomes)
    texts = [text for found, text in outcomes if found != "supported"] or [text for _, text in outcomes]
    side = "no more than" if test.direction == "at" else "more than"
    more = f"; and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    claimed = f"{holding} of {len(outcomes)} cells are {side} {test.tolerance:g} points above chance"
    return f"{claimed}; {'; '.join(texts[:_NAMED])}{more}."

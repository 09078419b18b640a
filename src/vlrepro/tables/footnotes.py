"""What one must know to read a table: its scale, seeds, intervals, data sets and stand-ins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vlrepro.tables.cells import SetInfo
from vlrepro.tables.saliency_columns import SCORES
from vlrepro.tables.study import PaperTable, Study

FAILED = (
    "Failed to train: the loss of a run was no longer finite, so it has no score. A cell with such a run has no number,"
    " nor has a difference that it is part of."
)


def footnotes(
    study: Study,
    table: PaperTable,
    seeds: Sequence[int],
    sets: Mapping[str, Sequence[SetInfo]],
    scale: str,
    stand_ins: Sequence[str],
) -> tuple[str, ...]:
    """The footnotes of a table, each one line of text."""
    notes = [
        _scale_note(study, scale),
        *_metric_notes(study, table),
        *_interval_notes(_examples(study, table), seeds),
        *_sets_notes(study, table, sets),
        *stand_ins,
        *table.notes,
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


def _metric_notes(study: Study, table: PaperTable) -> list[str]:
    if table.saliency:
        added = "The paper does not print this table; we add it."
        return [added, *(f"{SCORES[name][0]}: {SCORES[name][1]}." for name in table.saliency.scores)]
    chosen = [study.evaluations[name] for name in table.evaluations]
    ours = [f"{evaluation.title}: {evaluation.shows}." for evaluation in chosen]
    if table.printed:
        return [f"The paper's metric: {table.metric}.", *ours]
    means = "" if table.grid else " Each column is a mean over the data sets."
    return [f"The paper does not print this table; we add it.{means}", *ours]


def _examples(study: Study, table: PaperTable) -> str:
    """What the intervals sample beside seeds: "test images", "test images or episodes"."""
    return " or ".join(dict.fromkeys(study.evaluations[name].examples for name in table.evaluations))


def _interval_notes(examples: str, seeds: Sequence[int]) -> list[str]:
    if not seeds:
        return ["Nothing has been scored yet."]
    one = len(seeds) == 1
    covers = f"{examples} only, since there is one seed" if one else f"seeds and {examples}"
    student = "" if one else ", with Student's t for the number of seeds"
    return [
        f"Seeds: {', '.join(map(str, seeds))}." + ("" if one else " A cell with fewer seeds than the others gives n."),
        f"Brackets hold 95 % intervals over {covers}: pigeonhole bootstrap (Owen 2007){student}."
        f" Differences are paired: the same seeds and the same {examples} in both rows. Intervals"
        " of averages take the data sets as fixed.",
        "▲ higher, ▼ lower: the interval of the difference excludes 0. ○ undecided: it does not.",
    ]


def _sets_notes(study: Study, table: PaperTable, sets: Mapping[str, Sequence[SetInfo]]) -> list[str]:
    """One line where all evaluations of the table have the same sets and chances, else one each.

    What chance is depends on the saliency score, which says so itself.
    """
    if table.saliency:
        named = {entry.title: entry for name in table.evaluations for entry in sets.get(name, ())}
        return [
            f"Data set: {e.title} ({e.n_classes:,} classes, {e.n_test:,} pictures, of which the object takes"
            f" {100 * e.chance:.1f} % on average; {e.left_out:,} more left out, without a usable mask)."
            for e in named.values()
        ]
    chosen = {name: [e for e in sets.get(name, ()) if table.about(e.name)] for name in table.evaluations}
    found = {name: _sets(entries) for name, entries in chosen.items() if entries}
    if len(set(found.values())) == 1:
        return [f"Data sets: {next(iter(found.values()))}."]
    return [f"Data sets, {study.evaluations[name].title}: {text}." for name, text in found.items()]


def _sets(sets: Sequence[SetInfo]) -> str:
    return "; ".join(
        f"{entry.title} ({f'{entry.n_classes:,} classes, ' if entry.n_classes else ''}{entry.n_test:,} test images,"
        f" chance {100 * entry.chance:.1f})"
        for entry in sets
    )

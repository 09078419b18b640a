"""The short answers at the top of the report: paired differences that settle what the study is about.

Which recipes answer which question is said here by their names in the configuration; a comparison that a scale does
not run is left out, and the numbers are those of the cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vlrepro.reporting.markup import Html, element, grid, interval_strip, join
from vlrepro.tables.cells import Cells
from vlrepro.tables.statistics import RESAMPLES, Interval, interval, paired_difference
from vlrepro.tables.study import AVERAGE
from vlrepro.tables.verdicts import signed_points


@dataclass(frozen=True)
class Comparison:
    """Recipe `first` minus recipe `second`, and what that changes, in words."""

    words: str
    first: str
    second: str


QUESTIONS = {
    "Does language guidance help?": (
        Comparison("LGSimCLR against SimCLR", "lgsimclr", "simclr"),
        Comparison("LGSimSiam against SimSiam", "lgsimsiam", "simsiam"),
    ),
    "How much depends on the captions?": (
        Comparison("refined instead of original", "lgsimclr_refined", "lgsimclr"),
        Comparison("generated instead of original", "lgsimclr_generated", "lgsimclr"),
        Comparison("clean instead of original: the most that refining could bring", "lgsimclr_clean", "lgsimclr"),
    ),
    "What do the controls say?": (
        Comparison(
            "language pairs with SimCLR's augmentation against SimCLR", "lgsimclr_simclr_augmentation", "simclr"
        ),
        Comparison("the weak augmentation without language pairs against SimCLR", "simclr_global_crop", "simclr"),
        Comparison("pairs of the same class (oracle) against language pairs", "lgsimclr_oracle", "lgsimclr"),
        Comparison("pairs by picture against language pairs", "lgsimclr_visual", "lgsimclr"),
        Comparison("language pairs against pairs at random", "lgsimclr", "lgsimclr_random_pairs"),
    ),
}

Found = Mapping[str, Interval]
"""Evaluation -> the mean difference over its data sets, a share."""


def compare(
    cells: Cells, evaluations: Sequence[str], resamples: int = RESAMPLES
) -> dict[str, list[tuple[Comparison, Found]]]:
    """Question -> its comparisons with what the cells say; what cannot be compared is left out."""
    wanted = {name for asked in QUESTIONS.values() for entry in asked for name in (entry.first, entry.second)}
    scores = {
        name: {key: cell for key, cell in entries.items() if key[0] in wanted} for name, entries in cells.scores.items()
    }
    few = replace(cells, scores=scores)
    resampled = {name: few.resampled(name, few.columns(name), resamples) for name in evaluations}
    answers: dict[str, list[tuple[Comparison, Found]]] = {}
    for question, asked in QUESTIONS.items():
        for entry in asked:
            found = {}
            for name, cell in resampled.items():
                difference = paired_difference(cell.get((entry.first, AVERAGE)), cell.get((entry.second, AVERAGE)))
                if difference is not None:
                    found[name] = interval(difference)
            if found:
                answers.setdefault(question, []).append((entry, found))
    return answers


def short_answers(answers: Mapping[str, Sequence[tuple[Comparison, Found]]], titles: Mapping[str, str]) -> Html:
    """A card: the first question in one sentence, then each question with its comparisons, a column an evaluation."""
    if not answers:
        return element("p", "No comparison that answers the study's questions has been scored yet.", class_="answer")
    first, found = next(iter(answers.values()))[0]
    reach = max(
        [
            0.01,
            *(
                abs(end)
                for rows in answers.values()
                for _, row in rows
                for i in row.values()
                for end in (i.low, i.high)
            ),
        ]
    )
    shown = [name for name in titles if any(name in row for rows in answers.values() for _, row in rows)]
    parts = [element("h2", "The short answer"), element("p", sentence(first, found, titles), class_="answer")]
    for question, rows in answers.items():
        body = [(entry.words, *(_difference(row.get(name), reach) for name in shown)) for entry, row in rows]
        parts.append(element("div", grid((question, *(titles[name] for name in shown)), body), class_="answers"))
    return element("section", *parts, _note(answers), class_="study", id="answers")


def sentence(comparison: Comparison, found: Found, titles: Mapping[str, str]) -> str:
    """A comparison in words, with its numbers in percentage points."""
    words = [
        f"{titles[name]}: {_word(difference)} ({signed_points(difference.value)} points "
        f"[{signed_points(difference.low)}, {signed_points(difference.high)}])"
        for name, difference in found.items()
    ]
    return f"{comparison.words}. {'. '.join(words)}."


def _note(answers: Mapping[str, Sequence[tuple[Comparison, Found]]]) -> Html:
    seeds = sorted({i.n_seeds for rows in answers.values() for _, row in rows for i in row.values()})
    words = f"Mean differences over the data sets, in percentage points, with 95 % intervals; {_span(seeds)}."
    if seeds[0] == 1:
        words += " One seed: an interval covers test examples, not another training."
    return element("p", words, class_="note")


def _span(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"{seeds[0]} seed{'' if seeds[0] == 1 else 's'}"
    return f"{seeds[0]} to {seeds[-1]} seeds"


def _word(difference: Interval) -> str:
    return "better" if difference.low > 0 else "worse" if difference.high < 0 else "undecided"


def _difference(difference: Interval | None, reach: float) -> Html:
    if difference is None:
        return Html("–")
    word = _word(difference)
    sign = {"better": "▲", "worse": "▼", "undecided": "○"}[word]
    look = {"better": "higher", "worse": "lower"}.get(word, word)
    value, low, high = (signed_points(share) for share in (difference.value, difference.low, difference.high))
    return join(
        [
            element("strong", f"{sign} {word}", class_=f"sign-{look}"),
            interval_strip(difference.value, difference.low, difference.high, reach),
            element("span", f"{value} [{low}, {high}]", class_="numbers"),
        ]
    )

"""The short answers at the top of the report: paired differences that settle what a study is about.

Which recipes answer which question is said here by their names in the configuration; a comparison that a scale does
not run is left out, and the numbers are those of the cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vlrepro.reporting.markup import Html, element, grid, interval_strip, join
from vlrepro.tables.cells import Cells, Failure
from vlrepro.tables.statistics import RESAMPLES, Interval, Resampled, interval, paired_difference
from vlrepro.tables.study import AVERAGE
from vlrepro.tables.verdicts import signed_points


@dataclass(frozen=True)
class Comparison:
    """Recipe `first` minus recipe `second`, and what that changes, in words.

    `minus` is a pair of recipes whose difference is taken off: an interaction.
    """

    words: str
    first: str
    second: str
    minus: tuple[str, str] | None = None

    def recipes(self) -> tuple[str, ...]:
        """All recipes that it needs."""
        return (self.first, self.second, *(self.minus or ()))


@dataclass(frozen=True)
class Question:
    """A question and the comparisons that answer it.

    `evaluations` are those that count, where not all that the study's printed tables have; `sets` the data sets, where
    not all.
    """

    words: str
    comparisons: tuple[Comparison, ...]
    evaluations: tuple[str, ...] | None = None
    sets: tuple[str, ...] | None = None


Found = Mapping[str, Interval | Failure]
"""Evaluation -> the mean difference over its data sets, a share, or how many runs failed to train."""
Answers = Mapping[Question, Sequence[tuple[Comparison, Found]]]
"""Question -> its comparisons with what the cells say."""

LANGUAGE_GUIDANCE = (
    Question(
        "Does language guidance help?",
        (
            Comparison("LGSimCLR against SimCLR", "lgsimclr", "simclr"),
            Comparison("LGSimSiam against SimSiam", "lgsimsiam", "simsiam"),
        ),
    ),
    Question(
        "How much depends on the captions?",
        (
            Comparison("refined instead of original", "lgsimclr_refined", "lgsimclr"),
            Comparison("generated instead of original", "lgsimclr_generated", "lgsimclr"),
            Comparison("clean instead of original: the most that refining could bring", "lgsimclr_clean", "lgsimclr"),
        ),
    ),
    Question(
        "What do the controls say?",
        (
            Comparison(
                "language pairs with SimCLR's augmentation against SimCLR", "lgsimclr_simclr_augmentation", "simclr"
            ),
            Comparison("the weak augmentation without language pairs against SimCLR", "simclr_global_crop", "simclr"),
            Comparison("pairs of the same class (oracle) against language pairs", "lgsimclr_oracle", "lgsimclr"),
            Comparison("pairs by picture against language pairs", "lgsimclr_visual", "lgsimclr"),
            Comparison("language pairs against pairs at random", "lgsimclr", "lgsimclr_random_pairs"),
        ),
    ),
)
_ZERO_SHOT = ("zero_shot_top1", "zero_shot_top5")
_IMAGENET = ("imagenet",)
_SHIFTS = ("imagenet_v2", "imagenet_sketch", "imagenet_a", "imagenet_r")
_STRATEGIES = {"secondary": "secondary labels", "permutation": "permutation", "reselection": "re-selection"}


def _against_clip(encoder: str) -> tuple[Comparison, ...]:
    """Each strategy at rate 0.1 against CLIP with the same encoder."""
    return tuple(
        Comparison(f"{words} at rate 0.1 against CLIP", f"cln_{encoder}_{name}_01", f"cln_{encoder}")
        for name, words in _STRATEGIES.items()
    )


LABEL_NOISE = (
    Question(
        "Does label noise help in zero-shot classification (ResNet-50's place)?",
        _against_clip("resnet50"),
        _ZERO_SHOT,
        _IMAGENET,
    ),
    Question("The same with the encoder in ViT-B/16's place", _against_clip("vit_b_16"), _ZERO_SHOT, _IMAGENET),
    Question("The same with the encoder in ViT-B/32's place", _against_clip("vit_b_32"), _ZERO_SHOT, _IMAGENET),
    Question(
        "What does more noise do?",
        tuple(
            Comparison(f"{words} at rate 0.9 against 0.1", f"cln_resnet50_{name}_09", f"cln_resnet50_{name}_01")
            for name, words in _STRATEGIES.items()
        ),
        _ZERO_SHOT,
        _IMAGENET,
    ),
    Question("Does it help in training as long as the paper's?", _against_clip("resnet50_long"), _ZERO_SHOT, _IMAGENET),
    Question("Does it help under distribution shift?", _against_clip("resnet50"), _ZERO_SHOT, _SHIFTS),
    Question("Does it help in linear probes?", _against_clip("resnet50"), ("linear_cyclip",)),
    Question(
        "Does it help more where captions are noisy?",
        tuple(
            Comparison(
                f"the gain of {words} with noisy captions minus that with clean ones",
                f"cln_resnet50_{name}_01",
                "cln_resnet50",
                (f"cln_resnet50_clean_{name}_01", "cln_resnet50_clean"),
            )
            for name, words in _STRATEGIES.items()
        ),
        _ZERO_SHOT,
        _IMAGENET,
    ),
)
_RECALL = ("to_pictures_1", "to_texts_1")
_GALLERIES = ("gcc", "coco", "flickr30k")
_PARTS = (
    Comparison("all three (DiHT) against InfoNCE", "diht_all", "cln_resnet50"),
    Comparison("hard negatives (HN-NCE) against InfoNCE", "cln_resnet50_hn_nce", "cln_resnet50"),
    Comparison("filtered captions (CAT) against all", "diht_cat", "cln_resnet50"),
    Comparison("distilled concepts against none", "diht_distillation", "cln_resnet50"),
)
DIHT_GCC = (
    Question("Do hard negatives, filter and distillation help in retrieval?", _PARTS, _RECALL, _GALLERIES),
    Question("Do they help in zero-shot classification?", _PARTS, _ZERO_SHOT, _IMAGENET),
    Question(
        "Does DiHT find more than CLIP after as long a training?",
        (Comparison("DiHT against CLIP, whole galleries", "diht", "clip_long"),),
        _RECALL,
        _GALLERIES,
    ),
)
QUESTIONS = {"language_guidance": LANGUAGE_GUIDANCE, "label_noise": LABEL_NOISE, "diht_gcc": DIHT_GCC}
"""Study -> its questions, the one that the card answers in a sentence first."""


def compare(
    cells: Cells, questions: Sequence[Question], evaluations: Sequence[str], resamples: int = RESAMPLES
) -> dict[Question, list[tuple[Comparison, Found]]]:
    """Question -> its comparisons with what the cells say; what cannot be compared is left out.

    `evaluations` are those of questions that name none.
    """
    wanted = {name for question in questions for entry in question.comparisons for name in entry.recipes()}
    scores = {
        name: {key: cell for key, cell in entries.items() if key[0] in wanted} for name, entries in cells.scores.items()
    }
    few = replace(cells, scores=scores)
    resampled: dict[tuple[str, tuple[str, ...]], Mapping[tuple[str, str], Resampled]] = {}
    answers: dict[Question, list[tuple[Comparison, Found]]] = {}
    for question in questions:
        for entry in question.comparisons:
            found: dict[str, Interval | Failure] = {}
            for name in question.evaluations or evaluations:
                sets = tuple(key for key in few.columns(name) if question.sets is None or key in question.sets)
                if sets and (name, sets) not in resampled:
                    resampled[name, sets] = few.resampled(name, sets, resamples)
                if failure := few.failure(name, entry.recipes(), sets):
                    found[name] = failure
                elif sets:
                    found |= _found(name, entry, resampled[name, sets])
            if found:
                answers.setdefault(question, []).append((entry, found))
    return answers


def _found(name: str, entry: Comparison, cells: Mapping[tuple[str, str], Resampled]) -> dict[str, Interval]:
    """The comparison's interval under the evaluation `name`; nothing where a recipe has no score."""
    difference = paired_difference(cells.get((entry.first, AVERAGE)), cells.get((entry.second, AVERAGE)))
    reach = 1.0
    if entry.minus is not None:
        reach = 2.0
        off = paired_difference(*(cells.get((recipe, AVERAGE)) for recipe in entry.minus))
        difference = paired_difference(difference, off)
    return {} if difference is None else {name: interval(difference, lowest=-reach, highest=reach)}


def short_answers(title: str, slug: str, answers: Answers, titles: Mapping[str, str]) -> Html:
    """A study's card: the first question in one sentence, then each question with its comparisons.

    A question has a column for each of its evaluations. `title` and `slug` are the study's, `titles` the evaluations'.
    """
    heading = element("h2", f"The short answer: {title}")
    if not answers:
        nothing = element("p", "No comparison that answers the study's questions has been scored yet.", class_="answer")
        return element("section", heading, nothing, class_="study", id=f"answers-{slug}")
    every = [
        difference
        for rows in answers.values()
        for _, row in rows
        for difference in row.values()
        if isinstance(difference, Interval)
    ]
    reach = max([0.01, *(abs(end) for difference in every for end in (difference.low, difference.high))])
    parts = [heading, element("p", first_sentence(answers, titles), class_="answer")]
    for question, rows in answers.items():
        shown = [name for name in titles if any(name in row for _, row in rows)]
        body = [(entry.words, *(_difference(row.get(name), reach) for name in shown)) for entry, row in rows]
        heads = (question.words, *(titles[name] for name in shown))
        parts.append(element("div", grid(heads, body), class_="answers"))
    return element("section", *parts, _note(every), class_="study", id=f"answers-{slug}")


def first_sentence(answers: Answers, titles: Mapping[str, str]) -> str:
    """The first comparison of the first question in words; nothing where none was scored."""
    return sentence(*next(iter(answers.values()))[0], titles) if answers else ""


def sentence(comparison: Comparison, found: Found, titles: Mapping[str, str]) -> str:
    """A comparison in words, with its numbers in percentage points."""
    words = [f"{titles[name]}: {_in_words(difference)}" for name, difference in found.items()]
    return f"{comparison.words[:1].upper()}{comparison.words[1:]}. {'. '.join(words)}."


def _in_words(difference: Interval | Failure) -> str:
    if isinstance(difference, Failure):
        return str(difference)
    value, low, high = (signed_points(share) for share in (difference.value, difference.low, difference.high))
    return f"{_word(difference)} ({value} points [{low}, {high}])"


def _note(differences: Sequence[Interval]) -> Html:
    seeds = sorted({difference.n_seeds for difference in differences})
    if not seeds:
        return element("p", "Every comparison has a run that failed to train.", class_="note")
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


def _difference(difference: Interval | Failure | None, reach: float) -> Html:
    if difference is None:
        return Html("–")
    if isinstance(difference, Failure):
        return element("strong", f"✕ {difference}", class_="failed")
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

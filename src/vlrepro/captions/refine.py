"""Caption refinement: of a picture's original and generated caption, the one that fits it better is kept.

*Impact of Language Guidance*, section 4.2: "The caption with the higher CLIP score is retained". The rule for every
case that the sentence does not cover is in `choose`, and every picture is counted in exactly one case.

A captioner says what looks likeliest, and a scorer that sees alike finds that most fitting, right or wrong; a true
caption by a person then loses to a false one by the captioner. `margin` answers that: the generated caption must
score higher by more than the margin. The paper's rule is margin 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.captions.noise import Caption
from vlrepro.captions.score_files import check_one_a_picture
from vlrepro.captions.sources import caption_columns
from vlrepro.data.pack import Row
from vlrepro.errors import UserError
from vlrepro.files import atomic_path, digest_of

REVISION = 1
CASES = (
    "original_better",
    "generated_better",
    "same_caption",
    "tie",
    "within_margin",
    "generated_missing",
    "generated_repeats",
    "not_scored",
    "original_missing",
    "both_missing",
)


class Candidate(NamedTuple):
    """A caption of a picture and its score; "" and None where there is none."""

    text: str
    score: float | None


class Choice(NamedTuple):
    """What was chosen, "original", "generated" or "" for neither, and the case of `CASES` that decided."""

    chosen: str
    case: str


def choose(original: Candidate, generated: Candidate, margin: float = 0.0) -> Choice:
    """Choose between two captions of one picture; `margin`, at least 0, is a difference of cosines.

    A generated caption that is one word again and again is unusable. In this order:

    both_missing        neither is usable: neither is chosen
    original_missing    only the generated one is usable: it is chosen
    generated_missing, generated_repeats    only the original is usable: it is chosen
    same_caption        they are the same text: the original
    not_scored          a score is missing or not finite (the scorer could not read the picture, say): the original
    generated_better    its score is higher by more than the margin: the generated one
    within_margin       its score is higher, but not by more than the margin: the original
    tie                 equal scores: the original
    original_better     its score is higher: the original
    """
    has_original = bool(original.text.strip())
    fault = _fault(generated.text)
    if not has_original:
        return Choice("", "both_missing") if fault else Choice("generated", "original_missing")
    if fault:
        return Choice("original", fault)
    if original.text.split() == generated.text.split():
        return Choice("original", "same_caption")
    scores = (original.score, generated.score)
    if any(score is None or not math.isfinite(score) for score in scores):
        return Choice("original", "not_scored")
    if generated.score > original.score:
        enough = generated.score - original.score > margin
        return Choice("generated", "generated_better") if enough else Choice("original", "within_margin")
    return Choice("original", "tie" if generated.score == original.score else "original_better")


def _fault(generated: str) -> str:
    words = generated.split()
    if not words:
        return "generated_missing"
    return "generated_repeats" if len(words) > 1 and len(set(words)) == 1 else ""


class Refined(NamedTuple):
    """The refined captions, rows as in the pack: the kept ones, each with its candidates, and all cases counted."""

    usable: list[tuple[Row, Caption]]
    candidates: list[tuple[Candidate, Candidate, str]]  # original, generated, chosen
    left_out: list[str]  # keys of pictures without any caption
    cases: Counter[str]


def refine(
    rows: Sequence[Row],
    original: Mapping[str, Caption],
    original_scores: Mapping[str, float],
    generated: Mapping[str, Caption],
    generated_scores: Mapping[str, float],
    limit: float,
    place: str | Path,
    margin: float = 0.0,
) -> Refined:
    """Choose a caption for every row by `choose`; the mappings are by key and need not be complete.

    Raises `UserError` where the captions are of other pictures, or the share of pictures without any caption
    exceeds `limit`; both name `place`.
    """
    if rows and not ({row.key for row in rows} & (set(original) | set(generated))):
        raise UserError(f"{place}: no picture of the pack has a caption: give the captions of this pack")
    refined = Refined([], [], [], Counter(dict.fromkeys(CASES, 0)))
    for row in rows:
        first = Candidate(_text(original, row.key), original_scores.get(row.key))
        second = Candidate(_text(generated, row.key), generated_scores.get(row.key))
        chosen, case = choose(first, second, margin)
        refined.cases[case] += 1
        if chosen:
            refined.usable.append((row, (original if chosen == "original" else generated)[row.key]))
            refined.candidates.append((first, second, chosen))
        else:
            refined.left_out.append(row.key)
    if len(refined.left_out) > limit * len(rows):
        raise UserError(
            f"{place}: {len(refined.left_out)} of {len(rows)} pictures have no usable caption (first: "
            f"{refined.left_out[0]}), over the limit of {limit:.1%}: mend the captions or raise limits.bad_captions"
        )
    return refined


def _text(captions: Mapping[str, Caption], name: str) -> str:
    return captions[name].text if name in captions else ""


def read_captions(path: str | Path) -> dict[str, Caption]:
    """Key -> caption with its kind, of a caption file. `UserError`: it is unreadable, or has several a picture."""
    try:
        columns = pq.read_table(path, columns=["key", "caption", "kind"]).to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable caption file ({error}): make it again") from error
    check_one_a_picture(columns["key"], path)
    return {key: Caption(text, kind) for key, text, kind in zip(*columns.values(), strict=True)}


def write_refined(path: str | Path, refined: Refined, recipe: Mapping[str, Any]) -> None:
    """Write a caption file with both candidates, their scores and which was chosen, atomically."""
    columns = caption_columns(refined.usable) | {
        "original": [original.text for original, _, _ in refined.candidates],
        "score_original": pa.array([original.score for original, _, _ in refined.candidates], pa.float32()),
        "generated": [generated.text for _, generated, _ in refined.candidates],
        "score_generated": pa.array([generated.score for _, generated, _ in refined.candidates], pa.float32()),
        "chosen": [chosen for _, _, chosen in refined.candidates],
    }
    table = pa.table(columns).replace_schema_metadata({"recipe": digest_of(dict(recipe))})
    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd")

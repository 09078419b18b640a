"""The CAT filter: complexity, actions and text-spotting decide which image-caption pairs are worth training on.

Radenovic et al. 2023, "Filtering, Distillation, and Hard Negatives for Vision-Language Pre-Training", section 3.1, and
"Evaluating Distilled Hard Negative Training on Google's Conceptual Captions Dataset", section 3.1. A pair survives when
it keeps every rule that is on (a rule whose threshold is None is off):

    complexity  "filters out any captions that do not have a complexity tier of at least one": see `captions.parsing`.
    actions     at least so many different actions. The study's text has "two layers of filtering" and leaves this one
                out, which the first letters of Radenovic et al.'s filter name.
    text        no text in the picture tells the caption.

What the last means, the study says in one sentence: "Any text within an images that matches a caption with at least .8
accuracy is removed". Two readings, `text_match`:

    similarity  (the study's, the default) a text that the reader is sure of (`text_confidence`) and some words of the
                caption that follow each other are alike to `text_similarity`: 1 minus the edit distance (Levenshtein)
                over the longer length, of letters and digits alone, capitals or not. Texts with fewer than
                `text_shortest` of these are passed over: "a" is in half of all captions.
    characters  a text that the reader is sure of has `text_characters` letters and digits in common with the caption,
                in the same order (longest common subsequence).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.captions.parsing import Parse
from vlrepro.captions.text_spotting import Spotted
from vlrepro.errors import UserError
from vlrepro.files import atomic_path, digest_of
from vlrepro.randomness import key

REVISION = 1
RULES = ("complexity", "actions", "text")
EXAMPLES = 12
"""Captions that the summary shows of each rule."""


class Sources(NamedTuple):
    """What the rules look at, by the pictures' keys; None where no rule that is on needs it."""

    parses: Mapping[str, Parse] | None
    spotted: Mapping[str, Spotted] | None


class Filtered(NamedTuple):
    """The positions of the captions that survive, ascending, and the counts and examples of each rule."""

    kept: list[int]
    summary: dict[str, Any]


def rules_on(rules: Mapping[str, Any]) -> list[str]:
    """Those of `RULES` that have a threshold."""
    thresholds = {"complexity": "complexity", "actions": "actions", "text": "text_confidence"}
    return [rule for rule in RULES if rules[thresholds[rule]] is not None]


def filter_captions(
    keys: Sequence[str], captions: Sequence[str], sources: Sources, rules: Mapping[str, Any], place: str | Path
) -> Filtered:
    """Apply the rules to each caption.

    The summary: how many `captions`, how many `kept`; of each rule its threshold, how many it keeps and drops, and up
    to `EXAMPLES` of the dropped (key, caption, why; by keyed hash, so the order of the file does not matter);
    `dropped_by`, how many captions break exactly which rules.

    Raises `UserError` that names `place` where a picture has several captions, a caption was not parsed, a picture not
    read, or nothing survives.
    """
    if len(set(keys)) < len(keys):
        name = Counter(keys).most_common(1)[0][0]
        raise UserError(f"{place}: {name} has several captions: filter a source that has one a picture")
    broken = [
        _broken(rules, text, _of(sources.parses, name, "parses", place), _of(sources.spotted, name, "texts", place))
        for name, text in zip(keys, captions, strict=True)
    ]
    kept = [position for position, reasons in enumerate(broken) if not reasons]
    if not kept:
        raise UserError(f"{place}: the filter drops all {len(keys)} captions: loosen its thresholds")
    overlap = Counter(" + ".join(reasons) for reasons in broken if reasons)
    summary = {
        "captions": len(keys),
        "kept": len(kept),
        "rules": {rule: _of_rule(rule, rules, keys, captions, broken) for rule in rules_on(rules)},
        "dropped_by": dict(sorted(overlap.items())),
    }
    return Filtered(kept, summary)


def _of(found: Mapping[str, Any] | None, name: str, what: str, place: str | Path) -> Any:
    if found is None:
        return None
    if name not in found:
        raise UserError(f"{place}: no {what} of {name}: make those of this caption file's pack")
    return found[name]


def _broken(rules: Mapping[str, Any], caption: str, parse: Parse | None, spotted: Spotted | None) -> dict[str, str]:
    """Rule -> why the pair breaks it."""
    found = {}
    for rule in rules_on(rules):
        if rule == "text":
            why = told_by_text(rules, caption, spotted)
        else:
            value = getattr(parse, rule)
            why = f"{rule} {value}, less than {rules[rule]}" if value < rules[rule] else ""
        if why:
            found[rule] = why
    return found


def _of_rule(
    rule: str, rules: Mapping[str, Any], keys: Sequence[str], captions: Sequence[str], broken: Sequence[dict[str, str]]
) -> dict[str, Any]:
    dropped = [position for position, reasons in enumerate(broken) if rule in reasons]
    shown = sorted(dropped, key=lambda position: key("dropped captions", rule, keys[position]))[:EXAMPLES]
    examples = [{"key": keys[at], "caption": captions[at], "why": broken[at][rule]} for at in shown]
    counts = {"kept": len(keys) - len(dropped), "dropped": len(dropped)}
    return {"threshold": threshold(rule, rules), **counts, "examples": examples}


def threshold(rule: str, rules: Mapping[str, Any]) -> str:
    """What a rule asks for, in words."""
    if rule != "text":
        return f"at least {rules[rule]}"
    sure = f"no text of confidence {rules['text_confidence']:g} and more"
    if rules["text_match"] == "characters":
        return f"{sure} that shares {rules['text_characters']} characters with the caption, in order"
    return f"{sure} that is like words of the caption to {rules['text_similarity']:g}"


def told_by_text(rules: Mapping[str, Any], caption: str, spotted: Spotted) -> str:
    """The first text in the picture that tells the caption, in words, or "" where none does."""
    for text, confidence in zip(spotted.texts, spotted.confidences, strict=True):
        if confidence >= rules["text_confidence"] and _matches(rules, text, caption):
            return f"the picture says {text!r} (confidence {confidence:.2f})"
    return ""


def _matches(rules: Mapping[str, Any], text: str, caption: str) -> bool:
    if rules["text_match"] == "characters":
        return common_characters(text, caption) >= rules["text_characters"]
    letters = "".join(_words(text))
    return len(letters) >= rules["text_shortest"] and similarity(text, caption) >= rules["text_similarity"]


def _words(text: str) -> list[str]:
    """A text's runs of letters and digits, in one case; accents are kept, compatible forms ("ﬁ") are one."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(character if character.isalnum() else " " for character in folded).split()


def similarity(text: str, caption: str) -> float:
    """How alike a text is to those successive words of a caption that it is most alike to: 0 (or none there) to 1.

    1 - d / max(length, length'), d being the edit distance, over letters and digits: where lines and words end, a
    reader often gets wrong.
    """
    letters, words = "".join(_words(text)), _words(caption)
    best = 0.0
    for start in range(len(words)):
        run = ""
        for word in words[start:]:
            run += word
            longer, shorter = max(len(run), len(letters)), min(len(run), len(letters))
            if shorter > best * longer:  # the distance is at least the difference of lengths
                best = max(best, 1 - edit_distance(run, letters) / longer)
            elif len(run) > len(letters):  # and longer runs differ more
                break
    return best


def edit_distance(first: str, second: str) -> int:
    """The least number of characters to insert, delete or replace to turn one string into the other (Levenshtein)."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]


def common_characters(text: str, caption: str) -> int:
    """The length of the longest common subsequence of two texts' letters and digits."""
    first, second = ("".join(_words(entry)) for entry in (text, caption))
    row = [0] * (len(second) + 1)
    for a in first:
        above = 0
        for j, b in enumerate(second, 1):
            above, row[j] = row[j], above + 1 if a == b else max(row[j], row[j - 1])
    return row[-1]


def read_source(path: str | Path) -> pa.Table:
    """A caption file with all its columns. Raises `UserError` where it is unreadable or lacks keys or captions."""
    try:
        table = pq.read_table(path)
        table.select(["key", "caption"])
    except (OSError, KeyError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable caption file ({error}): make it again") from error
    return table


def write_filtered(path: str | Path, source: pa.Table, kept: Sequence[int], recipe: Mapping[str, Any]) -> None:
    """Write the rows `kept` of a caption file with the columns it has, atomically."""
    table = source.take(pa.array(kept, pa.int64())).replace_schema_metadata({"recipe": digest_of(dict(recipe))})
    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd")

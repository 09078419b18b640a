"""A noise model of user-written captions, after what *Impact of Language Guidance* complains about.

Section 2 of the paper calls RedCaps' captions "noisy, vague, and frequently" inaccurate; section 4.2 adds
"inconsistent in their descriptive quality". Each picture's caption is drawn from one of six kinds:

    faithful        what a person who sees the picture would write: its name, its keywords, or both
    vague           true of anything ("look at this little one"), in the manner of the picture's group
    off_topic       about the poster, not the picture
    wrong           the faithful caption of another picture
    other_language  the name in German, Spanish, French or Japanese
    short           a single word

The groups play the part of subreddits: with `group_spread` s, a group's total noise is scaled by a factor drawn
uniformly from [1 - s, 1 + s], so some communities write well and others do not. Every draw is keyed by
(seed, picture), so captions do not depend on each other's order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vlrepro.data.pack import Row
from vlrepro.randomness import numpy_generator

REVISION = 1
KINDS = ("vague", "off_topic", "wrong", "other_language", "short")

_FAITHFUL = (
    "{name}",
    "{name}",
    "a {name}",
    "my drawing of {name}",
    "{name}, {first}",
    "{first} {second}: {name}",
    "{name} with a touch of {first}",
    "just a {name} for you",
    "{first} and {second}",
    "something {first}, something {second}",
    "{name} in my style",
    "here is the {name} i promised",
)
_VAGUE = (
    "look at this",
    "what do you think?",
    "found this today",
    "my newest one",
    "this little guy",
    "i can't stop looking at it",
    "isn't it lovely",
    "another one for the collection",
    "not sure what to call it",
    "one of my favourites so far",
)
_VAGUE_OF_GROUP = ("my favourite {group} post", "some {group} for today", "first post in {group}", "more {group}")
_OFF_TOPIC = (
    "happy friday everyone",
    "finally got the job",
    "it has been a long week",
    "thank you all for the kind words",
    "my sister said i should post here",
    "day 12 of posting until spring comes",
    "i made this instead of sleeping",
    "please be nice, first time here",
    "back after three months away",
    "coffee first, then we talk",
)


class Caption(NamedTuple):
    """A caption and the kind of noise that made it."""

    text: str
    kind: str


def noisy_captions(rows: Sequence[Row], rates: Mapping[str, float], group_spread: float, seed: int) -> list[Caption]:
    """Draw one caption a row; `rates` maps each of `KINDS` to its share before the group's factor.

    A kind that a picture cannot have (no translation, say) falls back to a vague caption.
    """
    factors = {group: _factor(group, group_spread, seed) for group in {row.group for row in rows}}
    return [_draw(rows, position, rates, factors[row.group], seed) for position, row in enumerate(rows)]


def _factor(group: str, spread: float, seed: int) -> float:
    return float(numpy_generator(seed, "caption noise of a group", group).uniform(1 - spread, 1 + spread))


def _draw(rows: Sequence[Row], position: int, rates: Mapping[str, float], factor: float, seed: int) -> Caption:
    row = rows[position]
    rng = numpy_generator(seed, "caption noise", row.key)
    kind = _kind(rng.random(), rates, factor)
    text = ""
    if kind == "faithful":
        text = _faithful(row, rng)
    elif kind == "wrong":
        text = _faithful(rows[int(rng.integers(len(rows)))], rng)
    elif kind == "off_topic":
        text = _choose(_OFF_TOPIC, rng)
    elif kind == "other_language":
        text = _choose(sorted(json.loads(row.captions_other).values()), rng)
    elif kind == "short":
        text = _choose(sorted(set(row.caption.split()) | set(_keywords(row))), rng).split(" ")[0]
    return Caption(text, kind) if text else Caption(_vague(row, rng), "vague")


def _kind(draw: float, rates: Mapping[str, float], factor: float) -> str:
    """The kind whose interval of [0, 1) holds `draw`; the noisy shares never exceed 1 together."""
    factor = min(factor, 1 / max(sum(rates.values()), 1e-9))
    for kind in KINDS:
        draw -= rates[kind] * factor
        if draw < 0:
            return kind
    return "faithful"


def _faithful(row: Row, rng: np.random.Generator) -> str:
    words = _keywords(row) or [row.caption]
    first, second = (words[int(rng.integers(len(words)))] for _ in range(2))
    return _choose(_FAITHFUL, rng).format(name=row.caption, first=first, second=second)


def _vague(row: Row, rng: np.random.Generator) -> str:
    group = row.group.replace("-", " ").replace("_", " ")
    return _choose(_VAGUE + _VAGUE_OF_GROUP, rng).format(group=group)


def _keywords(row: Row) -> list[str]:
    return json.loads(row.keywords)


def _choose(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))] if options else ""

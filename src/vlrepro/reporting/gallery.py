"""Pictures in the page: some mined pairs, and what each kind of caption looks like.

Captions are foreign text; they reach the page through `markup`, which escapes them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from vlrepro.data.loader import decode
from vlrepro.data.pack import Pack
from vlrepro.randomness import key
from vlrepro.reporting.inputs import CaptionFile, MinedPairs
from vlrepro.reporting.markup import Html, bullets, data_uri, element, join, quoted

LARGEST = 96
"""Pixels of a picture's side in the page, at most."""

_NAMES = {"concept": "concept", "label": "class", "group": "group"}
_RELATIONS = {"concept": "✔", "label": "◐", "group": "◔", "other": "✘"}

Show = Callable[[str, str], Html]
"""Of a picture's key and a text for who cannot see it, the picture."""


def picture_source(pack: str | Path, side: int) -> Show:
    """Shows pictures of a pack as the network gets them: square, over white, `side` pixels (at most `LARGEST`)."""
    opened = Pack(pack)
    position = {row.key: number for number, row in enumerate(opened.rows)}

    def show(name: str, alt: str) -> Html:
        stream = io.BytesIO()
        Image.fromarray(decode(opened.picture(position[name]), min(side, LARGEST))).save(stream, "PNG", optimize=True)
        return element("img", src=data_uri(stream.getvalue(), "image/png"), alt=alt, class_="picture")

    return show


def sample_pairs(mined: MinedPairs, count: int = 16) -> list[tuple[str, Any]]:
    """`count` pairs as (relation, row): as many of each relation as there are, good and bad side by side.

    A pair's relation is the strictest of the criteria that its pictures share, or `other`. Within a relation the
    choice is by a keyed hash of the source's key, so it does not depend on the order of the file.
    """
    strata: dict[str, list[Any]] = {relation: [] for relation in (*mined.criteria(), "other")}
    for row in sorted(mined.rows.itertuples(), key=lambda row: key("gallery", row.source)):
        strata[_relation(row, mined.criteria())].append(row)
    turns = zip_longest(*([(relation, row) for row in rows] for relation, rows in strata.items()))
    chosen = [pair for turn in turns for pair in turn if pair is not None][:count]
    return sorted(chosen, key=lambda pair: list(strata).index(pair[0]))


def _relation(row: Any, criteria: Iterable[str]) -> str:
    for name in criteria:
        if getattr(row, f"{name}_of_source") == getattr(row, f"{name}_of_neighbour"):
            return name
    return "other"


def pair_gallery(mined: MinedPairs, show: Show, count: int = 16) -> Html:
    """Some pairs: both pictures, both captions and their kinds, the cosine, and what the pictures share."""
    chosen = sample_pairs(mined, count)
    true = join(
        (f"{title} {100 * mined.summary['purity'][name]['share']:.1f} %" for name, title in mined.criteria().items()),
        ", ",
    )
    note = join(
        [
            f"{len(chosen)} of {mined.summary['pairs']:,} pairs, drawn evenly from good and bad ones; of all pairs: ",
            true,
            f". {mined.summary['without_neighbour']:,} pictures have no neighbour; "
            f"{100 * mined.summary['same_caption']:.1f} % of pairs have the same caption twice.",
        ]
    )
    cards = (_pair_card(relation, row, show, mined.criteria()) for relation, row in chosen)
    return join([element("p", note, class_="note"), element("ul", *cards, class_="pairs")])


def _pair_card(relation: str, row: Any, show: Show, criteria: dict[str, str]) -> Html:
    pictures = element(
        "div",
        show(row.source, row.clean_of_source),
        element("span", f"cos {row.cosine:.2f}", class_="cosine"),
        show(row.neighbour, row.clean_of_neighbour),
        class_="couple",
    )
    words = criteria.get(relation, f"another {_NAMES[list(criteria)[-1]]}")
    verdict = element("p", f"{_RELATIONS[relation]} {words}", class_=f"relation relation-{relation}")
    captions = element(
        "div",
        _caption(row.caption_of_source, row.kind_of_source),
        _caption(row.caption_of_neighbour, row.kind_of_neighbour),
        class_="captions",
    )
    return element("li", pictures, captions, verdict)


def _caption(text: str, kind: str) -> Html:
    return element("p", quoted(text), " ", element("span", kind.replace("_", " "), class_="kind"))


def sample_captions(captions: CaptionFile, count: int = 4) -> dict[str, list[Any]]:
    """Kind -> `count` of its rows by keyed hash; kinds from the most frequent to the least."""
    rows = captions.rows
    return {kind: _first(rows[rows["kind"] == kind], count) for kind in captions.shares()}


def _first(rows: pd.DataFrame, count: int) -> list[Any]:
    return sorted(rows.itertuples(), key=lambda row: key("caption examples", row.key))[:count]


def caption_examples(captions: CaptionFile, show: Show, count: int = 4) -> Html:
    """Some captions of each kind beside the picture and its clean caption."""
    shares = captions.shares()
    blocks = []
    for kind, rows in sample_captions(captions, count).items():
        share = element("span", f"{100 * shares[kind]:.1f} %", class_="share")
        title = element("h4", kind.replace("_", " "), " ", share)
        blocks.append(element("section", title, bullets(_example(row, show) for row in rows), class_="kind-block"))
    return element("div", *blocks, class_="kinds")


def _example(row: Any, show: Show) -> Html:
    clean = element("span", "shows: ", element("bdi", row.clean or "not known"), class_="clean")
    return join([show(row.key, row.clean), element("span", quoted(row.caption), clean, class_="example")])

"""Pictures in the page: some pairs, what each kind of caption looks like, and captions before and after refinement.

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

from vlrepro.data.decoding import decode
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


def sample_pairs(mined: MinedPairs, count: int = 6) -> list[tuple[str, Any]]:
    """`count` pairs as (relation, row): as many of each relation as there are, good and bad side by side.

    A pair's relation is the strictest of the criteria that its pictures share, or `other`. Within a relation the
    choice is by a keyed hash of the source's key, so it does not depend on the order of the file.
    """
    criteria = mined.criteria()
    strata: dict[str, list[Any]] = {relation: [] for relation in (*criteria, "other")}
    for row in sorted(mined.rows.itertuples(), key=lambda row: key("gallery", row.source)):
        strata[_relation(row, criteria)].append(row)
    return _even(strata, count)


def _even(strata: dict[str, list[Any]], count: int) -> list[tuple[str, Any]]:
    """`count` of (stratum, row), one of each stratum in turn; those of a stratum stand together."""
    turns = zip_longest(*([(name, row) for row in rows] for name, rows in strata.items()))
    chosen = [entry for turn in turns for entry in turn if entry is not None][:count]
    return sorted(chosen, key=lambda entry: list(strata).index(entry[0]))


def _relation(row: Any, criteria: Iterable[str]) -> str:
    for name in criteria:
        if getattr(row, f"{name}_of_source") == getattr(row, f"{name}_of_neighbour"):
            return name
    return "other"


def pair_gallery(mined: MinedPairs, show: Show, count: int = 6) -> Html:
    """Some pairs: both pictures, both captions and their kinds, the cosine, and what the pictures share.

    Pairs that were not found by caption have what the pictures show in its place; drawn ones have no cosine.
    """
    chosen = sample_pairs(mined, count)
    shares = [
        f"{title} {100 * mined.summary['purity'][name]['share']:.1f} %" for name, title in mined.criteria().items()
    ]
    counts = [f"{mined.summary['without_neighbour']:,} pictures have no neighbour"]
    if mined.recipe["captions"]:
        counts.append(f"{100 * mined.summary['same_caption']:.1f} % of pairs have the same caption twice")
    note = (
        f"{len(chosen)} of {mined.summary['pairs']:,} pairs, drawn evenly from good and bad ones; of all pairs: "
        f"{', '.join(shares) or 'no truth is known'}. {'; '.join(counts)}."
    )
    cards = (_pair_card(relation, row, show, mined.criteria()) for relation, row in chosen)
    return join([element("p", note, class_="note"), element("ul", *cards, class_="pairs")])


def _pair_card(relation: str, row: Any, show: Show, criteria: dict[str, str]) -> Html:
    cosine = f"cos {row.cosine:.2f}" if row.cosine == row.cosine else "drawn"
    pictures = element(
        "div",
        show(row.source, row.clean_of_source),
        element("span", cosine, class_="cosine"),
        show(row.neighbour, row.clean_of_neighbour),
        class_="couple",
    )
    loosest = _NAMES[list(criteria)[-1]] if criteria else "picture"
    verdict = element(
        "p",
        f"{_RELATIONS[relation]} {criteria.get(relation, f'another {loosest}')}",
        class_=f"relation relation-{relation}",
    )
    ends = (
        _caption(row.caption_of_source, row.kind_of_source) if row.caption_of_source else _shown(row.clean_of_source),
        _caption(row.caption_of_neighbour, row.kind_of_neighbour)
        if row.caption_of_neighbour
        else _shown(row.clean_of_neighbour),
    )
    return element("li", pictures, element("div", *ends, class_="captions"), verdict)


def _shown(clean: str) -> Html:
    """What is known of a picture that was paired without a caption."""
    return element("p", "shows: ", element("bdi", clean or "not known"), class_="clean")


def _caption(text: str, kind: str) -> Html:
    return element("p", quoted(text), " ", element("span", kind.replace("_", " "), class_="kind"))


def sample_captions(captions: CaptionFile, count: int = 3) -> dict[str, list[Any]]:
    """Kind -> `count` of its rows by keyed hash; kinds from the most frequent to the least."""
    rows = captions.rows
    return {kind: _first(rows[rows["kind"] == kind], count) for kind in captions.shares()}


def _first(rows: pd.DataFrame, count: int) -> list[Any]:
    return sorted(rows.itertuples(), key=lambda row: key("caption examples", row.key))[:count]


def caption_examples(captions: CaptionFile, show: Show, count: int = 3) -> Html:
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


def sample_refined(rows: pd.DataFrame, count: int = 12) -> list[Any]:
    """`count` refined captions by keyed hash, the kinds of the original captions and both outcomes in turn.

    `rows` are those of `vlrepro.reporting.refinement.refined_rows`.
    """
    strata: dict[str, list[Any]] = {}
    for row in sorted(rows.itertuples(), key=lambda row: key("refinement", row.key)):
        strata.setdefault(f"{row.kind_of_original} {row.chosen}", []).append(row)
    return [row for _, row in _even(dict(sorted(strata.items())), count)]


def refinement_gallery(rows: pd.DataFrame, show: Show, count: int = 12) -> Html:
    """Some pictures with their captions before and after: each with its score, and which one was kept."""
    return element("ul", *(_refined_card(row, show) for row in sample_refined(rows, count)), class_="refined")


def _refined_card(row: Any, show: Show) -> Html:
    captions = (
        _scored("original", row.original, row.score_original, row.kind_of_original, row.chosen),
        _scored("generated", row.generated, row.score_generated, "", row.chosen),
    )
    return element("li", show(row.key, row.clean), element("div", *captions, class_="captions"))


def _scored(source: str, text: str | None, score: float, kind: str, chosen: str) -> Html:
    kept = source == chosen
    number = f"score {score:.3f}" if score == score else "no score"
    words = element("span", f"{'✔ kept' if kept else 'dropped'}, {source}, {number}", class_="score")
    label = [" ", element("span", kind.replace("_", " "), class_="kind")] if kind else []
    caption = quoted(text) if text else element("span", "none", class_="clean")
    return element("p", words, " ", caption, *label, class_="kept" if kept else "dropped")

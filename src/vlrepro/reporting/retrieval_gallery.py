"""Queries and what was found for them: the first five, the right one marked, from the best to the worst failures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlrepro.reporting.gallery import Show
from vlrepro.reporting.markup import Html, element, join, quoted
from vlrepro.reporting.searches import DIRECTIONS, Search, Searched

_TYPICAL, _WORST = 5, 4
_CAPTIONS = 5


def retrieval_gallery(title: str, model: str, found: Searched, show: Show) -> Html:
    """Both directions of one model over one gallery; `show` draws a picture of the pack."""
    blocks = []
    for direction, heading in DIRECTIONS.items():
        search = found.directions[direction]
        typical, worst = chosen_queries(search.ranks)
        note = (
            f"{model} on {title}: {len(search.ranks):,} queries, half of them with rank {np.median(search.ranks):g} or "
            f"better. {len(typical)} queries evenly from the best to the worst, then the {len(worst)} worst."
        )
        card = _text_query if direction == "text_to_image" else _picture_query
        cards = (card(found, search, query, show) for query in [*typical, *worst])
        blocks += [element("h4", heading), element("p", note, class_="note"), element("ul", *cards, class_="searches")]
    return join(blocks)


def chosen_queries(ranks: Sequence[float]) -> tuple[list[int], list[int]]:
    """Numbers of queries at even places of the order by rank, and of the worst; equal ones in the queries' order."""
    order = np.argsort(np.asarray(ranks), kind="stable").tolist()
    worst = order[len(order) - min(_WORST, len(order)) :][::-1]
    rest = order[: len(order) - len(worst)]
    places = np.unique(np.linspace(0, max(len(rest) - 1, 0), _TYPICAL).round().astype(int)) if rest else []
    return [rest[place] for place in places], worst


def _text_query(found: Searched, search: Search, query: int, show: Show) -> Html:
    """A caption, the five nearest pictures, and its own picture where it is not among them."""
    own = found.picture_of[query]
    items = [_picture(found, picture, picture == own, show) for picture in search.nearest[query]]
    if own not in search.nearest[query]:
        items.append(_picture(found, own, True, show, missed=True))
    head = element("p", quoted(found.captions[query]), _rank(search.ranks[query]), class_="query")
    return element("li", head, element("div", *items, class_="found"))


def _picture_query(found: Searched, search: Search, query: int, show: Show) -> Html:
    """A picture, the five nearest captions, and one of its own where none is among them."""
    own = set(found.captions_of(query))
    nearest = search.nearest[query]
    items = [_caption(found.captions[number], number in own) for number in nearest[:_CAPTIONS]]
    if own.isdisjoint(nearest):
        items.append(_caption(found.captions[min(own)], True, missed=True))
    head = element("p", show(found.keys[query], found.captions[min(own)]), _rank(search.ranks[query]), class_="query")
    return element("li", head, element("ol", *items, class_="captions-found"))


def _rank(rank: float) -> Html:
    return element("span", f" rank {rank:,.1f}".removesuffix(".0"), class_="numbers")


def _picture(found: Searched, number: int, right: bool, show: Show, missed: bool = False) -> Html:
    picture = show(found.keys[number], found.captions[found.captions_of(number)[0]])
    return element("div", picture, _mark(right, missed), class_="right" if right else "wrong")


def _caption(text: str, right: bool, missed: bool = False) -> Html:
    return element("li", quoted(text), " ", _mark(right, missed), class_="right" if right else "wrong")


def _mark(right: bool, missed: bool) -> Html:
    words = "✔ right, not among them" if missed else "✔ right" if right else "✘"
    return element("span", words, class_="mark")

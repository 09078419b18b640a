"""What a teacher sees: how far it agrees with captions that it did not learn from, and examples of its targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlrepro.reporting.gallery import Show
from vlrepro.reporting.inputs import ConceptSummary
from vlrepro.reporting.markup import Html, element, grid, join, quoted

_KINDS = ("objects", "attributes")
_BY = {
    "teacher": "the teacher",
    "shuffled": "the teacher, of another picture",
    "frequent": "the most frequent words",
}
_SHOWN = 3  # likeliest words of an example


def concept_section(concepts: ConceptSummary, show: Show) -> Html:
    """A sentence on the vocabularies, the agreement with captions, and held-out pictures with their targets."""
    summary = concepts.summary
    sizes = " and ".join(f"{summary[kind]['vocabulary']:,} {kind}" for kind in _KINDS)
    words = (
        f"{summary['captions']:,} captions name {sizes} often enough. The {summary['top']} likeliest of either "
        "in a picture are kept as targets. Below is how many of a caption's own words are among them."
    )
    examples = [join([show(entry["key"], entry["key"]), _example(entry)]) for entry in summary["examples"]]
    cards = element("ul", *(element("li", example) for example in examples), class_="seen")
    shown = [element("h4", "Held-out pictures"), cards] if examples else []
    return join([element("p", words), agreement_grid(summary), *shown])


def agreement_grid(summary: Mapping[str, Any]) -> Html:
    """One line a kind, a part of the captions and whoever names words: how they agree with captions."""
    rows = []
    for kind in _KINDS:
        for part, title in (("held_out", "held out"), ("fitted", "learnt from")):
            entry = summary[kind][part]
            for by, name in _BY.items():
                shares = (_share(entry[by]["recall"]), _share(entry[by]["first"]))
                rows.append((kind, f"{title} ({entry['pictures']:,})", name, *shares))
    return grid(
        ("Kind", "Captions", "Named by", f"Among the {summary['top']} likeliest", "The likeliest is named"), rows
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _example(entry: Mapping[str, Any]) -> Html:
    """What a picture's caption names, and the likeliest words of each kind with their weights."""
    lines = []
    for kind in _KINDS:
        said = ", ".join(entry[kind]["caption"]) or "nothing"
        seen = ", ".join(f"{word} {weight:.2f}" for word, weight in entry[kind]["teacher"][:_SHOWN])
        lines.append(element("span", f"{kind}: ", quoted(said), element("span", seen, class_="clean")))
    return element("span", *lines, class_="example")

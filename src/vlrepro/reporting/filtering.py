"""What the CAT filter did: how many captions each rule dropped, which rules agree, and examples of the dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from vlrepro.reporting.gallery import Show
from vlrepro.reporting.inputs import CaptionFile
from vlrepro.reporting.markup import Html, bullets, element, grid, join, quoted


def filter_section(filtered: CaptionFile, original: CaptionFile, show: Show) -> Html:
    """The counts of each rule and of the kinds of captions, and for each rule some captions that it dropped."""
    summary = filtered.summary or {}
    blocks = [element("p", _sentence(summary)), rule_grid(summary), kind_grid(filtered.rows, original.rows)]
    clean = original.rows.set_index("key")["clean"]
    cards = [
        element("section", element("h4", f"Dropped by {rule}"), _examples(entry, clean, show), class_="kind-block")
        for rule, entry in summary.get("rules", {}).items()
        if entry["examples"]
    ]
    return join([*blocks, element("div", *cards, class_="kinds")])


def _sentence(summary: Mapping[str, Any]) -> str:
    by = [f"{count:,} by {rules.replace(' + ', ' and ')}" for rules, count in summary["dropped_by"].items()]
    words = f"Of {summary['captions']:,} captions {_share(summary['kept'], summary['captions'])} survive"
    return f"{words}; dropped are {', '.join(by)}." if by else f"{words}."


def rule_grid(summary: Mapping[str, Any]) -> Html:
    """One line a rule, and one for all: what it asks for, how many captions it keeps, drops, and drops alone."""
    total, rows = summary["captions"], []
    for rule, entry in summary["rules"].items():
        alone = summary["dropped_by"].get(rule, 0)
        rows.append((rule, entry["threshold"], *(_share(n, total) for n in (entry["kept"], entry["dropped"], alone))))
    dropped = total - summary["kept"]
    alone = sum(count for rules, count in summary["dropped_by"].items() if " + " not in rules)
    rows.append(("all", "", *(_share(count, total) for count in (summary["kept"], dropped, alone))))
    return grid(("Rule", "Asks for", "Kept", "Dropped", "Dropped by no other rule"), rows)


def kind_grid(kept: pd.DataFrame, original: pd.DataFrame) -> Html:
    """One line a kind of caption: how many there were and how many survive; says whether the filter finds noise."""
    before, after = original["kind"].value_counts(), kept["kind"].value_counts()
    kinds = sorted(before.index, key=lambda kind: (-before[kind], kind))
    rows = [
        (kind.replace("_", " "), f"{before[kind]:,}", _share(int(after.get(kind, 0)), int(before[kind])))
        for kind in kinds
    ]
    return grid(("Kind of caption", "Before", "Survive"), rows)


def _share(count: int, total: int) -> str:
    return f"{count:,} ({100 * count / total:.1f} %)"


def _examples(entry: Mapping[str, Any], clean: pd.Series, show: Show) -> Html:
    lines = []
    for example in entry["examples"]:
        shows = clean.get(example["key"], "")
        words = element("span", quoted(example["caption"]), element("span", example["why"], class_="clean"))
        lines.append(join([show(example["key"], shows), element("span", words, class_="example")]))
    return bullets(lines)

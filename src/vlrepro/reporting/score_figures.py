"""Figures of how well captions fit their pictures, by the scorer's cosine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vlrepro.reporting.drawing import COLOURS, INK, LINES, Drawing, canvas, empty
from vlrepro.reporting.inputs import CaptionFile, ScoreFile

_BINS = 40


def scored_captions(scores: ScoreFile, captions: Mapping[str, CaptionFile]) -> pd.DataFrame:
    """The scores with their captions' kinds: columns key, score, kind."""
    return scores.rows.merge(captions[scores.recipe["captions"]].rows[["key", "kind"]], on="key", validate="1:1")


def draw_scores(scores: Sequence[ScoreFile], captions: Mapping[str, CaptionFile]) -> Drawing:
    """Left: scores of each caption source; right: of each kind of caption, of sources that have several kinds.

    A row of panels is a scorer's.
    """
    scorers = list(dict.fromkeys(entry.recipe["model"] for entry in scores))
    found = {
        scorer: {
            captions[entry.recipe["captions"]].name: scored_captions(entry, captions)
            for entry in scores
            if entry.recipe["model"] == scorer
        }
        for scorer in scorers
    }
    figure = canvas(3.4 * max(1, len(scorers)))
    if not scorers:
        empty(figure.subplots(), "No caption was scored.")
    else:
        panels = figure.subplots(len(scorers), 2, squeeze=False)
        for (left, right), (scorer, sources) in zip(panels, found.items(), strict=True):
            _histograms(left, sources)
            _by_kind(right, sources)
            left.set_title(f"captions, scored by {scorer}", fontsize=9)
            right.set_title("kinds of captions", fontsize=9)
    return Drawing(
        "scores",
        "Caption scores",
        "Cosine of caption and picture by the scorer. Left: how many captions of each source have which score; "
        "vertical lines are medians. Right: for each kind of caption, median (mark), middle half (thick) and middle "
        "90 % (thin).",
        f"Caption scores. {_words(found) or 'Nothing was scored.'}",
        figure,
    )


def _histograms(axes: Axes, sources: Mapping[str, pd.DataFrame]) -> None:
    edges = np.histogram_bin_edges(np.concatenate([rows["score"] for rows in sources.values()]), _BINS)
    for number, (name, rows) in enumerate(sources.items()):
        look = {"color": COLOURS[number % len(COLOURS)], "linestyle": LINES[number % len(LINES)]}
        counts = np.histogram(rows["score"], edges)[0]
        axes.stairs(counts, edges, linewidth=1.6, label=f"{name} ({len(rows):,})", **look)
        axes.axvline(rows["score"].median(), ymax=0.74, linewidth=1.1, **look)
    axes.set_xlabel("cosine of caption and picture")
    axes.set_ylabel("captions")
    axes.set_ylim(top=1.35 * axes.get_ylim()[1])
    axes.legend(loc="upper left", fontsize=8.5)
    axes.grid(axis="y")


def _by_kind(axes: Axes, sources: Mapping[str, pd.DataFrame]) -> None:
    groups: dict[str, pd.Series] = {}
    for name, rows in sources.items():
        kinds = rows["kind"].value_counts()
        several = len(kinds) > 1
        groups |= {
            f"{kind.replace('_', ' ')}\n{name}" if several else name: rows.loc[rows["kind"] == kind, "score"]
            for kind in kinds.index
        }
    names = sorted(groups, key=lambda name: -groups[name].median())
    for height, name in enumerate(names):
        low, first, middle, third, high = np.percentile(groups[name], [5, 25, 50, 75, 95])
        axes.hlines(height, low, high, color=INK, linewidth=1)
        axes.hlines(height, first, third, color=COLOURS[0], linewidth=6, alpha=0.7)
        axes.plot(middle, height, "d", color=INK, markersize=5)
    axes.set_yticks(range(len(names)), [f"{name} ({len(groups[name]):,})" for name in names], fontsize=7.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("cosine of caption and picture")
    axes.grid(axis="x")


def _words(found: Mapping[str, Mapping[str, pd.DataFrame]]) -> str:
    words = [
        f"{name} by {scorer}: median {rows['score'].median():.3f} of {len(rows):,}."
        for scorer, sources in found.items()
        for name, rows in sources.items()
    ]
    return " ".join(words)

"""Recall against the size of the gallery: what a batch of some thousand pictures hides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vlrepro.reporting.drawing import COLOURS, LINES, MARKERS, SOFT, Drawing, canvas, empty
from vlrepro.reporting.searches import DIRECTIONS, Searched

_CAPTION = (
    "Expected recall at 1, in percent, in a random part of the gallery that holds the query's own picture, against the "
    "number of pictures in that part; the last point is the whole gallery. Where a picture has one caption the "
    "expectation is exact, from its rank in the whole. Band: range over seeds. Dotted: guessing. Vertical line: as "
    "many pictures as one of the paper's batches is of its gallery, a seventh."
)


def draw_recall_curve(name: str, title: str, models: Mapping[str, Sequence[Searched]]) -> Drawing:
    """One line a model (its label -> its runs, one a seed) in one panel a direction; `title` is the gallery's."""
    figure = canvas(3.6)
    axes = figure.subplots(1, len(DIRECTIONS), sharey=True)
    models = {label: runs for label, runs in models.items() if runs}
    lines: list[list[str]] = []
    for place, (direction, heading) in zip(axes, DIRECTIONS.items(), strict=True):
        place.set_title(heading)
        if not models:
            empty(place, "No model has been searched.")
            continue
        for number, (label, runs) in enumerate(models.items()):
            sizes, recalls = _curves(runs, direction)
            place.plot(
                sizes,
                recalls.mean(0),
                color=COLOURS[number],
                linestyle=LINES[number],
                marker=MARKERS[number],
                markersize=4,
                label=label,
            )
            place.fill_between(sizes, recalls.min(0), recalls.max(0), color=COLOURS[number], alpha=0.15, linewidth=0)
            shown = zip(sizes, recalls.mean(0), strict=True)
            lines += [[heading, label, f"{size:,}", f"{recall:.1f}"] for size, recall in shown]
        place.plot(sizes, 100 / np.array(sizes), color=SOFT, linestyle=":", linewidth=1.2, label="guessing")
        place.axvline(sizes[-1] // 7, color=SOFT, linewidth=0.8)
        place.set_xscale("log", base=2)
        place.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
        place.minorticks_off()
        place.set_xlabel("pictures in the gallery")
        place.grid(axis="y")
        place.set_ylim(bottom=0)
    axes[0].set_ylabel("recall at 1 (%)")
    if models:
        axes[-1].legend(loc="upper right")
    numbers = (("Direction", "Model", "Pictures", "Recall at 1 (%)"), lines)
    alt = f"Recall at 1 falls as the gallery grows, for {', '.join(models) or 'no model'}, in both directions."
    return Drawing(name, f"Recall against gallery size: {title}", _CAPTION, alt, figure, numbers, not models)


def _curves(runs: Sequence[Searched], direction: str) -> tuple[list[int], np.ndarray]:
    """The sizes, and recall at 1 in percent (runs, sizes)."""
    curves = [run.directions[direction].curve for run in runs]
    return [size for size, *_ in curves[0]], np.array([[100 * recall for _, recall, _ in curve] for curve in curves])

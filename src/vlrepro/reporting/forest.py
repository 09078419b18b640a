"""Forest plots: a table's paired differences with their intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlrepro.reporting.drawing import COLOURS, INK, MARKERS, RULE, Drawing, canvas, empty

_AXIS = "◂ baseline better      percentage points      row better ▸"
FILLED = "Filled markers: the interval excludes 0. Hollow: it does not."


def draw_differences(name: str, title: str, cells: pd.DataFrame, summary: bool) -> Drawing:
    """Paired differences of one table, row minus baseline, in percentage points.

    `cells` are the lines of the table's CSV file (see `vlrepro.tables.rendering.to_csv`). A printed table has a panel
    a comparison and a row a data set; a summary table a row a comparison and a marker an evaluation.
    """
    done = cells[(cells["block"] == "paired difference") & (cells["status"] == "done")]
    averages = done[done["column"] == "Avg"]
    shown, words = (averages, "means over the data sets") if summary else (done, "the lowest row is their average")
    if shown.empty:
        figure = canvas(1.5)
        empty(figure.subplots(), "No difference has been scored yet.")
    else:
        figure = _by_evaluation(shown) if summary else _by_comparison(shown)
    return Drawing(
        f"differences_{name}",
        f"Differences, {title}",
        f"Our paired differences, row minus baseline, with 95 % intervals; {words}. {FILLED}{failed_words(cells)}",
        _alt(title, averages),
        figure,
    )


def failed_words(cells: pd.DataFrame) -> str:
    """A sentence that names the comparisons without a difference because a run failed; empty where there is none."""
    failed = cells[(cells["block"] == "paired difference") & (cells["status"] == "failed")]
    names = list(dict.fromkeys(failed["row"]))
    return f" Without a number, since a run failed to train: {'; '.join(names)}." if names else ""


def _by_comparison(done: pd.DataFrame) -> Figure:
    comparisons, columns = list(dict.fromkeys(done["row"])), list(dict.fromkeys(done["column"]))
    across = min(2, len(comparisons))
    down = -(-len(comparisons) // across)
    figure = canvas(0.5 + down * (0.55 + 0.17 * len(columns)))
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flat
    for axes, comparison in zip(panels, comparisons, strict=False):
        rows = done[done["row"] == comparison].set_index("column").reindex(columns)
        _intervals(axes, rows, np.arange(len(columns)), 0)
        axes.set_title(textwrap.fill(comparison, 46 if across == 2 else 90), fontsize=8)
        axes.axhline(len(columns) - 1.5, color=INK, linewidth=0.5)
        axes.tick_params(labelbottom=True, labelsize=8)
    for axes in list(panels)[len(comparisons) :]:
        axes.set_visible(False)
    _forest_axes(figure.axes[0], columns, done)
    figure.axes[0].get_yticklabels()[-1].set_fontweight("bold")
    figure.supxlabel(_AXIS, fontsize=9)
    return figure


def _by_evaluation(averages: pd.DataFrame) -> Figure:
    comparisons, evaluations = list(dict.fromkeys(averages["row"])), list(dict.fromkeys(averages["evaluation"]))
    figure = canvas(1.1 + len(comparisons) * max(0.45, 0.2 * len(evaluations)))
    axes = figure.subplots()
    for number, evaluation in enumerate(evaluations):
        rows = averages[averages["evaluation"] == evaluation].set_index("row").reindex(comparisons)
        shift = 0.6 * ((number + 0.5) / len(evaluations) - 0.5)
        _intervals(axes, rows, np.arange(len(comparisons)) + shift, number, evaluation)
    _forest_axes(axes, [textwrap.fill(name, 46) for name in comparisons], averages)
    for edge in range(len(comparisons) - 1):
        axes.axhline(edge + 0.5, color=RULE, linewidth=0.7)
    figure.supxlabel(_AXIS, fontsize=9)
    figure.legend(loc="outside upper left", ncols=len(evaluations), fontsize=9)
    return figure


def _intervals(axes: Axes, rows: pd.DataFrame, heights: np.ndarray, number: int, label: str | None = None) -> None:
    colour = COLOURS[number % len(COLOURS)]
    axes.axvline(0, color=INK, linewidth=1)
    axes.hlines(heights, rows["low"], rows["high"], color=colour, linewidth=1.6)
    clear = ((rows["low"] > 0) | (rows["high"] < 0)).to_numpy()
    marks = {"marker": MARKERS[number % len(MARKERS)], "color": colour, "linestyle": "none", "markersize": 5.5}
    axes.plot(rows["value"].where(clear), heights, **marks, label=label)
    axes.plot(rows["value"].where(~clear), heights, **marks, markerfacecolor="none", markeredgewidth=1.4)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)


def _forest_axes(axes: Axes, names: Sequence[str], done: pd.DataFrame) -> None:
    """Rows from top to bottom; as far to the left of no difference as to the right."""
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    reach = max(1.0, 1.08 * float(np.nanmax(np.abs(done[["low", "high"]].to_numpy()))))
    axes.set_xlim(-reach, reach)


def _alt(title: str, averages: pd.DataFrame) -> str:
    words = [
        f"{row.row}, {row.evaluation}: {row.value:+.1f} [{row.low:+.1f}, {row.high:+.1f}]"
        for row in averages.itertuples()
    ]
    return f"Forest plot, {title}. On average, in points: {'; '.join(words) or 'nothing scored'}."

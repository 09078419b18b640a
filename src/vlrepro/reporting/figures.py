"""Figures of tables and of training: paired differences, loss curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vlrepro.reporting.drawing import COLOURS, INK, LINES, MARKERS, RULE, SOFT, Drawing, canvas, empty
from vlrepro.reporting.inputs import TrainedRun

_SMOOTHING = 40
"""A curve is a running mean over one step in so many."""
_POINTS = 250
"""About as many points are drawn of a curve, the last among them: more than a reader sees, less than a file feels."""


def draw_differences(name: str, title: str, cells: pd.DataFrame) -> Drawing:
    """Paired differences of one table, one line of points a comparison, a row for each data set and the average.

    `cells` are the lines of the table's CSV file (see `vlrepro.tables.rendering.to_csv`), in percentage points.
    A filled marker has an interval that excludes 0.
    """
    done = cells[(cells["block"] == "paired difference") & (cells["status"] == "done")]
    comparisons, columns = list(dict.fromkeys(done["row"])), list(dict.fromkeys(done["column"]))
    figure = canvas(1.5 + 0.17 * max(len(columns), 2) * (len(comparisons) + 1.2))
    axes = figure.subplots()
    if done.empty:
        empty(axes, "No difference has been scored yet.")
    for number, comparison in enumerate(comparisons):
        rows = done[done["row"] == comparison].set_index("column").reindex(columns)
        shift = 0.62 * ((number + 0.5) / len(comparisons) - 0.5)
        _intervals(axes, rows, np.arange(len(columns)) + shift, number, comparison)
    if comparisons:
        _forest_axes(axes, columns, done)
        figure.legend(loc="outside lower left", ncols=1, fontsize=9.5, handlelength=1.2)
    return Drawing(
        f"differences_{name}",
        f"Differences, {title}",
        "Our paired differences, row minus baseline, with 95 % intervals. Filled: the interval excludes 0. Hollow: it "
        "does not. The lowest row is the average over the data sets.",
        _differences_alt(title, done, comparisons),
        figure,
    )


def _intervals(axes: Axes, rows: pd.DataFrame, heights: np.ndarray, number: int, label: str) -> None:
    colour = COLOURS[number % len(COLOURS)]
    axes.hlines(heights, rows["low"], rows["high"], color=colour, linewidth=1.6)
    clear = ((rows["low"] > 0) | (rows["high"] < 0)).to_numpy()
    marks = {"marker": MARKERS[number % len(MARKERS)], "color": colour, "linestyle": "none", "markersize": 6}
    axes.plot(rows["value"].where(clear), heights, **marks, label=label)
    axes.plot(rows["value"].where(~clear), heights, **marks, markerfacecolor="none", markeredgewidth=1.5)


def _forest_axes(axes: Axes, columns: Sequence[str], done: pd.DataFrame) -> None:
    """Data sets from top to bottom with the average set apart, and a line at no difference."""
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(columns)), columns)
    axes.get_yticklabels()[-1].set_fontweight("bold")
    axes.set_ylim(len(columns) - 0.4, -0.6)
    for edge in range(len(columns) - 1):
        axes.axhline(edge + 0.5, color=SOFT if edge == len(columns) - 2 else RULE, linewidth=0.7)
    reach = 1.08 * float(np.nanmax(np.abs(done[["low", "high"]].to_numpy())))
    axes.set_xlim(min(-reach, -1), max(reach, 1))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel("◂ baseline better      percentage points      row better ▸")


def _differences_alt(title: str, done: pd.DataFrame, comparisons: Sequence[str]) -> str:
    averages = done.drop_duplicates("row", keep="last").set_index("row")
    words = [
        f"{row}: {averages.loc[row, 'value']:+.1f} [{averages.loc[row, 'low']:+.1f}, {averages.loc[row, 'high']:+.1f}]"
        for row in comparisons
    ]
    return f"Forest plot, {title}. On average, in points: {'; '.join(words) or 'nothing scored'}."


def draw_curves(
    runs: Sequence[TrainedRun], histories: Mapping[str, pd.DataFrame], titles: Mapping[str, str]
) -> Drawing:
    """Training loss and contrast accuracy against the step, one line a recipe: mean and range over seeds.

    `histories` maps a run's id to its history. The dotted line is the loss of a network that gives every picture the
    same output: the NT-Xent loss of SimCLR (Chen et al. 2020, equation 1) over 2 B - 1 equal terms is ln(2 B - 1).
    """
    figure = canvas(5.6)
    panels = figure.subplots(2, 1, sharex=True)
    trained = [run for run in runs if not histories[run.id].empty]
    names = list(dict.fromkeys(run.name for run in trained))
    for number, name in enumerate(names):
        found = [histories[run.id] for run in trained if run.name == name]
        for axes, column, scale in ((panels[0], "loss", 1), (panels[1], "contrast_accuracy", 100)):
            _curve(
                axes,
                [scale * history[column] for history in found if column in history],
                number,
                titles.get(name, name),
            )
    if trained:
        _curve_axes(panels, sorted({run.recipe["batch_size"] for run in trained}))
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", fontsize=9.5, handlelength=3)
    else:
        for axes in panels:
            empty(axes, "No run of this scale takes a training step.")
    return Drawing(
        "curves",
        "Training",
        "Training loss and contrast accuracy (how often an anchor's nearest picture is its own other view). Lines: "
        f"mean over seeds of a running mean over 1/{_SMOOTHING} of the steps. Bands: range over seeds. A lower loss is "
        "not a better network: views of one image are easier to match than views of two.",
        _curves_alt(trained, histories, names, titles),
        figure,
    )


def _curve(axes: Axes, histories: Sequence[pd.Series], number: int, label: str) -> None:
    if not histories:
        return
    lines = pd.concat([_smooth(history) for history in histories], axis=1)
    lines = lines.iloc[:: -max(1, len(lines) // _POINTS)].iloc[::-1]
    look = {"color": COLOURS[number % len(COLOURS)]}
    axes.plot(lines.index, lines.mean(axis=1), linestyle=LINES[number % len(LINES)], label=label, **look)
    axes.fill_between(lines.index, lines.min(axis=1), lines.max(axis=1), alpha=0.18, linewidth=0, **look)


def _smooth(values: pd.Series) -> pd.Series:
    return values.rolling(max(1, len(values) // _SMOOTHING), center=True, min_periods=1).mean()


def _curve_axes(panels: Sequence[Axes], batch_sizes: Sequence[int]) -> None:
    for size in batch_sizes:
        level = math.log(2 * size - 1)
        label = f"tells nothing apart: ln(2·{size} − 1) = {level:.2f}"
        panels[0].axhline(level, color=SOFT, linestyle=":", linewidth=1.4, label=label)
    panels[0].set_ylabel("loss (nats)")
    panels[1].set_ylabel("contrast accuracy (%)")
    panels[1].set_ylim(bottom=0)
    panels[1].set_xlabel("training step")
    for axes in panels:
        axes.grid(axis="y")
        axes.margins(x=0.01)


def _curves_alt(
    trained: Sequence[TrainedRun],
    histories: Mapping[str, pd.DataFrame],
    names: Sequence[str],
    titles: Mapping[str, str],
) -> str:
    words = []
    for name in names:
        last = [_smooth(histories[run.id]["loss"]).iloc[-1] for run in trained if run.name == name]
        words.append(f"{titles.get(name, name)} ends at loss {np.mean(last):.2f}")
    return f"Training curves. {'; '.join(words) or 'Nothing was trained'}."

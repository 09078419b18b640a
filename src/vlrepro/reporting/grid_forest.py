"""Forest plots of tables whose columns cross data sets or encoders with evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from vlrepro.reporting.drawing import COLOURS, INK, MARKERS, RULE, SOFT, Drawing, canvas, empty
from vlrepro.reporting.forest import FILLED, failed_words
from vlrepro.tables.study import PaperTable, TableRow

_ACROSS = 3
_LINE = 0.3
"""Inches a comparison."""
_PRINTED = ("+", "x", "1", "2")
"""Marks of printed differences, which no mark of ours looks like."""


class Difference(NamedTuple):
    """One difference in percentage points: its panel, its line, its evaluation; no interval where it is printed.

    The value is None where a run failed to train.
    """

    group: str
    row: str
    evaluation: str
    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Panels:
    """What one half of the figure shows."""

    title: str
    differences: Sequence[Difference]

    def groups(self) -> list[str]:
        """The panels' headings, in order."""
        return list(dict.fromkeys(entry.group for entry in self.differences))

    def height(self, lines: int) -> float:
        """Inches that the half takes, with its title, axis and legend."""
        return 0.7 + -(-len(self.groups()) // _ACROSS) * (0.5 + _LINE * lines)


def draw_grid_differences(name: str, table: PaperTable, evaluations: Mapping[str, str], lines: pd.DataFrame) -> Drawing:
    """Paired differences, a panel a group of columns (an encoder, a data set), a line a comparison.

    Our differences stand above. Those of the paper's printed cells stand below in panels, marks and a scale of their
    own: they are of other data and have no intervals. `evaluations` maps evaluations to titles, `lines` are the lines
    of the table's CSV file (see `vlrepro.tables.rendering.to_csv`).
    """
    labels = _labels(table)
    ours = Panels("Our runs, with 95 % intervals", our_differences(table, lines))
    printed = printed_differences(table, evaluations)
    paper = Panels("The paper's cells (own data and scale, no intervals)", printed)
    if not any(entry.value is not None for entry in ours.differences):
        figure = canvas(1.5)
        empty(figure.subplots(), "No difference has been scored yet.")
    else:
        halves = [half for half in (ours, paper) if half.differences]
        heights = [half.height(len(labels)) for half in halves]
        figure = canvas(sum(heights))
        for part, half in zip(
            figure.subfigures(len(halves), 1, height_ratios=heights, squeeze=False).flat, halves, strict=True
        ):
            _half(part, half, labels)
    below = " Below, the differences of the cells that the paper prints." if printed else ""
    return Drawing(
        f"differences_{name}",
        f"Differences, {table.heading()}",
        f"Paired differences to the baseline within the same column, a panel a group of columns. {FILLED}{below}"
        f"{failed_words(lines)}",
        f"Forest plot, {table.heading()}. {' '.join(_words(ours))}",
        figure,
    )


def our_differences(table: PaperTable, lines: pd.DataFrame) -> list[Difference]:
    """The scored or failed differences of a table's CSV file; of a table that we add, those of its averages."""
    labels = _labels(table)
    chosen = lines[(lines["block"] == "paired difference") & lines["status"].isin(["done", "failed"])]
    titles = {column.title for column in table.columns} if table.printed else {"Avg"}
    found = []
    for line in chosen.itertuples():
        ending = next((title for title in titles if str(line.column).endswith(f" {title}")), None)
        if ending is not None:
            numbers = (line.value, line.low, line.high) if line.status == "done" else (None, None, None)
            found.append(Difference(line.column[: -len(ending) - 1], labels[line.row], line.evaluation, *numbers))
    return found


def printed_differences(table: PaperTable, evaluations: Mapping[str, str]) -> list[Difference]:
    """Differences of printed cells of the same column, where both rows are printed."""
    found = []
    for row, base in table.comparisons():
        first, second = table.reported(row.id), table.reported(base.id)
        for column in table.printed_columns():
            if column.name in first and column.name in second:
                place = (table.group_of(column), _labels(table)[row.minus(base)], evaluations[column.evaluation or ""])
                found.append(Difference(*place, float(first[column.name]) - float(second[column.name])))
    order = list(dict.fromkeys(table.group_of(column) for column in table.printed_columns()))
    return sorted(found, key=lambda entry: order.index(entry.group))


def _labels(table: PaperTable) -> dict[str, str]:
    """Comparison as the CSV file names it -> how the figure does: where all have one baseline, without it."""
    pairs: list[tuple[TableRow, TableRow]] = list(table.comparisons())
    if len({base.id for _, base in pairs}) == 1:
        return {row.minus(base): row.full_label() for row, base in pairs}
    return {row.minus(base): row.minus(base) for row, base in pairs}


def _half(figure: SubFigure, half: Panels, labels: Mapping[str, str]) -> None:
    figure.suptitle(half.title, x=0.01, ha="left", fontsize=9.5, fontweight="bold", color=INK)
    groups, rows = half.groups(), list(labels.values())
    across = min(_ACROSS, len(groups))
    panels = figure.subplots(-(-len(groups) // across), across, squeeze=False, sharex=True, sharey=True).flat
    evaluations = list(dict.fromkeys(entry.evaluation for entry in half.differences))
    for axes in list(panels)[len(groups) :]:
        axes.set_visible(False)
    for axes, group in zip(figure.axes, groups, strict=False):
        axes.axvline(0, color=INK, linewidth=1)
        for entry in half.differences:
            if entry.group == group:
                number = evaluations.index(entry.evaluation)
                shift = 0.55 * ((number + 0.5) / len(evaluations) - 0.5)
                _mark(axes, entry, rows.index(entry.row) + shift, number)
        _dress(axes, group, rows)
    reach = 1.08 * max([1.0, *(abs(end) for entry in half.differences for end in entry[3:] if end is not None)])
    figure.axes[0].set_xlim(-reach, reach)
    figure.supxlabel("◂ baseline better      percentage points      row better ▸", fontsize=8.5)
    _legend(figure, half, evaluations)


def _mark(axes: Axes, entry: Difference, height: float, number: int) -> None:
    """Ours: filled where the interval excludes 0; printed: a cross; failed: words, once for all evaluations."""
    colour = COLOURS[number % len(COLOURS)]
    if entry.value is None and number:
        return
    if entry.value is None:
        axes.text(
            0.98,
            height,
            "failed to train",
            transform=axes.get_yaxis_transform(),
            fontsize=6.5,
            ha="right",
            va="center",
            color=SOFT,
        )
    elif entry.low is None or entry.high is None:
        axes.plot(
            entry.value, height, _PRINTED[number % len(_PRINTED)], color=colour, markersize=7, markeredgewidth=1.6
        )
    else:
        clear = entry.low > 0 or entry.high < 0
        face = colour if clear else "none"
        axes.hlines(height, entry.low, entry.high, color=colour, linewidth=1.5)
        axes.plot(
            entry.value,
            height,
            MARKERS[number % len(MARKERS)],
            color=colour,
            markersize=5,
            markerfacecolor=face,
            markeredgewidth=1.3,
        )


def _dress(axes: Axes, group: str, rows: Sequence[str]) -> None:
    axes.set_title(group, fontsize=9)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8, labelbottom=True)
    axes.grid(axis="x")
    for edge in range(len(rows) - 1):
        axes.axhline(edge + 0.5, color=RULE, linewidth=0.5)


def _legend(figure: SubFigure, half: Panels, evaluations: Sequence[str]) -> None:
    """Marks of the evaluations, drawn at a place outside every panel."""
    printed = all(entry.low is None for entry in half.differences)
    marks = _PRINTED if printed else MARKERS
    handles = [
        figure.axes[0].plot([], [], marks[number % len(marks)], color=COLOURS[number % len(COLOURS)], markersize=6)[0]
        for number, _ in enumerate(evaluations)
    ]
    figure.legend(handles, evaluations, loc="outside upper right", ncols=len(evaluations), fontsize=8.5)


def _words(half: Panels) -> list[str]:
    """A sentence a panel and evaluation: how many differences are clear of 0, and on which side."""
    kinds = dict.fromkeys((entry.group, entry.evaluation) for entry in half.differences)
    found = []
    for group, evaluation in kinds:
        entries = [entry for entry in half.differences if (entry.group, entry.evaluation) == (group, evaluation)]
        above = sum(entry.low is not None and entry.low > 0 for entry in entries)
        below = sum(entry.high is not None and entry.high < 0 for entry in entries)
        found.append(f"{group}, {evaluation}: {above} of {len(entries)} clearly above 0, {below} clearly below.")
    return found

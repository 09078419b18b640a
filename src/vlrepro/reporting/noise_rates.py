"""The figure of accuracy against the noise rate: our runs, and apart from them what the paper prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import SubFigure

from vlrepro.reporting.drawing import COLOURS, INK, LINES, MARKERS, RULE, SOFT, Drawing, canvas, empty
from vlrepro.reporting.inputs import TrainedRun
from vlrepro.tables.study import PaperColumn, PaperTable, Study, TableRow

SWEEP = ("label_noise", "table2")
"""The study and the table whose variants are noise rates."""
_DODGE = 0.016
"""Neighbouring strategies stand so far apart, in units of the rate, that their intervals do not hide each other."""


@dataclass(frozen=True)
class Point:
    """A score at a noise rate, in percent, with its interval, which printed numbers do not have; None: no score."""

    rate: float
    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Sweep:
    """Scores under one evaluation: strategy (a row's label) -> its points, and the score without noise."""

    title: str
    curves: Mapping[str, Sequence[Point]]
    baseline: Point | None
    chance: float | None


def draw_noise_rates(
    study: Study, lines: pd.DataFrame, runs: Sequence[TrainedRun], chance: Mapping[tuple[str, str], float]
) -> Drawing:
    """Zero-shot accuracy against the noise rate: our panels above, those of the paper's printed cells below.

    `lines` are the lines of the CSV file of the table `SWEEP`, `chance` the share correct when guessing by
    (evaluation, set); where it is not known no line is drawn.
    """
    table = study.table(SWEEP[1])
    recipes = {run.name: run.recipe for run in runs}
    ours = [_our_sweep(study, table, name, lines, recipes, chance) for name in table.evaluations]
    printed = [_printed_sweep(study, table, name, recipes) for name in table.evaluations]
    figure = canvas(6.4)
    if not any(point.value is not None for sweep in ours for points in sweep.curves.values() for point in points):
        figure = canvas(1.5)
        empty(figure.subplots(), "No accuracy under label noise has been scored yet.")
    else:
        above, below = figure.subfigures(2, 1, height_ratios=[1, 1.05])
        handles = _sweeps(above, "Our runs, with 95 % intervals", ours)
        _sweeps(below, f"The paper's Table {table.number}, as printed: other data, scales of its own", printed)
        # A legend of the whole figure would lie over its halves, which alone keep room for theirs.
        below.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), fontsize=8)
    return Drawing(
        f"rates_{study.slug}_{table.name}",
        "Accuracy against the noise rate",
        "Zero-shot accuracy of each strategy at each nominal noise rate γ; marks beside each other are of one rate. "
        "Above: our runs with 95 % intervals; the grey band is CLIP without label noise with its interval. Below: the "
        "cells that the paper prints, which have none; its data are others, so no axis is shared. Dotted: chance. "
        "✕: a run failed to train. One rate is three amounts of noise: see the realised rates.",
        f"Accuracy against the noise rate. {' '.join(map(_sweep_words, ours))}",
        figure,
    )


def _our_sweep(
    study: Study,
    table: PaperTable,
    evaluation: str,
    lines: pd.DataFrame,
    recipes: Mapping[str, Mapping[str, Any]],
    chance: Mapping[tuple[str, str], float],
) -> Sweep:
    """Of the lines of ours that are no differences."""
    own = lines[(lines["source"] == "ours") & (lines["block"] != "paired difference")]
    found = {(line.row, line.column): line for line in own.itertuples()}
    cells = {}
    for row, column in _cells(table, evaluation):
        line = found.get((row.label, table.column_label(column)))
        if line is not None and line.status == "failed":
            cells[row.id, column.name] = Point(0, None)
        elif line is not None and line.status == "done":
            cells[row.id, column.name] = Point(0, line.value, line.low, line.high)
    sets = {column.set for _, column in _cells(table, evaluation)}
    guess = {100 * chance[evaluation, name] for name in sets if name and (evaluation, name) in chance}
    return _sweep(study, table, evaluation, cells, recipes, guess)


def _printed_sweep(study: Study, table: PaperTable, evaluation: str, recipes: Mapping[str, Mapping[str, Any]]) -> Sweep:
    """Of the printed cells; CLIP's are in another table, under the same recipe, evaluation and set."""
    cells, guess = {}, set()
    for row, column in _cells(table, evaluation):
        value = table.reported(row.id).get(column.name) if row.reported else _printed_elsewhere(study, row, column)
        if value is not None:
            cells[row.id, column.name] = Point(0, float(value))
        guess |= {float(column.chance)} if column.chance is not None else set()
    return _sweep(study, table, evaluation, cells, recipes, guess)


def _printed_elsewhere(study: Study, row: TableRow, column: PaperColumn) -> float | None:
    """What any table prints for the recipe of `row` under the evaluation and on the set of `column`."""
    recipe = row.key_of(column.variant)
    for table in study.tables:
        for other in table.rows:
            for place in table.printed_columns() if other.reported else ():
                same = (place.evaluation, place.set) == (column.evaluation, column.set)
                if same and other.key_of(place.variant) == recipe:
                    return table.reported(other.id).get(place.name)
    return None


def _cells(table: PaperTable, evaluation: str) -> list[tuple[TableRow, PaperColumn]]:
    columns = [column for column in table.columns if column.evaluation == evaluation]
    return [(row, column) for row in table.rows for column in columns]


def _sweep(
    study: Study,
    table: PaperTable,
    evaluation: str,
    cells: Mapping[tuple[str, str], Point],
    recipes: Mapping[str, Mapping[str, Any]],
    chance: set[float],
) -> Sweep:
    """Sort the cells by (row, column) into curves; recipes that no run has are left out."""
    curves: dict[str, list[Point]] = {}
    baseline = None
    for row, column in _cells(table, evaluation):
        point, recipe = cells.get((row.id, column.name)), recipes.get(row.key_of(column.variant) or "")
        if point is None or recipe is None:
            continue
        if noise := recipe["options"].get("label_noise"):
            curves.setdefault(row.label, []).append(Point(noise["rate"], point.value, point.low, point.high))
        else:
            baseline = point
    (guess,) = chance if len(chance) == 1 else (None,)
    return Sweep(study.evaluations[evaluation].title, curves, baseline, guess)


def _sweeps(figure: SubFigure, title: str, sweeps: Sequence[Sweep]) -> dict[str, Any]:
    """A panel an evaluation; returns what the legend shows, by label."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold", color=INK)
    handles: dict[str, Any] = {}
    for axes, sweep in zip(figure.subplots(1, len(sweeps), squeeze=False)[0], sweeps, strict=True):
        handles |= _levels(axes, sweep)
        for number, (name, points) in enumerate(sweep.curves.items()):
            handles[name] = _curve(axes, points, number, (number - (len(sweep.curves) - 1) / 2) * _DODGE)
        if any(point.value is None for points in sweep.curves.values() for point in points):
            handles["failed to train"] = axes.plot([], [], "X", color=SOFT, markersize=5)[0]
        axes.set_title(sweep.title, fontsize=9)
        axes.set_xlabel("nominal noise rate γ", fontsize=8.5)
        axes.set_ylabel("accuracy (%)", fontsize=8.5)
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=8)
        axes.grid(axis="y")
    return handles


def _levels(axes: Axes, sweep: Sweep) -> dict[str, Any]:
    """The score without noise, with its interval as a band, and chance."""
    handles = {}
    if (base := sweep.baseline) is not None and base.value is not None:
        if base.low is not None and base.high is not None:
            axes.axhspan(base.low, base.high, color=RULE, alpha=0.6, linewidth=0)
        handles["CLIP, no noise"] = axes.axhline(base.value, color=SOFT, linewidth=1.2)
    if sweep.chance is not None:
        handles["chance"] = axes.axhline(sweep.chance, color=SOFT, linewidth=1.1, linestyle=":")
    return handles


def _curve(axes: Axes, points: Sequence[Point], number: int, shift: float) -> ErrorbarContainer:
    """A line through the scores, hollow where they have no interval; a cross on the axis where a run failed."""
    colour = COLOURS[number % len(COLOURS)]
    scored = sorted((point for point in points if point.value is not None), key=lambda point: point.rate)
    values = np.array([point.value for point in scored], float)
    ends = np.array([(point.low, point.high) for point in scored], float).reshape(-1, 2)
    bars = np.stack([values - ends[:, 0], ends[:, 1] - values]) if np.isfinite(ends).all() and len(ends) else None
    failed = [point.rate + shift for point in points if point.value is None]
    if failed:  # an empty line without clipping has no extent, which breaks the layout
        axes.plot(failed, [0] * len(failed), "X", color=colour, markersize=5, clip_on=False, zorder=5)
    return axes.errorbar(
        [point.rate + shift for point in scored],
        values,
        bars,
        color=colour,
        marker=MARKERS[number % len(MARKERS)],
        linestyle=LINES[number % len(LINES)],
        markersize=5,
        linewidth=1.4,
        elinewidth=1.2,
        markerfacecolor="none" if bars is None else colour,
    )


def _sweep_words(sweep: Sweep) -> str:
    """The curves of one evaluation in words."""
    words = []
    for name, points in sweep.curves.items():
        texts = [f"{p.rate:g}: {'failed to train' if p.value is None else f'{p.value:.1f}'}" for p in points]
        words.append(f"{name}, {', '.join(texts)}")
    base = sweep.baseline.value if sweep.baseline else None
    words += [f"without noise {base:.1f}"] if base is not None else []
    return f"{sweep.title}, percent by rate: {'; '.join(words) or 'nothing scored'}."

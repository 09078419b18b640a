"""Figures of training: a small panel a recipe, so that thirty of them can be told apart."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vlrepro.reporting.drawing import COLOURS, LINES, RULE, SOFT, Drawing, canvas, empty
from vlrepro.reporting.inputs import TrainedRun

_SMOOTHING = 40
"""A curve is a running mean over one step in so many."""
_POINTS = 80
"""About as many points are drawn of a curve, the last among them: more than a reader sees, less than a file feels."""
_ACROSS = 4
_HOW = (
    f"One panel a recipe, its framework in brackets. Line: mean over seeds of a running mean over 1/{_SMOOTHING} of "
    "the steps; blue band: range over seeds; grey band: range over all recipes of that framework."
)


def draw_loss(runs: Sequence[TrainedRun], histories: Mapping[str, pd.DataFrame]) -> Drawing:
    """Training loss against the step; `histories` maps a run's id to its history.

    The dotted line is the loss of a network that gives every picture the same output: the NT-Xent loss of SimCLR
    (Chen et al. 2020, equation 1) over 2 B - 1 equal terms is ln(2 B - 1).
    """
    return _draw(
        "curves",
        "Training loss",
        f"{_HOW} Dotted, for simclr: ln(2 B − 1), the loss of a network that tells nothing apart. Losses of different "
        "frameworks cannot be compared, and a lower loss is not a better network: views of one image are easier to "
        "match than views of two.",
        "loss (nats)",
        {"loss": "loss"},
        runs,
        histories,
    )


def draw_accuracy(runs: Sequence[TrainedRun], histories: Mapping[str, pd.DataFrame]) -> Drawing:
    """How often the right partner is the nearest, in percent, where a framework logs it."""
    return _draw(
        "accuracy",
        "Contrast and caption accuracy",
        f"{_HOW} Solid: how often an anchor's nearest picture in the batch is its own other view. Dashed, for "
        "frameworks that read captions: how often a picture's nearest caption is its own.",
        "accuracy (%)",
        {"contrast_accuracy": "contrast", "caption_accuracy": "caption"},
        runs,
        histories,
        scale=100,
    )


def draw_spread(runs: Sequence[TrainedRun], histories: Mapping[str, pd.DataFrame]) -> Drawing:
    """The spread of the projected features, which falls to 0 where a network collapses."""
    return _draw(
        "spread",
        "Spread of the outputs",
        f"{_HOW} The spread of the projections over a batch, as the framework logs it: near 0, all pictures look the "
        "same to the network.",
        "spread",
        {"spread": "spread"},
        runs,
        histories,
    )


def _draw(
    name: str,
    title: str,
    caption: str,
    unit: str,
    logs: Mapping[str, str],
    runs: Sequence[TrainedRun],
    histories: Mapping[str, pd.DataFrame],
    scale: float = 1,
) -> Drawing:
    """`logs` maps columns of the histories to words for them."""
    curves = _curves(logs, runs, histories, scale)
    frameworks = {run.name: run.recipe["framework"] for run in runs}
    names = sorted({name for name, _ in curves}, key=lambda name: _place(name, frameworks))
    down = -(-len(names) // _ACROSS)
    figure = canvas(0.6 + 1.35 * down if names else 1.5)
    if not names:
        empty(figure.subplots(), f"No run of this scale logs its {' or '.join(logs.values())}.")
    else:
        panels = figure.subplots(down, _ACROSS, squeeze=False, sharex=True)
        for axes in panels.flat[len(names) :]:
            axes.set_visible(False)
        sizes = {run.name: run.recipe["batch_size"] for run in runs}
        for axes, recipe in zip(panels.flat, names, strict=False):
            others = [curve for (other, _), curve in curves.items() if frameworks[other] == frameworks[recipe]]
            _band(axes, others)
            for number, log in enumerate(logs):
                if (recipe, log) in curves:
                    _curve(axes, curves[recipe, log], LINES[number])
            if name == "curves" and frameworks[recipe] == "simclr":
                axes.axhline(math.log(2 * sizes[recipe] - 1), color=SOFT, linestyle=":", linewidth=1.1)
            _panel(axes, recipe, frameworks[recipe])
        figure.supylabel(unit, fontsize=9)
        figure.supxlabel("training step", fontsize=9)
    words = [f"{recipe} ends at {curve['mean'].iloc[-1]:.2f}" for (recipe, _), curve in curves.items()]
    alt = f"{title}, a panel a recipe. {'; '.join(words) or 'Nothing was logged'}."
    return Drawing(name, title, caption, alt, figure)


def _place(name: str, frameworks: Mapping[str, str]) -> tuple[int, str, int]:
    """Panels by framework in the order of the runs, then in the order of the recipes."""
    order = list(dict.fromkeys(frameworks.values()))
    return order.index(frameworks[name]), frameworks[name], list(frameworks).index(name)


def _curves(
    logs: Mapping[str, str], runs: Sequence[TrainedRun], histories: Mapping[str, pd.DataFrame], scale: float
) -> dict[tuple[str, str], pd.DataFrame]:
    """(recipe, log) -> mean, low and high over seeds, at a few steps."""
    found: dict[tuple[str, str], pd.DataFrame] = {}
    for name in dict.fromkeys(run.name for run in runs):
        for log in logs:
            columns = [histories[run.id][log] for run in runs if run.name == name and log in histories[run.id]]
            if columns:
                lines = pd.concat([_smooth(scale * column) for column in columns], axis=1)
                lines = lines.iloc[:: -max(1, len(lines) // _POINTS)].iloc[::-1]
                values = {"mean": lines.mean(axis=1), "low": lines.min(axis=1), "high": lines.max(axis=1)}
                found[name, log] = pd.DataFrame(values)
    return found


def _smooth(values: pd.Series) -> pd.Series:
    return values.rolling(max(1, len(values) // _SMOOTHING), center=True, min_periods=1).mean()


def _band(axes: Axes, curves: Sequence[pd.DataFrame]) -> None:
    low = pd.concat([curve["low"] for curve in curves], axis=1).min(axis=1).sort_index()
    high = pd.concat([curve["high"] for curve in curves], axis=1).max(axis=1).sort_index()
    axes.fill_between(low.index, low, high, color=RULE, alpha=0.55, linewidth=0)
    bottom, top = float(np.nanmin(low)), float(np.nanmax(high))
    margin = 0.06 * (top - bottom) or 0.5
    axes.set_ylim(bottom - margin, top + margin)


def _curve(axes: Axes, curve: pd.DataFrame, line: str | tuple) -> None:
    axes.plot(curve.index, curve["mean"], color=COLOURS[0], linestyle=line, linewidth=1.4)
    axes.fill_between(curve.index, curve["low"], curve["high"], color=COLOURS[0], alpha=0.25, linewidth=0)


def _panel(axes: Axes, recipe: str, framework: str) -> None:
    name = recipe.replace("_", " ")
    axes.set_title(textwrap.fill(name if recipe == framework else f"{name} ({framework})", 24), fontsize=7.5)
    axes.tick_params(labelsize=7)
    axes.locator_params(axis="x", nbins=3)
    axes.locator_params(axis="y", nbins=4)
    axes.grid(axis="y")
    axes.margins(x=0.01)

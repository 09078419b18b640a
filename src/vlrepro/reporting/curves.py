"""Figures of training: a small panel a recipe, or a sweep of noise rates, so that seventy can be told apart."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlrepro.reporting.drawing import COLOURS, LINES, RULE, SOFT, Drawing, canvas, empty
from vlrepro.reporting.inputs import TrainedRun, failure_of

_SMOOTHING = 40
"""A curve is a running mean over one step in so many."""
_POINTS = 80
"""About as many points are drawn of a curve, the last among them: more than a reader sees, less than a file feels."""
_ACROSS = 4
_HOW = (
    "One panel a recipe, or recipes that differ in their noise rate γ alone; its framework in brackets. Line: mean "
    f"over seeds of a running mean over 1/{_SMOOTHING} of the steps; coloured band: range over seeds; grey band: range "
    "over all recipes of that framework and length."
)


@dataclass(frozen=True)
class Panel:
    """Recipes that share a panel, each with a word that tells it from the others, empty where it is alone."""

    title: str
    framework: str
    recipes: Mapping[str, str]


def draw_loss(slug: str, runs: Sequence[TrainedRun], histories: Mapping[str, pd.DataFrame]) -> Drawing:
    """Training loss against the step; `slug`: the study's, `histories` maps a run's id to its history.

    The dotted line is `blind_loss`. What failed to train is named in the caption.
    """
    failed = [f"{run.id}, {why}" for run in runs if (why := failure_of(histories[run.id]))]
    return _draw(
        "curves",
        slug,
        "Training loss",
        f"{_HOW} Dotted: the loss of a network that tells nothing apart, for simclr ln(2 B − 1), for clip and "
        "clip_label_noise ln B, with secondary labels 1 + γ times that. Losses of different frameworks cannot be "
        "compared, and a lower loss is not a better network: views of one image are easier to match than views of two."
        + (f" Failed to train: {'; '.join(failed)}." if failed else ""),
        "loss (nats)",
        {"loss": "loss"},
        runs,
        histories,
    )


def draw_accuracy(slug: str, runs: Sequence[TrainedRun], histories: Mapping[str, pd.DataFrame]) -> Drawing:
    """How often the right partner is the nearest, in percent, where a framework logs it."""
    return _draw(
        "accuracy",
        slug,
        "Contrast and caption accuracy",
        f"{_HOW} Solid: how often an anchor's nearest picture in the batch is its own other view. Dashed, for "
        "frameworks that read captions: how often a picture's nearest caption is its own.",
        "accuracy (%)",
        {"contrast_accuracy": "contrast", "caption_accuracy": "caption"},
        runs,
        histories,
        scale=100,
    )


def draw_spread(slug: str, runs: Sequence[TrainedRun], histories: Mapping[str, pd.DataFrame]) -> Drawing:
    """The spread of the projected features, which falls to 0 where a network collapses."""
    return _draw(
        "spread",
        slug,
        "Spread of the outputs",
        f"{_HOW} The spread of the projections over a batch, as the framework logs it: near 0, all pictures look the "
        "same to the network.",
        "spread",
        {"spread": "spread"},
        runs,
        histories,
    )


def blind_loss(recipe: Mapping[str, Any]) -> float | None:
    """The loss in nats of a network that gives every picture the same output, where the framework has a plain one.

    Of SimCLR (Chen et al. 2020, equation 1) the NT-Xent loss over 2 B - 1 equal terms is ln(2 B - 1). Of CLIP (Radford
    et al. 2021, figure 3) each cross entropy is over B equal terms, ln B, whatever the labels are; secondary labels
    ("When Noises Help", section 2.3) add gamma times the same.
    """
    batch = recipe["batch_size"]
    if recipe["framework"] == "simclr":
        return math.log(2 * batch - 1)
    if recipe["framework"] not in ("clip", "clip_label_noise"):
        return None
    noise = recipe["options"].get("label_noise", {})
    return math.log(batch) * (1 + noise["rate"] if noise.get("strategy") == "secondary" else 1)


def _draw(
    name: str,
    slug: str,
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
    logged = {recipe for recipe, _ in curves}
    panels = [panel for panel in panels_of(runs) if logged.intersection(panel.recipes)]
    figure = canvas(0.6 + 1.4 * -(-len(panels) // _ACROSS) if panels else 1.5)
    if not panels:
        empty(figure.subplots(), f"No run of this scale logs its {' or '.join(logs.values())}.")
    else:
        _fill_all(figure, panels, list(logs), curves, runs)
        for axes, panel in zip(figure.axes, panels, strict=False):
            if name == "curves":
                _mark_blind(axes, panel, runs)
            _mark_failed(axes, panel, runs, histories)
        figure.supylabel(unit, fontsize=9)
        figure.supxlabel("training step", fontsize=9)
    words = [f"{recipe} ends at {curve['mean'].iloc[-1]:.2f}" for (recipe, _), curve in curves.items()]
    alt = f"{title}, a panel a recipe or a sweep of noise rates. {'; '.join(words) or 'Nothing was logged'}."
    return Drawing(f"{name}_{slug}", title, caption, alt, figure, blank=not panels)


def panels_of(runs: Sequence[TrainedRun]) -> list[Panel]:
    """A panel a recipe, but one for recipes that differ in the rate of their label noise alone.

    Panels are ordered by framework as in the runs, then as the recipes are.
    """
    grouped: dict[str, dict[str, str]] = {}
    frameworks: dict[str, str] = {}
    for run in runs:
        noise = run.recipe["options"].get("label_noise")
        key = _without_rate(run.recipe) if noise else run.name
        grouped.setdefault(key, {})[run.name] = f"γ {noise['rate']:g}" if noise else ""
        frameworks[run.name] = run.recipe["framework"]
    panels = [Panel(_common(list(names)), frameworks[next(iter(names))], names) for names in grouped.values()]
    order = list(dict.fromkeys(frameworks.values()))
    return sorted(panels, key=lambda panel: order.index(panel.framework))


def _without_rate(recipe: Mapping[str, Any]) -> str:
    """What decides a run but for its seed and its noise rate."""
    noise = {name: value for name, value in recipe["options"]["label_noise"].items() if name != "rate"}
    rest = {name: value for name, value in recipe.items() if name != "seed"}
    return json.dumps(rest | {"options": recipe["options"] | {"label_noise": noise}}, sort_keys=True)


def _common(names: Sequence[str]) -> str:
    """What the names of several recipes begin with, without the digits of their rates."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return names[0] if len(names) == 1 else "".join(first for first, *_ in alike).rstrip("0123456789_")


def _curves(
    logs: Mapping[str, str], runs: Sequence[TrainedRun], histories: Mapping[str, pd.DataFrame], scale: float
) -> dict[tuple[str, str], pd.DataFrame]:
    """(recipe, log) -> mean, low and high over seeds, at a few steps."""
    found: dict[tuple[str, str], pd.DataFrame] = {}
    for name in dict.fromkeys(run.name for run in runs):
        for log in logs:
            found_of = [histories[run.id] for run in runs if run.name == name]
            columns = [history[log].dropna() for history in found_of if log in history]
            if any(map(len, columns)):
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


def _fill_all(
    figure: Figure,
    panels: Sequence[Panel],
    logs: Sequence[str],
    curves: Mapping[tuple[str, str], pd.DataFrame],
    runs: Sequence[TrainedRun],
) -> None:
    """Every panel with its curves, over the range of the recipes of its framework that train as long."""
    kinds = {run.name: (run.recipe["framework"], run.recipe["steps"]) for run in runs}
    # Beside a training of other length a shared axis would press the curves together.
    alike = len({kinds[recipe][1] for recipe, _ in curves}) == 1
    places = figure.subplots(-(-len(panels) // _ACROSS), _ACROSS, squeeze=False, sharex=alike)
    for axes in places.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(places.flat, panels, strict=False):
        kind = kinds[next(iter(panel.recipes))]
        _band(axes, [curve for (other, _), curve in curves.items() if kinds[other] == kind])
        _fill(axes, panel, logs, curves)
        _dress(axes, panel)


def _fill(axes: Axes, panel: Panel, logs: Sequence[str], curves: Mapping[tuple[str, str], pd.DataFrame]) -> None:
    """A line a recipe and log: a log has its line style, and a recipe beside others of its panel its colour too."""
    for place, (recipe, label) in enumerate(panel.recipes.items()):
        for number, log in enumerate(logs):
            if (recipe, log) in curves:
                curve, line = curves[recipe, log], LINES[(number + place) % len(LINES)]
                colour = COLOURS[place % len(COLOURS)]
                axes.plot(curve.index, curve["mean"], color=colour, linestyle=line, linewidth=1.3, label=label or None)
                axes.fill_between(curve.index, curve["low"], curve["high"], color=colour, alpha=0.2, linewidth=0)
    if len(panel.recipes) > 1:
        axes.legend(fontsize=5.5, loc="best", labelspacing=0.15, handlelength=1.8, borderaxespad=0.2)


def _mark_blind(axes: Axes, panel: Panel, runs: Sequence[TrainedRun]) -> None:
    """Dotted levels: what a network that tells nothing apart would lose."""
    levels = {blind_loss(run.recipe) for run in runs if run.name in panel.recipes}
    for level in sorted(level for level in levels if level is not None):
        axes.axhline(level, color=SOFT, linestyle=":", linewidth=1.1)


def _mark_failed(axes: Axes, panel: Panel, runs: Sequence[TrainedRun], histories: Mapping[str, pd.DataFrame]) -> None:
    """Say how many of a recipe's runs stopped because their loss was no longer finite."""
    words = []
    for recipe, label in panel.recipes.items():
        ended = [failure_of(histories[run.id]) for run in runs if run.name == recipe]
        if failed := len(ended) - ended.count(None):
            words.append(f"✕ {label}{': ' if label else ''}{failed} of {len(ended)} failed")
    if not words:
        return
    text = {"ha": "left", "va": "bottom", "fontsize": 6, "color": COLOURS[1]}
    axes.text(0.03, 0.03, "\n".join(words), transform=axes.transAxes, **text)


def _dress(axes: Axes, panel: Panel) -> None:
    name = panel.title.replace("_", " ")
    title = name if panel.title == panel.framework else f"{name} ({panel.framework})"
    axes.set_title(textwrap.fill(title, 24), fontsize=7.5)
    axes.tick_params(labelsize=7)
    axes.locator_params(axis="x", nbins=3)
    axes.locator_params(axis="y", nbins=4)
    axes.grid(axis="y")
    axes.margins(x=0.01)

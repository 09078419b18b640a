"""How much label noise there really is, beside the rate that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vlrepro.errors import UserError
from vlrepro.reporting.drawing import COLOURS, INK, LINES, SOFT, Drawing, canvas, empty
from vlrepro.reporting.inputs import TrainedRun

STRATEGIES = {
    "reselection": "Re-selection",
    "permutation": "Permutation",
    "secondary": "Secondary, sum of losses",
    "secondary_blend": "Secondary, blend of labels",
}


@dataclass(frozen=True)
class Realised:
    """The realised noise of all runs of one kind of noise: the mean over their steps, run by run, a share."""

    strategy: str
    columns: str
    rate: float
    batch_size: int
    shares: tuple[float, ...]

    @property
    def expected(self) -> float:
        """What the draws give on average."""
        return expected_noise(self.strategy, self.rate, self.batch_size, self.columns)


def expected_noise(strategy: str, rate: float, count: int, columns: str = "shared") -> float:
    """The expected share of label weight on wrong columns, of N = `count` rows at noise rate gamma = `rate`.

    With k = round(gamma N), a half rounded up ("When Noises Help", algorithms 1 to 3 and section 2.3):

        reselection       k/N (1 - 1/N)                a chosen row draws its own label with probability 1/N
        permutation       (k - 1)/N, at least 0        on average one of k rows keeps its label
        secondary         gamma/(1 + gamma) (1 - 1/N)  the same of all N, with weight gamma beside a true 1
        secondary_blend   gamma (1 - 1/N)              weights gamma and 1 - gamma, any of N labels a row

    Where the columns are `clean`, the labels of texts are all right, which halves the share. Raises `UserError` for
    another strategy.

    >>> expected_noise("permutation", 0.5, 8)
    0.375
    """
    chosen = int(rate * count + 0.5)
    drawn_wrong = 1 - 1 / count
    shares = {
        "reselection": chosen / count * drawn_wrong,
        "permutation": max(0, chosen - 1) / count,
        "secondary": rate / (1 + rate) * drawn_wrong,
        "secondary_blend": rate * drawn_wrong,
    }
    if strategy not in shares:
        raise UserError(f"label_noise.strategy {strategy!r} has no expected rate: choose one of {', '.join(shares)}")
    return shares[strategy] / 2 if columns == "clean" else shares[strategy]


def realised_noise(runs: Sequence[TrainedRun], histories: Mapping[str, pd.DataFrame]) -> list[Realised]:
    """What the runs with label noise logged, by strategy, columns, rate and batch; a run without a step is left out."""
    found = []
    for run in runs:
        noise, history = run.recipe["options"].get("label_noise"), histories[run.id]
        if noise and "label_noise" in history and history["label_noise"].notna().any():
            columns = noise.get("columns", "shared")
            kind = (list(STRATEGIES).index(noise["strategy"]), columns, noise["rate"], run.recipe["batch_size"])
            found.append((kind, float(history["label_noise"].mean())))
    kinds = groupby(sorted(found), key=lambda entry: entry[0])
    names = list(STRATEGIES)
    return [Realised(names[kind[0]], *kind[1:], tuple(share for _, share in shares)) for kind, shares in kinds]


def draw_realised(slug: str, runs: Sequence[TrainedRun], histories: Mapping[str, pd.DataFrame]) -> Drawing:
    """Nominal against realised noise, a panel a strategy, with what the draws give on average; `slug`: the study's."""
    found = realised_noise(runs, histories)
    figure = canvas(2.4 if found else 1.5)
    if found:
        _realised_panels(figure, found)
    else:
        empty(figure.subplots(), "No run of this scale has label noise.")
    heads = ("Strategy", "Texts to images", "Batch", "Nominal rate", "Expected, %", "Realised, %", "Range, %", "Runs")
    words = [f"{entry.strategy} {entry.rate:g}: {100 * np.mean(entry.shares):.1f} %" for entry in found]
    return Drawing(
        f"realised_{slug}",
        "Nominal and realised noise",
        "The share of all label weight, over both directions, that lies on a wrong picture or text, against the "
        "nominal rate γ. Marks: runs, each the mean over its steps. Line: what the draws give on average, for the "
        "batch size of the runs. Dotted: realised as nominal. Secondary labels are a second loss of weight γ beside "
        "the true one, so that less than half of the weight can ever be wrong.",
        f"Nominal and realised noise. {'; '.join(words) or 'No run has label noise'}.",
        figure,
        numbers=(heads, tuple(map(_realised_row, found))),
    )


def _realised_panels(figure: Figure, found: Sequence[Realised]) -> None:
    names = list(dict.fromkeys(entry.strategy for entry in found))
    panels = figure.subplots(1, len(names), squeeze=False, sharex=True, sharey=True)[0]
    rates = np.linspace(0.005, 0.995, 199)
    for axes, name in zip(panels, names, strict=True):
        entries = [entry for entry in found if entry.strategy == name]
        colour = COLOURS[list(STRATEGIES).index(name)]
        axes.plot([0, 1], [0, 1], color=SOFT, linestyle=":", linewidth=1.1)
        for number, (count, columns) in enumerate(dict.fromkeys((e.batch_size, e.columns == "clean") for e in entries)):
            expected = [expected_noise(name, rate, count, "clean" if columns else "shared") for rate in rates]
            axes.plot(rates, expected, color=INK, linewidth=1.1, linestyle=LINES[number % len(LINES)])
        points = [(entry.rate, share) for entry in entries for share in entry.shares]
        axes.plot(
            *zip(*points, strict=True), linestyle="none", marker="o", markersize=5, color=colour, fillstyle="none"
        )
        axes.set_title(STRATEGIES[name].replace(", ", ",\n"), fontsize=8.5)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axes.tick_params(labelsize=8)
        axes.grid()
    figure.supxlabel("nominal noise rate γ", fontsize=9)
    figure.supylabel("realised share", fontsize=9)


def _realised_row(entry: Realised) -> tuple[str, ...]:
    shares = [100 * share for share in entry.shares]
    return (
        STRATEGIES[entry.strategy],
        entry.columns,
        str(entry.batch_size),
        f"{entry.rate:g}",
        f"{100 * entry.expected:.2f}",
        f"{np.mean(shares):.2f}",
        f"{min(shares):.2f} to {max(shares):.2f}",
        str(len(shares)),
    )

"""Figures of captions and of the pairs mined from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlrepro.pairs.mining import Pairs
from vlrepro.pairs.purity import purity
from vlrepro.reporting.drawing import COLOURS, INK, Drawing, canvas, empty
from vlrepro.reporting.inputs import CRITERIA, CaptionFile, MinedPairs

_SHARE = ["share", "low", "high"]
_GROUPS = {
    "By caption: caption sources": "captions",
    "By caption, searched within a scope": "scopes",
    "Controls: not by caption": "controls",
}


def draw_purity(mined: Sequence[MinedPairs]) -> Drawing:
    """How often the two pictures of a pair share a concept or a class, for every kind of pairs, beside chance."""
    groups = {title: found for title, kind in _GROUPS.items() if (found := [p for p in mined if group_of(p) == kind])}
    heights = [len(found) for found in groups.values()]
    figure = canvas(1.1 + sum(0.45 + 0.5 * height for height in heights) if mined else 1.5)
    if not mined:
        empty(figure.subplots(), "No pairs were mined.")
    else:
        panels = figure.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
        for axes, (title, found) in zip(panels, groups.items(), strict=True):
            _purity_panel(axes, found)
            axes.set_title(title)
        panels[-1].set_xlabel("share of pairs (%)")
        handles = {
            label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=3, fontsize=9)
    return Drawing(
        "purity",
        "Pair purity",
        "How often a picture and its neighbour show the same concept or the same class, with 95 % Wilson intervals; "
        "diamonds: the level of pairs drawn at random from all pictures.",
        f"Pair purity. {' '.join(_purity_words(pairs) for pairs in mined) or 'No pairs.'}",
        figure,
    )


def group_of(pairs: MinedPairs) -> str:
    """What a kind of pairs is there for: `captions` compares sources, `scopes` scopes, `controls` neither."""
    if pairs.recipe["by"] != "caption":
        return "controls"
    return "captions" if pairs.recipe["scope"] == "global" else "scopes"


def _purity_panel(axes: Axes, found: Sequence[MinedPairs]) -> None:
    names = [pairs.name for pairs in found]
    criteria = [name for name in CRITERIA if any(name in pairs.criteria() for pairs in found)][:2]
    for number, name in enumerate(criteria):
        colour, shift = COLOURS[(0, 5)[number]], 0.38 * (number - (len(criteria) - 1) / 2)
        missing = dict.fromkeys(_SHARE, float("nan"))
        shares = pd.DataFrame([p.summary["purity"][name] if p.summary["pairs"] else missing for p in found])
        _bars(axes, shares, names, colour, shift, 0.36)
        axes.barh(0, 0, color=colour, label=CRITERIA[name])
        chance = [100 * pairs.summary["random_purity"][name] for pairs in found]
        axes.plot(chance, np.arange(len(found)) + shift, "d", color=COLOURS[1], markersize=6, label="drawn at random")


def _purity_words(pairs: MinedPairs) -> str:
    shares = {title: pairs.summary["purity"][name]["share"] for name, title in pairs.criteria().items()}
    return f"{pairs.name}: {', '.join(f'{title} {100 * share:.0f} %' for title, share in shares.items())}."


def _bars(
    axes: Axes, shares: pd.DataFrame, labels: Sequence[str], colour: str, shift: float = 0, height: float = 0.6
) -> None:
    """Horizontal bars of shares with intervals and the numbers; `shares` has share, low and high, one row a bar."""
    if not len(shares):
        return
    percent = 100 * shares[_SHARE].to_numpy(dtype=float)
    at = np.arange(len(shares)) + shift
    spread = np.clip([percent[:, 0] - percent[:, 1], percent[:, 2] - percent[:, 0]], 0, None)
    axes.barh(at, percent[:, 0], height=height, color=colour, alpha=0.85)
    if spread.any():
        axes.errorbar(percent[:, 0], at, xerr=spread, fmt="none", ecolor=INK, elinewidth=1.2, capsize=2.5)
    for place, (share, _, high) in zip(at, percent, strict=True):
        if np.isfinite(share):
            axes.annotate(
                f"{share:.1f}", (high, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9
            )
    axes.set_yticks(range(len(labels)), [label.replace("_", " ") for label in labels])
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 25))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def draw_captions(captions: Sequence[CaptionFile], mined: Sequence[MinedPairs]) -> Drawing:
    """The share of each kind of caption, and how good the pairs are that start from it.

    Sources of one kind, and pairs that were searched within a scope, are left out.
    """
    used = [
        (source, pairs)
        for source in captions
        for pairs in mined
        if pairs.recipe["captions"] == source.id and group_of(pairs) == "captions" and len(source.shares()) > 1
    ]
    kinds = [list(source.shares()) for source, _ in used]
    figure = canvas(1.0 + sum(0.7 + 0.42 * len(names) for names in kinds) if used else 2)
    panels = _caption_panels(figure, [len(names) for names in kinds])
    for (left, right), (source, pairs), names in zip(panels, used, kinds, strict=True):
        _bars(
            left, pd.DataFrame([[share] * 3 for share in source.shares().values()], columns=_SHARE), names, COLOURS[2]
        )
        left.set_title(f"captions: {source.name}", fontsize=9.5)
        _purity_by_kind(right, pairs, names)
        right.set_title(f"pairs: {pairs.name}", fontsize=9.5)
    if used:
        panels[-1][0].set_xlabel("share of captions (%)")
        panels[-1][1].set_xlabel("pairs from that kind that agree (%)")
        figure.legend(*panels[0][1].get_legend_handles_labels(), loc="outside lower right", fontsize=9, ncols=2)
    return Drawing(
        "captions",
        "Captions",
        "Left: what kinds of captions the training pictures have. Right: for pictures with a caption of that kind, how "
        "often the neighbour shows the same concept or class, with 95 % Wilson intervals.",
        _captions_alt(used, kinds),
        figure,
    )


def _caption_panels(figure: Figure, heights: Sequence[int]) -> Sequence[Sequence[Axes]]:
    if not heights:
        empty(figure.subplots(), "No captions of several kinds were used for mining.")
        return []
    return figure.subplots(len(heights), 2, squeeze=False, sharey="row", sharex="col", height_ratios=heights)


def purity_by_kind(pairs: MinedPairs, kinds: Sequence[str], criterion: str) -> pd.DataFrame:
    """Purity of the pairs whose source has a caption of each kind: columns share, low, high; NaN without such pairs."""
    rows = pairs.rows
    names = np.concatenate([rows[f"{criterion}_of_source"], rows[f"{criterion}_of_neighbour"]])
    found = []
    for kind in kinds:
        at = np.flatnonzero(rows["kind_of_source"] == kind)
        found.append(purity(Pairs(at, at + len(rows), np.empty(len(at), np.float32)), names))
    return pd.DataFrame(found, index=list(kinds), columns=_SHARE)


def _purity_by_kind(axes: Axes, pairs: MinedPairs, kinds: Sequence[str]) -> None:
    criteria = [name for name in ("concept", "label") if name in pairs.criteria()]
    for number, name in enumerate(criteria):
        shift = 0.38 * (number - (len(criteria) - 1) / 2)
        _bars(axes, purity_by_kind(pairs, kinds, name), kinds, COLOURS[(0, 5)[number]], shift, 0.36)
        axes.barh(0, 0, color=COLOURS[(0, 5)[number]], label=CRITERIA[name])


def _captions_alt(used: Sequence[tuple[CaptionFile, MinedPairs]], kinds: Sequence[Sequence[str]]) -> str:
    words = []
    for (source, pairs), names in zip(used, kinds, strict=True):
        counts = source.shares()
        criterion = next(iter(pairs.criteria()), "group")
        shares = purity_by_kind(pairs, names, criterion)["share"]
        words += [
            f"{name}: {100 * counts[name]:.0f} % of captions, pairs {100 * shares[name]:.0f} % {CRITERIA[criterion]}"
            for name in names
        ]
    return f"Caption kinds. {'; '.join(words) or 'No captions'}."

"""How figures look, and how they become files: SVG with the same bytes for the same numbers.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), which colour-blind readers tell apart; nothing
is said by colour alone. A small style sheet inside each file turns ink and ground on dark screens.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlrepro.files import write_text

INK, SOFT, RULE, GROUND = "#1f2328", "#57606a", "#d0d7de", "#ffffff"
_DARK = {INK: "#e6edf3", SOFT: "#9da7b3", RULE: "#3d444d", GROUND: "#12161c", "#0072b2": "#4aa8e0"}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "D", "^", "v", "P")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
WIDTH = 7.2
"""Inches; the page shows a figure no wider than this many times 96 pixels or so, which keeps text readable."""

_STYLE = {
    "svg.hashsalt": "vlrepro",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "figure.facecolor": GROUND,
    "axes.facecolor": "none",
    "lines.linewidth": 1.8,
}


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name (without ending), its title, what it shows, and a text for who cannot see it.

    `numbers` are the headings and the lines of a table of what is drawn, where no other table has it; `blank` says that
    there is nothing to see.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure
    numbers: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None
    blank: bool = False

    def texts(self) -> dict[str, Any]:
        """All but the figure, as JSON holds it."""
        words = {"name": self.name, "title": self.title, "caption": self.caption, "alt": self.alt}
        return words | {"numbers": self.numbers, "blank": self.blank}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save under matplotlib's defaults and ours, whatever the user's own settings are."""
    with style.context(["default", _STYLE]):
        yield


def canvas(height: float) -> Figure:
    """A figure of the report's width, `height` inches high."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def save(drawing: Drawing, folder: str | Path) -> Path:
    """Write `<name>.svg` into `folder`; its bytes hold no date and no version."""
    stream = io.StringIO()
    with house_style():
        drawing.figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    path = Path(folder) / f"{drawing.name}.svg"
    write_text(path, _for_dark_screens(stream.getvalue()))
    return path


def empty(axes: Axes, words: str) -> None:
    """Say on an axes why there is nothing to see."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes, color=SOFT)


def _for_dark_screens(svg: str) -> str:
    """The same picture with a rule for dark screens, by colour, since matplotlib writes colours as inline styles."""
    rules = "".join(
        f'[style*="{name}: {light}"]{{{name}:{dark}!important}}'
        for light, dark in _DARK.items()
        for name in ("fill", "stroke")
    )
    start = svg.index(">", svg.index("<svg")) + 1
    return f"{svg[:start]}\n <style>@media screen and (prefers-color-scheme:dark){{{rules}}}</style>{svg[start:]}"

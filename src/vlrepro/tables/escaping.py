"""Texts made safe for HTML, Markdown and LaTeX; every text that we render passes one of these."""

from __future__ import annotations

import html
from collections.abc import Sequence

_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "{}%&_#$"}
    | {character: f"{{{character}}}" for character in "[]*"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {"−": "$-$", "–": "--", "…": r"\ldots{}", "×": r"$\times$"}
    | {"γ": r"$\gamma$", "α": r"$\alpha$", "β": r"$\beta$"}
    | {"▲": r"$\uparrow$", "▼": r"$\downarrow$", "○": r"$\circ$"}
)
"""Brackets and stars go in braces because LaTeX takes one after a line break for an argument of the break."""

_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_|[]"} | {"<": "&lt;", "&": "&amp;"})


def one_line(text: str) -> str:
    """`text` with every run of white space as one space."""
    return " ".join(text.split())


def as_html(text: str) -> str:
    """`text` as one line of HTML text or attribute."""
    return html.escape(one_line(text))


def as_markdown(text: str) -> str:
    """`text` as one line of Markdown without markup."""
    return one_line(text).translate(_MARKDOWN)


def as_latex(text: str) -> str:
    """`text` as one line of LaTeX without commands."""
    return one_line(text).translate(_LATEX)


def pipes(cells: Sequence[str]) -> str:
    """One line of a Markdown pipe table."""
    return f"| {' | '.join(cells)} |"

"""Tables and claims as CSV, Markdown, LaTeX, HTML and JSON; the same input always gives the same bytes.

Shares become percentages here and nowhere earlier. Every text is escaped for its format.
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from vlrepro.tables.layout import Cell, Part, Row, Table
from vlrepro.tables.verdicts import JudgedClaim, Verdict, explain, signed_points

CSV_COLUMNS = ("table", "block", "row", "column", "value", "low", "high", "n_seeds", "covers", "status", "source")
_BLANK = "–"
MARKS = {"supported": "✔", "contradicted": "✘", "undecided": "○", "pending": "…", "not run": "–", "not testable": "–"}
_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "{}%&_#$"}
    | {character: f"{{{character}}}" for character in "[]*"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {"−": "$-$", "–": "--", "…": r"\ldots{}", "×": r"$\times$"}
    | {"▲": r"$\uparrow$", "▼": r"$\downarrow$", "○": r"$\circ$"}
)
"""Brackets and stars go in braces because LaTeX takes one after a line break for an argument of the break."""

_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_|[]"} | {"<": "&lt;", "&": "&amp;"})


@dataclass(frozen=True)
class Shown:
    """A cell as text: the number or the reason for none, its interval, the sign of a difference, a note."""

    value: str
    interval: str = ""
    symbol: str = ""
    sign: str = ""
    note: str = ""


def show(cell: Cell, part: Part) -> Shown:
    """The texts of a cell, to one decimal; in a part of differences with the sign that its interval allows."""
    if cell.value is None:
        return Shown(_BLANK if cell.status == "blank" else cell.status)
    number = signed_points if part.kind == "difference" else _percent
    if cell.low is None or cell.high is None:
        return Shown(number(cell.value))
    symbol, sign = _sign(cell.low, cell.high) if part.kind == "difference" else ("", "")
    note = f"n={cell.n_seeds}" if (cell.n_seeds or 0) < part.most_seeds() else ""
    return Shown(number(cell.value), f"[{number(cell.low)}, {number(cell.high)}]", symbol, sign, note)


def to_csv(table: Table) -> str:
    """One line a cell with the columns `CSV_COLUMNS`; numbers in percent or percentage points.

    `block` is "paired difference" for differences; `source` is `ours` or `paper`; what is not there is empty.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for part in table.parts:
        for row in part.rows:
            block = "paired difference" if part.kind == "difference" else row.block or ""
            for column, cell in zip(part.columns, row.cells, strict=True):
                numbers = [_exact(value) for value in (cell.value, cell.low, cell.high)]
                source = "paper" if part.kind == "paper" else "ours"
                place = [f"{table.slug}_table{table.number}", block, row.label, column.title]
                writer.writerow([*place, *numbers, cell.n_seeds, cell.covers, cell.status, source])
    return stream.getvalue()


def to_markdown(table: Table) -> str:
    """A heading, one pipe table a part, and the footnotes as a list."""
    lines = [f"### Table {table.number}: {_markdown(table.title)}"]
    for part in table.parts:
        titles = [_markdown(column.title) for column in part.columns]
        lines += ["", f"**{_markdown(part.heading)}**", "", _pipes(["Model", *titles])]
        lines.append(_pipes(["---", *("--:" for _ in titles)]))
        for block, rows in _blocks(part):
            if block:
                lines.append(_pipes([f"*{_markdown(block)}*", *("" for _ in titles)]))
            lines += [_pipes([_markdown(row.label), *(_markdown_cell(c, part) for c in row.cells)]) for row in rows]
    lines += ["", *(f"- {_markdown(note)}" for note in table.footnotes)]
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    """A `table` environment, one booktabs tabular a part; needs the packages booktabs and graphicx.

    A tabular that is wider than the line is shrunk to it.
    """
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage{graphicx}",
        r"\begin{table}[p]",
        r"\centering",
        rf"\caption{{{_latex(table.title)}}}\label{{tab:{table.slug}-{table.number}}}",
    ]
    for part in table.parts:
        lines += _latex_part(part)
    lines += [r"\par\medskip\begin{minipage}{\linewidth}\scriptsize\raggedright"]
    lines += [rf"{_latex(note)}\par" for note in table.footnotes]
    return "\n".join([*lines, r"\end{minipage}", r"\end{table}"]) + "\n"


def to_html(table: Table) -> str:
    """A `<section>` with one captioned table a part; no styles, no scripts, class names for a style sheet."""
    name = html.escape(f"{table.slug}-table-{table.number}")
    lines = [
        f'<section class="result-table" id="{name}">',
        f"<h3>Table {table.number}: {_html(table.title)}</h3>",
    ]
    for part in table.parts:
        lines += _html_part(part)
    lines.append('<ul class="footnotes">')
    lines += [f"<li>{_html(note)}</li>" for note in table.footnotes]
    return "\n".join([*lines, "</ul>", "</section>"]) + "\n"


def claims_to_markdown(claims: Sequence[JudgedClaim], scale: str) -> str:
    """One section a claim: the sentence, its testable form, both verdicts with what decided them."""
    blocks = []
    for judged in claims:
        claim = judged.claim
        blocks.append(
            f"#### {_markdown(claim.statement)}\n\n"
            f"> {_markdown(claim.quote)} ({_markdown(claim.where)})\n\n"
            + (f"{_markdown(claim.reading)}\n\n" if claim.reading else "")
            + "\n".join(
                f"- {_markdown(source)}: {MARKS[verdict.outcome]} **{verdict.wording}**. {_markdown(reason)}"
                for source, verdict, reason in _verdicts(judged, scale)
            )
        )
    return "\n\n".join(blocks) + "\n"


def claims_to_html(claims: Sequence[JudgedClaim], scale: str) -> str:
    """A `<section>` with one article a claim; outcomes are written out, with a symbol beside the word."""
    lines = ['<section class="claims">']
    for judged in claims:
        claim = judged.claim
        lines += [
            f'<article class="claim claim-{claim.kind}" id="claim-{claim.id}">',
            f"<h4>{_html(claim.statement)}</h4>",
            f"<blockquote><p>{_html(claim.quote)}</p><p><cite>{_html(claim.where)}</cite></p></blockquote>",
        ]
        if claim.reading:
            lines.append(f'<p class="reading">{_html(claim.reading)}</p>')
        lines += ["<dl>", *(_html_verdict(*entry) for entry in _verdicts(judged, scale)), "</dl>", "</article>"]
    return "\n".join([*lines, "</section>"]) + "\n"


def claims_to_json(claims: Sequence[JudgedClaim], scale: str) -> str:
    """A JSON list, one object a claim; differences in percentage points."""
    entries = []
    for judged in claims:
        verdicts = zip(("ours", "reported"), _verdicts(judged, scale), strict=True)
        entries.append(
            judged.claim.model_dump()
            | {"scale": scale, "row_a": judged.row_a, "row_b": judged.row_b}
            | {name: _verdict_values(verdict, reason) for name, (_, verdict, reason) in verdicts}
        )
    return json.dumps(entries, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")


def _exact(share: float | None) -> float | str:
    """Percent to four decimals, never a negative zero."""
    return "" if share is None else round(100 * share, 4) + 0.0


def _sign(low: float, high: float) -> tuple[str, str]:
    if low > 0:
        return "▲", "higher"
    return ("▼", "lower") if high < 0 else ("○", "undecided")


def _blocks(part: Part) -> list[tuple[str | None, list[Row]]]:
    """Consecutive rows of the same block."""
    return [(block, list(rows)) for block, rows in groupby(part.rows, key=lambda row: row.block)]


def _line(text: str) -> str:
    return " ".join(text.split())


def _html(text: str) -> str:
    return html.escape(_line(text))


def _markdown(text: str) -> str:
    return _line(text).translate(_MARKDOWN)


def _latex(text: str) -> str:
    return _line(text).translate(_LATEX)


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Cell, part: Part) -> str:
    shown = show(cell, part)
    words = [shown.value, shown.interval, shown.symbol, shown.sign, f"({shown.note})" if shown.note else ""]
    return " ".join(word for word in words if word)


def _latex_part(part: Part) -> list[str]:
    titles = [_latex(column.title) for column in part.columns]
    lines = [
        rf"\par\medskip\textbf{{{_latex(part.heading)}}}\par\smallskip",
        r"\sbox0{%",
        rf"\begin{{tabular}}{{@{{}}l{'c' * len(titles)}@{{}}}}",
        r"\toprule",
        " & ".join(["Model", *titles]) + r" \\",
        r"\midrule",
    ]
    for block, rows in _blocks(part):
        if block:
            lines.append(rf"\multicolumn{{{len(titles) + 1}}}{{@{{}}l}}{{\emph{{{_latex(block)}}}}} \\")
        lines += [" & ".join([_latex(row.label), *(_latex_cell(c, part) for c in row.cells)]) + r" \\" for row in rows]
    fit = r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi"
    return [*lines, r"\bottomrule", r"\end{tabular}}", fit]


def _latex_cell(cell: Cell, part: Part) -> str:
    shown = show(cell, part)
    value = _latex(f"{shown.value} {shown.symbol}")
    small = _latex(f"{shown.interval} {shown.note}")
    return rf"\shortstack{{{value}\\{{\scriptsize {small}}}}}" if small else value


def _html_part(part: Part) -> list[str]:
    heads = "".join(f'<th scope="col">{_html(column.title)}</th>' for column in part.columns)
    lines = [
        f'<table class="cells cells-{part.kind}">',
        f"<caption>{_html(part.heading)}</caption>",
        f'<thead><tr><th scope="col">Model</th>{heads}</tr></thead>',
    ]
    for block, rows in _blocks(part):
        lines.append("<tbody>")
        if block:
            span = len(part.columns) + 1
            lines.append(f'<tr class="block"><th scope="rowgroup" colspan="{span}">{_html(block)}</th></tr>')
        for row in rows:
            cells = "".join(_html_cell(cell, part) for cell in row.cells)
            lines.append(f'<tr><th scope="row">{_html(row.label)}</th>{cells}</tr>')
        lines.append("</tbody>")
    return [*lines, "</table>"]


def _html_cell(cell: Cell, part: Part) -> str:
    shown = show(cell, part)
    text = f'<span class="value">{_html(shown.value)}</span>'
    if shown.interval:
        text += f'<br><span class="interval">{_html(shown.interval)}</span>'
    if shown.sign:
        text += f'<br><span class="sign sign-{shown.sign}">{shown.symbol} {shown.sign}</span>'
    if shown.note:
        text += f'<br><span class="note">{_html(shown.note)}</span>'
    return f'<td class="{cell.status.replace(" ", "-")}">{text}</td>'


def _verdicts(judged: JudgedClaim, scale: str) -> list[tuple[str, Verdict, str]]:
    """(whose numbers, verdict, what decided it), the re-run first."""
    pairs = ((f"Re-run, scale {scale}", judged.ours), ("The paper's printed cells", judged.reported))
    return [(source, verdict, explain(verdict, judged.claim.test, judged.example)) for source, verdict in pairs]


def _html_verdict(source: str, verdict: Verdict, reason: str) -> str:
    name = verdict.outcome.replace(" ", "-")
    outcome = f'<strong class="verdict verdict-{name}">{MARKS[verdict.outcome]} {verdict.wording}</strong>'
    return f"<dt>{_html(source)}</dt><dd>{outcome} {_html(reason)}</dd>"


def _verdict_values(verdict: Verdict, reason: str) -> dict[str, Any]:
    values: dict[str, Any] = {"outcome": verdict.outcome, "wording": verdict.wording, "reason": reason}
    values |= {"difference": None, "counts": None}
    if verdict.difference is not None:
        mean = asdict(verdict.difference)
        values["difference"] = mean | {key: _exact(mean[key]) for key in ("value", "low", "high")}
    if verdict.counts is not None:
        values["counts"] = asdict(verdict.counts)
    return values

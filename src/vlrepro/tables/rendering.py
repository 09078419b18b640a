"""Tables as CSV, Markdown, LaTeX and HTML; the same input always gives the same bytes.

Shares become percentages here and nowhere earlier. Every text is escaped for its format.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from itertools import groupby

from vlrepro.tables.escaping import as_html, as_latex, as_markdown, pipes
from vlrepro.tables.parts import Cell, Column, Part, Row, Table
from vlrepro.tables.verdicts import signed_points

CSV_COLUMNS = (
    *("table", "block", "row", "evaluation", "column", "value", "low", "high", "n_seeds", "covers", "status", "source"),
)
_BLANK = "–"


@dataclass(frozen=True)
class Shown:
    """A cell as text: the number or the reason for none, its interval, the sign of a difference, a note."""

    value: str
    interval: str = ""
    symbol: str = ""
    sign: str = ""
    note: str = ""


def show(cell: Cell, part: Part) -> Shown:
    """The texts of a cell, to one decimal or as printed; of a difference with the sign that its interval allows."""
    if cell.value is None:
        return Shown(_BLANK if cell.status == "blank" else cell.text or cell.status)
    if cell.text is not None:
        return Shown(cell.text)
    if cell.unit == "count":
        return Shown(f"{cell.value:,.0f}")
    number = signed_points if part.kind == "difference" else _percent
    if cell.low is None or cell.high is None:
        return Shown(number(cell.value))
    symbol, sign = _sign(cell.low, cell.high) if part.kind == "difference" else ("", "")
    note = f"n={cell.n_seeds}" if (cell.n_seeds or 0) < part.most_seeds() else ""
    return Shown(number(cell.value), f"[{number(cell.low)}, {number(cell.high)}]", symbol, sign, note)


def to_csv(table: Table) -> str:
    """One line a cell with the columns `CSV_COLUMNS`; numbers in percent or percentage points.

    `block` is "paired difference" for differences; `source` is `ours` or `paper`; what is not there is empty.
    `column` is "Avg" for a mean over data sets. A heading above the columns' own stands before the column, before the
    evaluation of a mean. A count, such as that of parameters, is given as it is.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for part in (*table.parts, *table.details):
        for row in part.rows:
            block = "paired difference" if part.kind == "difference" else row.block or ""
            for column, cell in zip(part.columns, row.cells, strict=True):
                exact = int if cell.unit == "count" else exact_percent
                numbers = ["" if value is None else exact(value) for value in (cell.value, cell.low, cell.high)]
                source = "paper" if part.kind == "paper" else "ours"
                place = [f"{table.slug}_{table.name}", block, row.label, *_csv_column(column)]
                writer.writerow([*place, *numbers, cell.n_seeds, cell.covers, cell.status, source])
    return stream.getvalue()


def _csv_column(column: Column) -> tuple[str, str]:
    """(evaluation, column)."""
    if column.average:
        return ", ".join(text for text in (column.group, column.evaluation) if text), "Avg"
    return column.evaluation, column.full_title()


def to_markdown(table: Table) -> str:
    """A heading, one pipe table a part, and the footnotes as a list."""
    lines = [f"### {as_markdown(table.heading)}"]
    for part in table.parts:
        titles = [as_markdown(column.title) for column in part.columns]
        lines += ["", f"**{as_markdown(part.heading)}**", "", *_markdown_head(part)]
        for block, rows in _blocks(part):
            if block:
                lines.append(pipes([f"*{as_markdown(block)}*", *("" for _ in titles)]))
            lines += [pipes([as_markdown(row.label), *(_markdown_cell(c, part) for c in row.cells)]) for row in rows]
    lines += ["", *(f"- {as_markdown(note)}" for note in table.footnotes)]
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    """A `table` environment, one booktabs tabular a part; needs the packages booktabs and graphicx.

    A tabular that is wider than the line is shrunk to it.
    """
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage{graphicx}",
        r"\begin{table}[p]",
        r"\centering",
        rf"\caption{{{as_latex(table.title)}}}\label{{tab:{table.slug}-{table.name}}}",
    ]
    for part in table.parts:
        lines += _latex_part(part)
    lines += [r"\par\medskip\begin{minipage}{\linewidth}\scriptsize\raggedright"]
    lines += [rf"{as_latex(note)}\par" for note in table.footnotes]
    return "\n".join([*lines, r"\end{minipage}", r"\end{table}"]) + "\n"


def to_html(table: Table) -> str:
    """A `<section>` with one captioned table a part; no styles, no scripts, class names for a style sheet."""
    name = as_html(f"{table.slug}-{table.name}")
    lines = [
        f'<section class="result-table" id="{name}">',
        f"<h3>{as_html(table.heading)}</h3>",
    ]
    for part in table.parts:
        lines += _html_part(part)
    lines.append('<ul class="footnotes">')
    lines += [f"<li>{as_html(note)}</li>" for note in table.footnotes]
    return "\n".join([*lines, "</ul>", "</section>"]) + "\n"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")


def exact_percent(share: float) -> float:
    """Percent to four decimals, never a negative zero."""
    return round(100 * share, 4) + 0.0


def _sign(low: float, high: float) -> tuple[str, str]:
    if low > 0:
        return "▲", "higher"
    return ("▼", "lower") if high < 0 else ("○", "undecided")


def _blocks(part: Part) -> list[tuple[str | None, list[Row]]]:
    """Consecutive rows of the same block."""
    return [(block, list(rows)) for block, rows in groupby(part.rows, key=lambda row: row.block)]


def _markdown_cell(cell: Cell, part: Part) -> str:
    shown = show(cell, part)
    words = [shown.value, shown.interval, shown.symbol, shown.sign, f"({shown.note})" if shown.note else ""]
    return " ".join(word for word in words if word)


def _markdown_head(part: Part) -> list[str]:
    """The headings; of two lines the second is a row of the table, since Markdown has one line of them."""
    titles = [as_markdown(column.title) for column in part.columns]
    line = pipes(["---", *("--:" for _ in titles)])
    if not part.groups():
        return [pipes(["Model", *titles]), line]
    groups = [text for group, n in part.groups() for text in (as_markdown(group), *[""] * (n - 1))]
    return [pipes(["Model", *groups]), line, pipes(["", *(f"**{title}**" for title in titles)])]


def _latex_part(part: Part) -> list[str]:
    titles = [as_latex(column.title) for column in part.columns]
    lines = [
        rf"\par\medskip\textbf{{{as_latex(part.heading)}}}\par\smallskip",
        r"\sbox0{%",
        rf"\begin{{tabular}}{{@{{}}l{'c' * len(titles)}@{{}}}}",
        r"\toprule",
        *_latex_groups(part),
        " & ".join(["Model", *titles]) + r" \\",
        r"\midrule",
    ]
    for block, rows in _blocks(part):
        if block:
            lines.append(rf"\multicolumn{{{len(titles) + 1}}}{{@{{}}l}}{{\emph{{{as_latex(block)}}}}} \\")
        lines += [
            " & ".join([as_latex(row.label), *(_latex_cell(c, part) for c in row.cells)]) + r" \\" for row in rows
        ]
    fit = r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi"
    return [*lines, r"\bottomrule", r"\end{tabular}}", fit]


def _latex_groups(part: Part) -> list[str]:
    """The line of headings above the columns' own, ruled below each; nothing where there is none."""
    cells, rules, at = [""], [], 2
    for group, n in part.groups():
        cells.append(rf"\multicolumn{{{n}}}{{c}}{{{as_latex(group)}}}")
        rules += [rf"\cmidrule(lr){{{at}-{at + n - 1}}}"] if group else []
        at += n
    return [" & ".join(cells) + r" \\", "".join(rules)] if part.groups() else []


def _latex_cell(cell: Cell, part: Part) -> str:
    shown = show(cell, part)
    value = as_latex(f"{shown.value} {shown.symbol}")
    small = as_latex(f"{shown.interval} {shown.note}")
    return rf"\shortstack{{{value}\\{{\scriptsize {small}}}}}" if small else value


def _html_part(part: Part) -> list[str]:
    grouped = " grouped" if part.groups() else ""
    lines = [
        f'<table class="cells cells-{part.kind}{grouped}">',
        f"<caption>{as_html(part.heading)}</caption>",
        *_html_head(part),
    ]
    for block, rows in _blocks(part):
        lines.append("<tbody>")
        if block:
            span = len(part.columns) + 1
            lines.append(f'<tr class="block"><th scope="rowgroup" colspan="{span}">{as_html(block)}</th></tr>')
        for row in rows:
            cells = "".join(_html_cell(cell, part) for cell in row.cells)
            lines.append(f'<tr><th scope="row">{as_html(row.label)}</th>{cells}</tr>')
        lines.append("</tbody>")
    return [*lines, "</table>"]


def _html_head(part: Part) -> list[str]:
    heads = "".join(f'<th scope="col">{as_html(column.title)}</th>' for column in part.columns)
    if not part.groups():
        return [f'<thead><tr><th scope="col">Model</th>{heads}</tr></thead>']
    spans = "".join(f'<colgroup span="{n}"></colgroup>' for _, n in part.groups())
    groups = "".join(
        f'<th scope="colgroup" colspan="{n}">{as_html(group)}</th>' if group else f'<td colspan="{n}"></td>'
        for group, n in part.groups()
    )
    return [
        f"<colgroup></colgroup>{spans}",
        f'<thead><tr><th scope="col" rowspan="2">Model</th>{groups}</tr>',
        f"<tr>{heads}</tr></thead>",
    ]


def _html_cell(cell: Cell, part: Part) -> str:
    shown = show(cell, part)
    text = f'<span class="value">{as_html(shown.value)}</span>'
    if shown.interval:
        text += f'<br><span class="interval">{as_html(shown.interval)}</span>'
    if shown.sign:
        text += f'<br><span class="sign sign-{shown.sign}">{shown.symbol} {shown.sign}</span>'
    if shown.note:
        text += f'<br><span class="note">{as_html(shown.note)}</span>'
    return f'<td class="{cell.status.replace(" ", "-")}">{text}</td>'

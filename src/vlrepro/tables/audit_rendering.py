"""Audit findings as JSON, Markdown and HTML; the same input always gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from vlrepro.tables.audit import Finding
from vlrepro.tables.escaping import as_html, as_markdown, pipes

_HEADS = ("Kind", "Place", "Finding")
_NOTHING = "Nothing was found."


def audit_to_json(findings: Sequence[Finding]) -> str:
    """A JSON list of objects with kind, place and text."""
    return json.dumps([asdict(finding) for finding in findings], indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def audit_to_markdown(findings: Sequence[Finding]) -> str:
    """One pipe table."""
    if not findings:
        return f"{_NOTHING}\n"
    rows = [[as_markdown(text) for text in (finding.kind, finding.place, finding.text)] for finding in findings]
    return "\n".join(pipes(cells) for cells in (_HEADS, ("---",) * 3, *rows)) + "\n"


def audit_to_html(findings: Sequence[Finding]) -> str:
    """A `<section>` with one table; no styles, no scripts, class names for a style sheet."""
    if not findings:
        return f'<section class="audit">\n<p>{_NOTHING}</p>\n</section>\n'
    heads = "".join(f'<th scope="col">{head}</th>' for head in _HEADS)
    lines = ['<section class="audit">', "<table>", f"<thead><tr>{heads}</tr></thead>", "<tbody>"]
    for finding in findings:
        cells = "".join(f"<td>{as_html(text)}</td>" for text in (finding.place, finding.text))
        lines.append(f'<tr class="finding-{finding.kind}"><th scope="row">{finding.kind}</th>{cells}</tr>')
    return "\n".join([*lines, "</tbody>", "</table>", "</section>"]) + "\n"

"""Judged claims as Markdown, HTML and JSON; the same input always gives the same bytes.

Shares become percentage points here and nowhere earlier. Every text is escaped for its format.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vlrepro.tables.escaping import as_html, as_markdown
from vlrepro.tables.judging import JudgedClaim
from vlrepro.tables.rendering import exact_percent
from vlrepro.tables.statistics import Interval
from vlrepro.tables.verdicts import Verdict, explain

MARKS = {"supported": "✔", "contradicted": "✘", "undecided": "○", "pending": "…", "not run": "–", "not testable": "–"}


def claims_to_markdown(claims: Sequence[JudgedClaim], scale: str) -> str:
    """One section a claim: the sentence, its testable form, both verdicts with what decided them."""
    return "\n\n".join(_markdown_claim(judged, scale) for judged in claims) + "\n"


def _markdown_claim(judged: JudgedClaim, scale: str) -> str:
    claim = judged.claim
    quotes = [(claim.quote, claim.where), *((version.quote, version.where) for version in claim.versions)]
    parts = [
        f"#### {as_markdown(claim.statement)}",
        *(f"> {as_markdown(quote)} ({as_markdown(where)})" for quote, where in quotes),
        *([as_markdown(claim.reading)] if claim.reading else []),
        "\n".join(
            f"- {as_markdown(source)}: {MARKS[verdict.outcome]} **{verdict.wording}**. {as_markdown(reason)}"
            for source, verdict, reason in _verdicts(judged, scale)
        ),
    ]
    return "\n\n".join(parts)


def claims_to_html(claims: Sequence[JudgedClaim], scale: str) -> str:
    """A `<section>` with one article a claim; outcomes are written out, with a symbol beside the word."""
    lines = ['<section class="claims">']
    for judged in claims:
        claim = judged.claim
        lines += [
            f'<article class="claim claim-{claim.kind}" id="claim-{claim.id}">',
            f"<h4>{as_html(claim.statement)}</h4>",
            _html_quote(claim.quote, claim.where),
            *(_html_quote(version.quote, version.where) for version in claim.versions),
        ]
        if claim.reading:
            lines.append(f'<p class="reading">{as_html(claim.reading)}</p>')
        lines += ["<dl>", *(_html_verdict(*entry) for entry in _verdicts(judged, scale)), "</dl>", "</article>"]
    return "\n".join([*lines, "</section>"]) + "\n"


def claims_to_json(claims: Sequence[JudgedClaim], scale: str) -> str:
    """A JSON list, one object a claim; differences in percentage points, rank correlations as they are."""
    entries = []
    for judged in claims:
        verdicts = zip(("ours", "reported"), _verdicts(judged, scale), strict=True)
        entries.append(
            judged.claim.model_dump()
            | {"scale": scale, "comparisons": judged.comparisons}
            | {name: _verdict_values(verdict, reason) for name, (_, verdict, reason) in verdicts}
        )
    return json.dumps(entries, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _verdicts(judged: JudgedClaim, scale: str) -> list[tuple[str, Verdict, str]]:
    """(whose numbers, verdict, what decided it), the re-run first."""
    pairs = ((f"Re-run, scale {scale}", judged.ours), ("The paper's printed cells", judged.reported))
    return [(source, verdict, explain(verdict, judged.claim.test, judged.examples)) for source, verdict in pairs]


def _html_quote(quote: str, where: str) -> str:
    return f"<blockquote><p>{as_html(quote)}</p><p><cite>{as_html(where)}</cite></p></blockquote>"


def _html_verdict(source: str, verdict: Verdict, reason: str) -> str:
    name = verdict.outcome.replace(" ", "-")
    outcome = f'<strong class="verdict verdict-{name}">{MARKS[verdict.outcome]} {verdict.wording}</strong>'
    return f"<dt>{as_html(source)}</dt><dd>{outcome} {as_html(reason)}</dd>"


def _verdict_values(verdict: Verdict, reason: str) -> dict[str, Any]:
    return {
        "outcome": verdict.outcome,
        "wording": verdict.wording,
        "reason": reason,
        "difference": None if verdict.difference is None else _points(verdict.difference),
        "counts": None if verdict.counts is None else asdict(verdict.counts),
        "agreement": None if verdict.agreement is None else asdict(verdict.agreement),
        "comparisons": [{"label": label} | _points(found) for label, found in verdict.comparisons],
    }


def _points(found: Interval) -> dict[str, Any]:
    return asdict(found) | {key: exact_percent(getattr(found, key)) for key in ("value", "low", "high")}

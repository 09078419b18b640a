"""The page of a finished run that is committed: what holds, what does not, on what machine, at what cost; Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlrepro.reporting.inputs import CRITERIA, name_of, read_benchmarks
from vlrepro.tables.claim_rendering import MARKS
from vlrepro.tables.escaping import as_markdown
from vlrepro.tables.verdicts import signed_points

HEADINGS = {
    "supported": "What holds here",
    "contradicted": "What does not hold here",
    "undecided": "What stays open",
}

Claim = Mapping[str, Any]
"""One entry of a claims file: see `vlrepro.tables.claim_rendering.claims_to_json`."""


def evidence_page(
    title: str,
    facts: Sequence[tuple[str, str]],
    claims: Sequence[Claim],
    purity: Mapping[str, Mapping[str, Any]],
    costs: Mapping[str, tuple[int, float, float | None]],
    files: Sequence[str],
) -> str:
    """The page as Markdown.

    Args:
        title: the study's.
        facts: (name, value) of what was run and where: command, commit, machine, versions.
        claims: the study's judged claims and controls.
        purity: pairs -> their summary, in the order of the configuration; empty for a study that is not about pairs.
        costs: rule -> (jobs, seconds in all, peak memory of a job in MB or None).
        files: names of the files beside the page.
    """
    own = [claim for claim in claims if claim["kind"] == "claim"]
    controls = [claim for claim in claims if claim["kind"] == "control"]
    parts = [f"# {as_markdown(title)}", _bullets(f"{name}: {as_markdown(value)}" for name, value in facts)]
    for outcome, heading in HEADINGS.items():
        chosen = [claim for claim in own if claim["ours"]["outcome"] == outcome]
        parts += [f"## {heading} ({len(chosen)} of {len(own)} claims)", _claims(chosen)]
    rest = [claim for claim in own if claim["ours"]["outcome"] not in HEADINGS]
    parts += [
        f"## What this run cannot judge ({len(rest)} of {len(own)} claims)",
        _bullets(f"{as_markdown(claim['statement'])} {as_markdown(claim['ours']['reason'])}" for claim in rest),
        "## Controls that we add",
        _claims(controls),
        *_purity(purity),
        "## Cost",
        "Seconds of all jobs, one thread each; of jobs side by side each counts. Trainings that shared a process count "
        "with their own steps.",
        _grid(("rule", "jobs", "seconds", "seconds a job", "peak memory, MB"), _cost_rows(costs)),
        "## Files",
        _bullets(f"[{name}]({name})" for name in files),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def sum_costs(folder: Path, jobs: Mapping[str, Iterable[str]]) -> dict[str, tuple[int, float, float | None]]:
    """Rule -> (jobs that have a benchmark file, their seconds, the largest peak memory in MB), of `jobs` by rule.

    `folder` holds Snakemake's files `<rule>/<job>.tsv`; a rule without any is left out.
    """
    sums = {}
    for rule, names in jobs.items():
        found = list(read_benchmarks(folder / rule, names).values())
        peaks = [peak for _, peak in found if peak is not None]
        if found:
            sums[rule] = (len(found), sum(seconds for seconds, _ in found), max(peaks, default=None))
    return sums


def _claims(claims: Sequence[Claim]) -> str:
    """One line a claim: the statement, what decided it, and the verdict on the paper's printed cells."""
    return _bullets(
        f"{as_markdown(claim['statement'])} {_verdict(claim['ours'])}; the paper's printed cells: "
        f"{claim['reported']['wording']}."
        for claim in claims
    )


def _verdict(ours: Mapping[str, Any]) -> str:
    words = f"{MARKS[ours['outcome']]} **{ours['wording']}**"
    if (mean := ours["difference"]) is None:
        return f"{words} ({as_markdown(ours['reason'])})"
    value, low, high = (signed_points(mean[name] / 100) for name in ("value", "low", "high"))
    counts = ours["counts"]
    signs = f"; {counts['signed']} of {counts['columns']} {counts['unit']}" if counts else ""
    return f"{words}: {value} points \\[{low}, {high}\\]{signs}"


def _purity(purity: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The section on pairs; nothing where there are none."""
    if not purity:
        return []
    rows = [_purity_row(name, found) for name, found in purity.items()]
    return [
        "## Purity of pairs",
        "Share of pairs of two pictures of the same concept, class or group, in percent, with its 95 % interval.",
        _grid(("pairs", "number", *CRITERIA.values()), rows),
    ]


def _purity_row(name: str, summary: Mapping[str, Any]) -> tuple[str, ...]:
    shares = [summary["purity"][criterion] for criterion in CRITERIA]
    texts = (f"{100 * s['share']:.1f} [{100 * s['low']:.1f}, {100 * s['high']:.1f}]" for s in shares)
    return (f"`{name_of(name)}`", f"{summary['pairs']:,}", *texts)


def _cost_rows(costs: Mapping[str, tuple[int, float, float | None]]) -> list[tuple[str, ...]]:
    rows = [
        (f"`{rule}`", f"{jobs:,}", f"{seconds:,.0f}", f"{seconds / jobs:,.1f}", "–" if peak is None else f"{peak:,.0f}")
        for rule, (jobs, seconds, peak) in costs.items()
    ]
    jobs, seconds = (sum(entry[place] for entry in costs.values()) for place in (0, 1))
    return [*rows, ("sum", f"{jobs:,}", f"{seconds:,.0f}", "", "")]


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    aligned = ["---", *["--:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, aligned, *rows))

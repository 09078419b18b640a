"""The answers of preflight as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from vlrepro.preflight.status import STATES


def budget_text(report: dict[str, Any]) -> str:
    """Two tables (what is missing, everything from nothing), and what the hours rest on."""
    parts = [f"Budget at scale {report['scale']}: each table as if it were alone; `all` counts what is shared once."]
    for part, title in (("missing", "Still missing"), ("whole", "From nothing")):
        rows = [_cost_row(name, entry[part]) for name, entry in report["tables"].items()]
        parts.append(f"{title}\n" + columns(["table", "jobs", "GPU-h", "core-h", "disk", "download"], rows))
    whole = report["tables"]["all"]["whole"]
    parts.append("What the hours of `all`, from nothing, rest on\n" + _bases(whole["bases"]))
    unknown, by_hand = whole["unknown_downloads"], whole["by_hand"]
    if unknown:
        parts.append(f"Size of download not known: {', '.join(unknown)}")
    if by_hand:
        parts.append(f"To be brought by hand: {', '.join(by_hand)}")
    return "\n\n".join(parts)


def status_text(report: dict[str, Any]) -> str:
    """A table of states, and a line for each work that runs, was interrupted or failed."""
    rows = [
        [name, f"{entry['trained']}/{entry['trainings']}", *(str(entry[state]) for state in STATES)]
        for name, entry in report["tables"].items()
    ]
    parts = [f"Status at scale {report['scale']}\n" + columns(["table", "trained", *STATES], rows)]
    lines = [f"{entry['state']:<12}{key}  {entry['note']}".rstrip() for key, entry in report["works"].items()]
    return "\n\n".join([*parts, *(["\n".join(lines)] if lines else [])])


def why_text(report: dict[str, Any]) -> str:
    """A paragraph for each rule: how much is made for which reason, trainings one by one with their cost."""
    if not report["works"]:
        return f"Nothing would be made again at scale {report['scale']}."
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in report["works"]:
        groups.setdefault((entry["rule"], _cause(entry["reasons"][0])), []).append(entry)
    lines = [f"What would be made at scale {report['scale']}, and why"]
    for (rule, cause), entries in groups.items():
        hours = f"{sum(e['gpu_hours'] for e in entries):.2f} GPU-h, {sum(e['core_hours'] for e in entries):.2f} core-h"
        lines.append(f"\n{rule}: {len(entries)}, {cause}; {hours}")
        shown = entries if cause == "changed" else entries[:3]
        lines += [f"  {entry['name']}: {'; '.join(entry['reasons'][:6])}" for entry in shown]
        lines += [f"  and {len(entries) - len(shown)} more"] * (len(entries) > len(shown))
    return "\n".join(lines)


def columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in columns: the first to the left, numbers to the right."""
    rows = [list(head), *rows]
    widths = [max(len(row[number]) for row in rows) for number in range(len(head))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def size_text(count: float) -> str:
    """Bytes in units of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _cost_row(name: str, cost: dict[str, Any]) -> list[str]:
    download = size_text(cost["download"]) + (" + ?" if cost["unknown_downloads"] else "")
    hours = [f"{cost['gpu_hours']:.2f}", f"{cost['core_hours']:.2f}"]
    return [name, str(cost["jobs"]), *hours, size_text(cost["disk"]), download]


def _bases(bases: dict[str, list[float]]) -> str:
    rows = [
        [name, str(int(works)), str(int(measured)), f"{hours:.2f}"]
        for name, (works, measured, hours) in sorted(bases.items(), key=lambda item: -item[1][2])
    ]
    return columns(["basis", "works", "finished ones", "hours"], rows)


def _cause(reason: str) -> str:
    if reason.endswith("is missing"):
        return "not there yet"
    if reason.startswith("made of"):
        return "made of what is made first"
    return "newer inputs" if "is newer" in reason else "changed"

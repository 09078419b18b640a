"""How many links of a downloaded pack bring no picture, from the summary of its ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlrepro.tables.claims import LedgerTest
from vlrepro.tables.verdicts import Verdict

_NAMED = 4
"""Reasons that are named one by one."""


def judge_ledger(test: LedgerTest, ledgers: Mapping[str, Mapping[str, Any]]) -> Verdict:
    """Judge by the summary of the pack's ledger, in `ledgers` by the pack's name in the configuration.

    Every link was tried, so that there is no sample and no interval; another day has other dead links.
    """
    summary = ledgers.get(test.pack)
    if summary is None:
        return Verdict("not testable", reason=f"Nothing is downloaded at this scale, so {test.pack} has no ledger.")
    total, dead = summary["urls"], summary["missing"]
    named = [entry for entry in summary["by_reason"].items() if entry[0] != "ok"][:_NAMED]
    words = f"Of {total:,} links {dead:,} ({100 * dead / total:.1f} %) bring no picture"
    words += f", the most for {', '.join(f'{name} ({count:,})' for name, count in named)}." if named else "."
    low, high = test.dead
    return Verdict("supported" if low <= dead / total <= high else "contradicted", reason=words)

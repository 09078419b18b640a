"""The ledger of a download, one row a URL, and its summary beside what others found of the same lists."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.data.download.lists import Entry
from vlrepro.data.download.outcomes import OK, REASONS, Outcome
from vlrepro.files import atomic_path, write_json

LEDGER = "ledger.parquet"
SUMMARY = "ledger.summary.json"
SCHEMA = pa.schema(
    [
        ("key", pa.string()),  # of the picture in the pack, from the row's number
        ("url", pa.string()),
        ("status", pa.string()),  # ok or failed
        ("reason", pa.string()),  # ok, one of `outcomes.REASONS`, or http_<status>
        ("http_status", pa.int16()),  # of the last answer; 0 where there was none
        ("bytes", pa.int64()),  # of the picture as sent
        ("sha256", pa.string()),  # of the same, "" where there was no body
        ("width", pa.int32()),  # of the same in pixels, 0 where it was not read
        ("height", pa.int32()),
        ("seconds", pa.float64()),  # in requests, pauses left out
        ("attempts", pa.int16()),  # tries, of which each may follow redirects
    ]
)
_BATCH = 50_000
# What is published of the same lists: pictures found, rows of the list, and when. The paper gives a share only.
REPORTED: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "conceptual_captions": (
        {
            "what": "Evaluating Distilled Hard Negative Training on Google's Conceptual Captions Dataset, section 4",
            "list": "validation",
            "date": "undated, 2023 or later",
            "share_missing": 0.2,
        },
        {"what": "pixparse/cc3m-wds", "list": "validation", "date": "2023-12-13", "found": 13_443, "rows": 15_840},
        {"what": "pixparse/cc3m-wds", "list": "training", "date": "2021-12-22", "found": 2_905_954, "rows": 3_318_333},
        {
            "what": "github.com/mlfoundations/open_clip/issues/448",
            "list": "training",
            "date": "2023-02",
            "found": 2_810_000,
            "rows": 3_318_333,
        },
        {
            "what": "github.com/google-research-datasets/conceptual-12m/issues/9",
            "list": "CC12M",
            "date": "2025-10",
            "share_missing": 0.377,
        },
    ),
    "redcaps": (),  # no count of what is left of RedCaps was found
}


def key_of(row: int) -> str:
    """The key of a row of the list, counted from 0, in the pack and in the ledger."""
    return f"{row:09d}"


def write_ledger(path: str | Path, entries: Iterable[Entry], outcomes: Mapping[int, Outcome]) -> None:
    """Write the ledger: a row for each entry, in list order, each of which must have an outcome."""
    with atomic_path(path) as part, pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for number, entry in enumerate(entries):
            batch.append(_row(entry, outcomes[number]))
            if len(batch) == _BATCH:
                writer.write_table(pa.Table.from_pylist(batch, schema=SCHEMA))
                batch.clear()
        writer.write_table(pa.Table.from_pylist(batch, schema=SCHEMA))


def _row(entry: Entry, outcome: Outcome) -> dict[str, Any]:
    return {
        "key": key_of(outcome.row),
        "url": entry.url,
        "status": OK if outcome.reason == OK else "failed",
        "http_status": outcome.http,
        **{name: getattr(outcome, name) for name in SCHEMA.names if hasattr(outcome, name)},
    }


def summarise(outcomes: Mapping[int, Outcome], kind: str) -> dict[str, Any]:
    """Counts by reason, the share of rows without a picture, and the same share as others report it.

    `contents` is the SHA-256 of the lines "<key> <sha256 of the bytes as sent>" of all pictures in list order: two
    downloads with the same have the same pictures.
    """
    counts = Counter(one.reason for one in outcomes.values())
    missing = len(outcomes) - counts[OK]
    share = missing / len(outcomes) if outcomes else 0.0
    contents = hashlib.sha256()
    for row in sorted(outcomes):
        if outcomes[row].reason == OK:
            contents.update(f"{key_of(row)} {outcomes[row].sha256}\n".encode())
    return {
        "urls": len(outcomes),
        "ok": counts[OK],
        "missing": missing,
        "share_missing": round(share, 6),
        "by_reason": dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        "reasons": {reason: REASONS[reason] for reason in sorted(counts) if reason in REASONS},
        "contents": contents.hexdigest(),
        "reported": [_compared(report, share) for report in REPORTED[kind]],
    }


def _compared(report: Mapping[str, Any], share: float) -> dict[str, Any]:
    theirs = report["share_missing"] if "share_missing" in report else 1 - report["found"] / report["rows"]
    return {**report, "share_missing": round(theirs, 6), "ours_minus_theirs": round(share - theirs, 6)}


def write_summary(path: str | Path, outcomes: Mapping[int, Outcome], kind: str) -> None:
    """Write `summarise` as JSON."""
    write_json(path, summarise(outcomes, kind))

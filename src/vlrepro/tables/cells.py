"""Cells: what each run scored on each set, with every example's outcome, in one Parquet file a table.

Columns: recipe, seed, run, set, kind, score, classes, test_pictures, chance, examples (outcomes in [0, 1]),
weights (an example's weight in the score; empty where all weigh the same).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.errors import UserError
from vlrepro.files import atomic_path, read_json
from vlrepro.tables.layout import SetInfo
from vlrepro.tables.statistics import Scores

_RUN = re.compile(r"(?P<recipe>.+)-seed(?P<seed>\d+)-[0-9a-f]{8}")
_SCHEMA = pa.schema(
    [
        ("recipe", pa.string()),
        ("seed", pa.int64()),
        ("run", pa.string()),
        ("set", pa.string()),
        ("kind", pa.string()),
        ("score", pa.float64()),
        ("classes", pa.int64()),
        ("test_pictures", pa.int64()),
        ("chance", pa.float64()),
        ("examples", pa.list_(pa.float32())),
        ("weights", pa.list_(pa.float64())),
    ]
)


def collect_cells(paths: Iterable[str | Path], output: str | Path) -> None:
    """Gather metrics files into one cells file, atomically.

    Raises `UserError` naming the file that is not a metrics file.
    """
    rows = [row for path in paths for row in _rows(path)]
    with atomic_path(output) as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), part, compression="zstd")


def _rows(path: str | Path) -> list[dict[str, Any]]:
    try:
        metrics = read_json(path)
        name = _RUN.fullmatch(metrics["run"])
        shared = {"run": metrics["run"], "kind": metrics["kind"], "recipe": name["recipe"], "seed": int(name["seed"])}
        return [shared | {"set": key} | _row(entry) for key, entry in metrics["sets"].items()]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a metrics file ({error}): delete it and run again") from error


def _row(entry: Mapping[str, Any]) -> dict[str, Any]:
    columns = ("score", "classes", "test_pictures", "chance", "examples")
    per_class = entry["metric"] == "mean_per_class" and "labels" in entry
    return {name: entry[name] for name in columns} | {"weights": _class_weights(entry["labels"]) if per_class else []}


def _class_weights(labels: list[int]) -> list[float]:
    """Weights that turn a mean over examples into a mean over classes: 1 / (classes * examples of the class)."""
    counts = Counter(labels)
    return [1 / (len(counts) * counts[label]) for label in labels]


def read_cells(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a cells file."""
    return pq.read_table(path).to_pylist()


def scores_of(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Scores]:
    """(recipe, set) -> outcomes (n_seeds, n_examples), seeds ascending."""
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["seed"]):
        grouped[row["recipe"], row["set"]].append(row)
    return {
        key: Scores(
            values=np.array([row["examples"] for row in found], np.float64),
            seeds=tuple(row["seed"] for row in found),
            weights=np.array(found[0]["weights"]) if found[0]["weights"] else None,
        )
        for key, found in grouped.items()
    }


def sets_of(rows: Iterable[Mapping[str, Any]], titles: Mapping[str, str]) -> list[SetInfo]:
    """What the cells say of each set, in the order of `titles` (set -> heading)."""
    found = {row["set"]: row for row in rows}
    return [
        SetInfo(name, title, found[name]["classes"], found[name]["test_pictures"], found[name]["chance"])
        for name, title in titles.items()
        if name in found
    ]

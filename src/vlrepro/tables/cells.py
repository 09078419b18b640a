"""Cells: what each run scored on each set under each evaluation, with every example's outcome, one file a table.

Columns: recipe, seed, run, evaluation, set, kind, score, classes, test_pictures, chance, parameters and
feature_width of the backbone, examples (outcomes in [0, 1]), weights (an example's weight in the score; empty where
all weigh the same), statistic (a saliency score's numbers by picture as JSON), probe_accuracy (of the probe that it
explains) and left_out (pictures without a usable mask), these three empty for other scores, and failed: why a run that
failed to train has neither score nor examples. A map that is no model's has no seed.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.errors import UserError
from vlrepro.files import atomic_path, read_json
from vlrepro.saliency.statistics import Statistic
from vlrepro.tables.saliency_cells import prior_rows, read_probes, read_statistics, saliency_rows
from vlrepro.tables.saliency_resampling import resample_statistic_table
from vlrepro.tables.statistics import RESAMPLES, Resampled, Scores, resample_table

_RUN = re.compile(r"(?P<recipe>.+)-seed(?P<seed>\d+)-[0-9a-f]{8}")
_SCHEMA = pa.schema(
    [
        ("recipe", pa.string()),
        ("seed", pa.int64()),
        ("run", pa.string()),
        ("evaluation", pa.string()),
        ("set", pa.string()),
        ("kind", pa.string()),
        ("score", pa.float64()),
        ("classes", pa.int64()),
        ("test_pictures", pa.int64()),
        ("chance", pa.float64()),
        ("parameters", pa.int64()),
        ("feature_width", pa.int64()),
        ("examples", pa.list_(pa.float32())),
        ("weights", pa.list_(pa.float64())),
        ("statistic", pa.string()),
        ("probe_accuracy", pa.float64()),
        ("left_out", pa.int64()),
        ("failed", pa.string()),
    ]
)


@dataclass(frozen=True)
class SetInfo:
    """A data set of ours: `name` is its key, `chance` the share correct when guessing; `n_test` counts images.

    `n_classes` is 0 where there are none: in retrieval.

    `left_out` counts images that have no usable mask and are in no saliency score.
    """

    name: str
    title: str
    n_classes: int
    n_test: int
    chance: float
    left_out: int = 0


@dataclass(frozen=True)
class ModelSize:
    """How large a backbone is: its parameters (a count) and the width of its features."""

    parameters: int
    feature_width: int


@dataclass(frozen=True)
class Failure:
    """`failed` of `seeds` seeds failed to train, at least one."""

    failed: int
    seeds: int

    def __str__(self) -> str:
        some = f" ({self.failed} of {self.seeds} seeds)" if self.failed < self.seeds else ""
        return f"failed to train{some}"


@dataclass(frozen=True)
class Cells:
    """Scores by evaluation and (recipe, set name), sets by evaluation in the tables' order, backbones by recipe.

    Saliency scores are in `statistics`, by evaluation, (recipe, set name) and seed; `probes` has the accuracy of the
    probes that the maps explain, by evaluation and recipe, the mean over seeds. `failed` says why runs failed to train,
    by evaluation, (recipe, set name) and seed; they have no scores.
    """

    scores: Mapping[str, Mapping[tuple[str, str], Scores]]
    sets: Mapping[str, Sequence[SetInfo]]
    models: Mapping[str, ModelSize]
    statistics: Mapping[str, Mapping[tuple[str, str], Mapping[int, Statistic]]] = field(default_factory=dict)
    probes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    failed: Mapping[str, Mapping[tuple[str, str], Mapping[int, str]]] = field(default_factory=dict)

    def resampled(
        self, evaluation: str, columns: Sequence[str], resamples: int = RESAMPLES
    ) -> dict[tuple[str, str], Resampled]:
        """One evaluation's cells and their averages: see `resample_table` and `resample_statistics`."""
        if evaluation in self.statistics:
            return resample_statistic_table(self.statistics[evaluation], columns, resamples)
        return resample_table(self.scores.get(evaluation, {}), columns, resamples)

    def seeds(self, evaluation: str) -> set[int]:
        """The seeds that an evaluation's saliency scores have."""
        return {seed for found in self.statistics.get(evaluation, {}).values() for seed in found}

    def failure(self, evaluation: str, recipes: Sequence[str], columns: Sequence[str]) -> Failure | None:
        """How many of the seeds of these recipes failed on these sets; None where none did."""
        keys = [(recipe, column) for recipe in recipes for column in columns]
        failed, scores = self.failed.get(evaluation, {}), self.scores.get(evaluation, {})
        maps = self.statistics.get(evaluation, {})
        lost = {seed for key in keys for seed in failed.get(key, ())}
        trained = {seed for key in keys if key in scores for seed in scores[key].seeds}
        trained |= {seed for key in keys for seed in maps.get(key, ())}
        return Failure(len(lost), len(lost | trained)) if lost else None

    def columns(self, evaluation: str) -> list[str]:
        """Names of the sets that an evaluation scored."""
        return [entry.name for entry in self.sets.get(evaluation, ())]


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
        if "priors" in metrics:
            return prior_rows(metrics)
        name = _RUN.fullmatch(metrics["run"])
        shared = {"run": metrics["run"], "recipe": name["recipe"], "seed": int(name["seed"])}
        shared |= {key: metrics["backbone"][key] for key in ("parameters", "feature_width")}
        shared["failed"] = metrics.get("failed")
        if "saliency" in metrics:
            return saliency_rows(metrics, shared)
        return [
            shared | {"evaluation": evaluation, "kind": protocol["kind"], "set": key} | _row(entry)
            for evaluation, protocol in metrics["protocols"].items()
            for key, entry in protocol["sets"].items()
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a metrics file ({error}): delete it and run again") from error


def recipe_of(run: str) -> str:
    """The name of a run's recipe, from the run's id. Raises `ValueError` where it is none."""
    found = _RUN.fullmatch(run)
    if found is None:
        raise ValueError(f"{run!r} is no run's id")
    return found["recipe"]


def _row(entry: Mapping[str, Any]) -> dict[str, Any]:
    columns = ("score", "classes", "test_pictures", "chance", "examples")
    per_class = entry["metric"] == "mean_per_class" and "labels" in entry
    weights = _class_weights(entry["labels"]) if per_class else entry.get("weights", [])
    return {name: entry[name] for name in columns} | {"weights": weights}


def _class_weights(labels: list[int]) -> list[float]:
    """Weights that turn a mean over examples into a mean over classes: 1 / (classes * examples of the class)."""
    counts = Counter(labels)
    return [1 / (len(counts) * counts[label]) for label in labels]


def read_cells(paths: Iterable[str | Path], titles: Mapping[str, str]) -> Cells:
    """The cells of one or more files; what two files share is read once.

    `titles` (set -> heading) gives the sets and their order; sets that it does not have are left out.
    """
    empty = dict.fromkeys(_SCHEMA.names)  # a file of an earlier version has fewer columns
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for path in paths:
        found |= {
            (row["run"] or row["recipe"], row["evaluation"], row["set"]): empty | row
            for row in pq.read_table(path).to_pylist()
        }
    rows = [row for row in found.values() if row["set"] in titles]
    by_evaluation: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_evaluation[row["evaluation"]].append(row)
    maps = {name for name, entries in by_evaluation.items() if entries[0]["statistic"]}
    return Cells(
        {name: _scores(entries) for name, entries in by_evaluation.items() if name not in maps},
        {name: _sets(entries, titles) for name, entries in by_evaluation.items()},
        {row["recipe"]: ModelSize(row["parameters"], row["feature_width"]) for row in rows if row["parameters"]},
        {name: read_statistics(entries) for name, entries in by_evaluation.items() if name in maps},
        {name: read_probes(entries) for name, entries in by_evaluation.items() if name in maps},
        {name: found for name, entries in by_evaluation.items() if (found := _failed(entries))},
    )


def _scores(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Scores]:
    """(recipe, set) -> outcomes (n_seeds, n_examples), seeds ascending."""
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in sorted((row for row in rows if not row["failed"]), key=lambda row: row["seed"]):
        grouped[row["recipe"], row["set"]].append(row)
    return {
        key: Scores(
            values=np.array([row["examples"] for row in found], np.float64),
            seeds=tuple(row["seed"] for row in found),
            weights=np.array(found[0]["weights"]) if found[0]["weights"] else None,
        )
        for key, found in grouped.items()
    }


def _failed(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[int, str]]:
    """(recipe, set) -> seed -> why it failed to train."""
    found: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for row in rows:
        if row["failed"]:
            found[row["recipe"], row["set"]][row["seed"]] = row["failed"]
    return dict(found)


def _sets(rows: Iterable[Mapping[str, Any]], titles: Mapping[str, str]) -> list[SetInfo]:
    """What the cells of one evaluation say of each set, in the order of `titles`."""
    found = {row["set"]: row for row in rows}
    return [
        SetInfo(
            *(name, title, *(found[name][key] for key in ("classes", "test_pictures", "chance"))),
            left_out=found[name]["left_out"] or 0,
        )
        for name, title in titles.items()
        if name in found
    ]

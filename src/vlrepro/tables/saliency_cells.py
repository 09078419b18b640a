"""Saliency metrics as rows of a cells file, and back to statistics that can be resampled."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from vlrepro.saliency.statistics import Statistic, from_plain
from vlrepro.tables.saliency_columns import evaluation_name

Statistics = dict[tuple[str, str], dict[int, Statistic]]
"""(recipe, set name) -> the statistic of each seed."""


def saliency_rows(metrics: Mapping[str, Any], shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a run's metrics file, `shared` being what all of a run's rows have.

    A control in the probe's place makes another recipe of it: `<recipe>+<probe>`.
    """
    probe = metrics["probe"]
    recipe = shared["recipe"] if probe == "trained" else f"{shared['recipe']}+{probe}"
    accuracy = metrics["probe_accuracy"] if probe == "trained" else None  # the file has that of the trained one
    return [
        {**shared, "recipe": recipe, "run": f"{shared['run']} {probe}", "probe_accuracy": accuracy, **row}
        for method, entry in metrics["saliency"]["maps"].items()
        for row in _scores(metrics["protocol"], method, metrics["saliency"], entry)
    ]


def prior_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the priors' metrics file, under every method whose maps they are held against."""
    return [
        {"recipe": prior, "run": None, "seed": None, "parameters": None, "feature_width": None, **row}
        for prior, entry in metrics["priors"].items()
        for method in metrics["methods"]
        for row in _scores(metrics["protocol"], method, metrics["saliency"], entry)
    ]


def _scores(protocol: str, method: str, found: Mapping[str, Any], entry: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for score, cell in entry["scores"].items():
        yield {
            "evaluation": evaluation_name(protocol, method, score),
            "set": found["set"],
            "kind": "saliency",
            "score": cell["score"],
            "classes": found["classes"],
            "test_pictures": found["test_pictures"],  # of the set, also where a score is of some of them
            "chance": found["object_share"],
            "left_out": len(found["rejected"]),
            "examples": [],
            "weights": [],
            "statistic": json.dumps(cell["statistic"]),
        }


def read_statistics(rows: Iterable[Mapping[str, Any]]) -> Statistics:
    """The statistics of one evaluation's rows; what has no seed stands beside every seed of the others.

    Maps of a run that failed to train explain nothing: they are left out.
    """
    rows = [row for row in rows if not row["failed"]]
    seeds = sorted({row["seed"] for row in rows if row["seed"] is not None}) or [0]
    found: Statistics = defaultdict(dict)
    for row in rows:
        statistic = from_plain(json.loads(row["statistic"]))
        for seed in seeds if row["seed"] is None else [row["seed"]]:
            found[row["recipe"], row["set"]][seed] = statistic
    return dict(found)


def read_probes(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Recipe -> accuracy of its probe, the mean over seeds and sets, of one evaluation's rows."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["probe_accuracy"] is not None and not row["failed"]:
            found[row["recipe"]].append(row["probe_accuracy"])
    return {recipe: sum(values) / len(values) for recipe, values in found.items()}

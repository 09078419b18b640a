"""Metrics files: what one run scored under one evaluation, as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy
import torch

from vlrepro import __version__
from vlrepro.files import digest_of


def metrics(
    run: str, recipe: Mapping[str, Any], evaluation: Mapping[str, Any], backbone: Mapping[str, int], **found: Any
) -> dict[str, Any]:
    """A metrics file's content: whose scores, of which recipes' digests, and `found`, `protocols` above all.

    `backbone` is as `vlrepro.evaluation.features.size_of` gives it.
    """
    return {
        "run": run,
        "recipe": digest_of(dict(recipe)),
        "evaluation": digest_of(dict(evaluation)),
        "backbone": dict(backbone),
        "versions": {"vlrepro": __version__, "torch": torch.__version__, "numpy": numpy.__version__},
        **found,
    }


def about(metric: str, classes: int, test_pictures: int) -> dict[str, Any]:
    """What an entry of a set says beside its scores."""
    return {"metric": metric, "classes": classes, "test_pictures": test_pictures}


def without_scores(protocols: Mapping[str, Any], sets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The `protocols` of a run that failed to train: `sets` says what each set is (`about`), nothing was scored."""
    empty = {"score": None, "examples": [], "chance": None}
    return {
        name: {"kind": entry["kind"], "seconds": 0.0, "sets": {key: empty | dict(what) for key, what in sets.items()}}
        for name, entry in protocols.items()
    }

"""Maps of a few pictures for the report's gallery, made again from models and the probes that were kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
from torch import nn

from vlrepro.errors import UserError
from vlrepro.reporting.saliency_gallery import SaliencyMap, SaliencyPicture, choose
from vlrepro.saliency.canvas import Array
from vlrepro.saliency.evaluation import SaliencySet, maps_of
from vlrepro.saliency.masks import MaskSet
from vlrepro.saliency.precision import average_precision
from vlrepro.saliency.probe import Probe
from vlrepro.saliency.statistics import from_plain
from vlrepro.tables.saliency_columns import MAPS


@dataclass(frozen=True)
class ShownModel:
    """A row of the gallery: its label, its backbone, the probe that its maps explain, and its metrics file."""

    label: str
    backbone: nn.Module
    probe: Probe
    metrics: Mapping[str, Any]


def read_probe(path: str | Path) -> Probe:
    """The probe that a saliency job wrote. Raises `UserError` where the file holds none."""
    try:
        tensors = load_file(path)
        return Probe(tensors["weights"], tensors["biases"])
    except Exception as error:  # safetensors raises its own type
        raise UserError(f"{path}: no probe ({error}): delete it and score the run again") from error


def shown_pictures(
    found: SaliencySet, models: Sequence[ShownModel], methods: Sequence[str], count: int = 3
) -> list[SaliencyPicture]:
    """`count` of the best, median and worst pictures by the mean average precision of all maps shown.

    Every picture carries one map a model and method, made anew. Raises `UserError` where a metrics file lacks a method
    or is of other pictures.
    """
    scores = np.mean([_precisions(model, method, found) for model in models for method in methods], axis=0)
    places = [(place, position) for place, chosen in choose(scores, count).items() for position in chosen]
    positions = [position for _, position in places]
    masks = MaskSet(found.scored.positions[positions], found.scored.masks[positions], ())
    maps: list[list[SaliencyMap]] = [[] for _ in places]
    for model in models:
        for method, drawn in maps_of(model.backbone, model.probe, found, masks, methods).items():
            precisions = average_precision(drawn, masks.masks).images
            for shown, one, precision in zip(maps, drawn, precisions, strict=True):
                shown.append(SaliencyMap(model.label, MAPS[method], one, float(precision)))
    rows = [found.pictures.pack.rows[int(position)] for position in masks.positions]
    return [
        SaliencyPicture(
            key=row.key,
            label=row.caption or row.label,
            place=place,
            score=float(scores[position]),
            picture=found.colours(found.scored.positions[position]),
            mask=found.scored.masks[position],
            maps=shown,
        )
        for (place, position), row, shown in zip(places, rows, maps, strict=True)
    ]


def _precisions(model: ShownModel, method: str, found: SaliencySet) -> Array:
    """The average precision of each test picture's map, (n,), as the metrics file has it."""
    try:
        statistic = from_plain(model.metrics["saliency"]["maps"][method]["scores"]["ap"]["statistic"])
    except KeyError as error:
        raise UserError(f"{model.label}: the metrics file has no {error}: score the run again") from error
    if statistic.n != len(found.scored.positions):
        raise UserError(f"{model.label}: {statistic.n} pictures were scored, the set has {len(found.scored.positions)}")
    return statistic.images

"""Evaluation protocols on a set's features, as the plain dictionaries that a metrics file holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vlrepro.evaluation.adamw_probe import AdamWProtocol, adamw_probe
from vlrepro.evaluation.few_shot import FewShotProtocol, draw_episodes, few_shot
from vlrepro.evaluation.linear import LabelledFeatures, LinearProtocol, linear_probe
from vlrepro.evaluation.sets import EvaluationSet

Scorer = Callable[[str, EvaluationSet, Tensor, Mapping[str, Any], str], dict[str, Any]]


def score_linear(
    name: str, data: EvaluationSet, features: Tensor, protocol: Mapping[str, Any], metric: str
) -> dict[str, Any]:
    """The linear probe on `features` (n, d) of set `name`: scores in [0, 1] and each test picture's outcome."""
    parts = [_part(data, features, split) for split in ("train", "val", "test")]
    result = linear_probe(*parts, len(data.classes), LinearProtocol(metric=metric, **protocol))
    return {
        "score": result.mean_per_class if metric == "mean_per_class" else result.accuracy,
        "accuracy": result.accuracy,
        "mean_per_class": result.mean_per_class,
        "cost": result.cost,
        "cost_on_edge": result.cost_on_edge,
        "converged": result.converged,
        "examples": result.correct.int().tolist(),
        "labels": data.labels["test"].tolist(),
        "chance": 1 / len(data.classes),
    }


def score_adamw_probe(
    name: str, data: EvaluationSet, features: Tensor, protocol: Mapping[str, Any], metric: str
) -> dict[str, Any]:
    """The probe by AdamW on `features` (n, d) of set `name`: as `score_linear`, but no cost is chosen.

    Nothing is tuned on the validation split, so it is trained on like the training split.
    """
    trained, tested = _part(data, features, "train", "val"), _part(data, features, "test")
    result = adamw_probe(trained, tested, len(data.classes), AdamWProtocol(**protocol))
    return {
        "score": result.mean_per_class if metric == "mean_per_class" else result.accuracy,
        "accuracy": result.accuracy,
        "mean_per_class": result.mean_per_class,
        "examples": result.correct.int().tolist(),
        "labels": data.labels["test"].tolist(),
        "chance": 1 / len(data.classes),
    }


def score_few_shot(
    name: str, data: EvaluationSet, features: Tensor, protocol: Mapping[str, Any], metric: str
) -> dict[str, Any]:
    """Few-shot classification on `features` (n, d) of set `name`: mean over episodes and each episode's accuracy."""
    settings = FewShotProtocol(**protocol)
    train, test = (data.positions[split] for split in ("train", "test"))
    episodes = draw_episodes(data.labels["train"], data.labels["test"], settings, name)
    result = few_shot(features[train], features[test], episodes, settings)
    shares = result.correct.double() / result.total.double()
    return {
        "score": result.accuracy,
        "accuracy": result.accuracy,
        "std_over_episodes": result.std,
        "half_width_over_episodes": result.half_width,
        "examples": [round(share, 6) for share in shares.tolist()],
        "chance": 1 / settings.ways,
    }


def _part(data: EvaluationSet, features: Tensor, *splits: str) -> LabelledFeatures:
    """The features and labels of some splits, one after the other."""
    positions, labels = (torch.cat([part[split] for split in splits]) for part in (data.positions, data.labels))
    return LabelledFeatures(features[positions], labels)


SCORERS: dict[str, Scorer] = {"linear": score_linear, "adamw": score_adamw_probe, "few_shot": score_few_shot}

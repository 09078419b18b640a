"""The maps that look at no model, scored as models are, and which of them is the best.

What is tuned and who is best is decided on training masks alone. The best prior is chosen for each score, since a map
that ranks pixels well may cut them badly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vlrepro.saliency.baselines import (
    CELLS,
    Baseline,
    all_background,
    all_object,
    ceiling,
    edges,
    mean_mask,
    noise,
    tuned_gaussian,
)
from vlrepro.saliency.canvas import Maps, Masks
from vlrepro.saliency.evaluation import SaliencySet, plain
from vlrepro.saliency.masks import MaskSet
from vlrepro.saliency.named_scores import NamedScores, brief_scores, named_scores
from vlrepro.saliency.thresholds import MEAN, Threshold, best_threshold

REVISION = 1

CEILING = "ceiling"
BEST = "best_prior"
EDGE_BLUR = 1 / 24
"""Standard deviation of the blur that fills the edges' outlines, as a share of the picture's side."""


@dataclass(frozen=True)
class _Prior:
    """Maps of the test and the training pictures, and the published threshold; the tuned one is found."""

    test: Maps
    training: Maps
    published: Threshold


def score_priors(found: SaliencySet, every_score: bool = True) -> dict[str, dict[str, Any]]:
    """Prior -> what a metrics file holds of its scores on the set's test pictures, all or the brief ones.

    `best_prior` holds for each score those of the prior that is best on the training pictures, and its name as
    `chosen`. The ceiling, which sees the truth, takes no part in that.
    """
    result, on_training = {}, {}
    for name, prior in _priors(found).items():
        score = _scorer(prior, found, every_score)
        scores = score(prior.test, found.scored.masks)
        result[name] = plain(scores)
        if name != CEILING:
            on_training[name] = score(prior.training, found.training.masks)
        print(f"{name}: average precision {scores.statistics['ap'].value:.4f}", flush=True)
    result[BEST] = _best(result, on_training)
    return result


def _best(result: dict[str, dict[str, Any]], on_training: dict[str, NamedScores]) -> dict[str, Any]:
    """For each score the entry of the prior that has the highest one on training pictures, the first of equals."""
    scores = {}
    for score in next(iter(result.values()))["scores"]:
        # A size of object that no training picture has is judged by the whole.
        known = score if all(score in entry.statistics for entry in on_training.values()) else "ap"
        chosen = max(on_training, key=lambda name: on_training[name].statistics[known].value)
        scores[score] = result[chosen]["scores"][score] | {"chosen": chosen}
    return {"scores": scores, "values": {}}


def _priors(found: SaliencySet) -> dict[str, _Prior]:
    shape = found.scored.masks.shape[1:]
    gaussian, _ = tuned_gaussian(found.training.masks)
    flat = {"all_object": all_object(shape), "all_background": all_background(shape)}
    fitted = {"centred_gaussian": gaussian, "mean_mask": mean_mask(found.training.masks)}
    return {
        **{name: _constant(baseline, found) for name, baseline in (flat | fitted).items()},
        "noise": _both(found, lambda masks: noise(_keys(found, masks), shape)),
        "coarse_noise": _both(found, lambda masks: noise(_keys(found, masks), shape, cells=CELLS)),
        "edges": _both(found, lambda masks: _edges(found, masks)),
        CEILING: _both(found, lambda masks: ceiling(masks.masks)),
    }


def _constant(baseline: Baseline, found: SaliencySet) -> _Prior:
    return _Prior(baseline.maps(len(found.scored.masks)), baseline.maps(len(found.training.masks)), baseline.threshold)


def _both(found: SaliencySet, maps: Callable[[MaskSet], Maps]) -> _Prior:
    return _Prior(maps(found.scored), maps(found.training), MEAN)


def _scorer(prior: _Prior, found: SaliencySet, every_score: bool) -> Callable[[Maps, Masks], NamedScores]:
    """What scores a prior's maps; what is cut at a fitted or fixed threshold keeps it as the tuned one."""
    if not every_score:
        return lambda maps, masks: brief_scores(maps, masks, prior.published)
    fixed = prior.published != MEAN
    tuned = prior.published if fixed else best_threshold(prior.training, found.training.masks)
    return lambda maps, masks: named_scores(maps, masks, prior.published, tuned)


def _keys(found: SaliencySet, masks: MaskSet) -> list[str]:
    rows = found.pictures.pack.rows
    return [rows[int(position)].key for position in masks.positions]


def _edges(found: SaliencySet, masks: MaskSet) -> Maps:
    # Bytes of the size that is scored: normalised, the channels would weigh differently.
    colours = found.colours(masks.positions).transpose(0, 3, 1, 2)
    return edges(colours, EDGE_BLUR * found.settings["size"])

"""Score a backbone's saliency maps on a set with masks: the probe they explain, maps by every method, all scores.

The probe is the linear probe on the set's own pictures. Its controls ask whether a map follows what was learnt
(Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018): `shuffled` is fitted with the same cost on labels in
random order, `random` has normal weights; both then explain the true class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from vlrepro.data.augment import centre
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import INDEX, Pack
from vlrepro.errors import UserError
from vlrepro.evaluation.features import extract
from vlrepro.evaluation.linear import LabelledFeatures, LinearProtocol, fit_logistic, linear_probe
from vlrepro.evaluation.sets import EvaluationSet, evaluation_set
from vlrepro.randomness import numpy_generator, torch_generator
from vlrepro.saliency.cam import CLOSED_FORMS, closed_forms
from vlrepro.saliency.canvas import Array, Maps
from vlrepro.saliency.masks import MaskSet, read_masks
from vlrepro.saliency.methods import saliency_method
from vlrepro.saliency.named_scores import NamedScores, brief_scores, named_scores
from vlrepro.saliency.probe import Probe
from vlrepro.saliency.sizes import object_shares
from vlrepro.saliency.statistics import to_plain
from vlrepro.saliency.thresholds import MEAN, ZERO, Threshold, best_threshold

REVISION = 1

ProbeKind = Literal["trained", "shuffled", "random"]
_SIGNED = {"agf", "cam"}
"""Methods whose values below 0 speak against the class: 0 is their published threshold, the mean that of others."""


@dataclass(frozen=True)
class SaliencySet:
    """A pack with classes and masks.

    `scored` are the test pictures with a usable mask, `training` some training pictures with one, on which thresholds
    and baselines are tuned; `settings` has canvas, size, mean and std as in the evaluation's recipe.
    """

    pictures: Pictures
    data: EvaluationSet
    scored: MaskSet
    training: MaskSet
    settings: Mapping[str, Any]

    def images(self, positions: Sequence[int] | Array) -> Tensor:
        """Normalised pictures (B, 3, size, size) at positions of the index."""
        settings = self.settings
        batch = self.pictures.batch([int(position) for position in positions])
        return centre(batch, settings["size"], settings["mean"], settings["std"])

    def colours(self, positions: Sequence[int] | Array | int) -> NDArray[np.uint8]:
        """Pictures of `size` pixels as bytes, (B, size, size, 3), or (size, size, 3) of one position."""
        settings = self.settings
        images = self.images(np.atleast_1d(positions)).permute(0, 2, 3, 1).numpy()
        values = (images * np.array(settings["std"]) + np.array(settings["mean"])) * 255
        colours = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return colours if np.ndim(positions) else colours[0]

    def classes(self, positions: Array) -> Tensor:
        """Class numbers (B,) int64 of the pictures at positions of the index."""
        number = {name: index for index, name in enumerate(self.data.classes)}
        rows = self.pictures.pack.rows
        return torch.tensor([number[rows[int(position)].label] for position in positions], dtype=torch.int64)


def load_set(folder: str | Path, settings: Mapping[str, Any]) -> SaliencySet:
    """The set in the pack `folder`, its masks of `settings["size"]` pixels, as an evaluation's recipe has it.

    At most `settings["tuning_pictures"]` training masks are read, drawn by lot, the same of the same index. A training
    picture without any mask is passed over, as few of ImageNet-S50's have one.
    Raises `UserError` where no test picture or no training picture has a usable mask.
    """
    pack = Pack(folder)
    place = Path(folder) / INDEX
    data = evaluation_set(pack.rows, place)
    candidates = [position for position in data.positions["train"].tolist() if pack.rows[position].mask_offset != -2]
    order = numpy_generator("saliency", "tuning pictures").permutation(len(candidates))
    chosen = sorted(candidates[number] for number in order[: settings["tuning_pictures"]])
    scored = read_masks(pack, data.positions["test"].tolist(), settings["size"])
    training = read_masks(pack, chosen, settings["size"])
    for found, split in ((scored, "test"), (training, "train")):
        if not len(found.positions):
            why = f" ({found.rejected[0][0]}: {found.rejected[0][1]})" if found.rejected else ""
            raise UserError(f"{place}: no picture of the split {split} has a usable mask{why}: choose a set with masks")
    pictures = Pictures(pack, settings["canvas"], threads=settings["threads"])
    return SaliencySet(pictures, data, scored, training, settings)


def set_of(recipe: Mapping[str, Any], data: str | Path) -> SaliencySet:
    """The set of an evaluation's `recipe`, its pack in the folder `data`; see `load_set`."""
    settings = recipe["pictures"] | {name: recipe[name] for name in ("tuning_pictures", "threads")}
    return load_set(Path(data) / recipe["pack"], settings)


@dataclass(frozen=True)
class FittedProbe:
    """A probe, the accuracy of the trained one on the test pictures, and the cost it was fitted with."""

    probe: Probe
    accuracy: float
    cost: float


def fit_probe(features: Tensor, data: EvaluationSet, kind: ProbeKind) -> FittedProbe:
    """The probe on `features` (n, d) of a set's pictures, in the order of the pack's index.

    The cost is chosen on validation, then the probe is fitted on training and validation together, as
    `vlrepro.evaluation.linear` does. Raises `UserError` as `linear_probe` does.
    """
    parts = [LabelledFeatures(features[data.positions[s]], data.labels[s]) for s in ("train", "val", "test")]
    found = linear_probe(*parts, len(data.classes), LinearProtocol())
    fit = found.fit
    if kind == "shuffled":
        labels = torch.cat([parts[0].labels, parts[1].labels])
        order = torch.randperm(len(labels), generator=torch_generator("saliency", "shuffled labels"))
        both = torch.cat([parts[0].features, parts[1].features])
        fit = fit_logistic(both, labels[order], len(data.classes), [found.cost])
    weights, biases = fit.weights[0].T.float().contiguous(), fit.biases[0].float()
    if kind == "random":
        weights = torch.randn(weights.shape, generator=torch_generator("saliency", "random probe"))
        biases = torch.zeros(len(weights))
    return FittedProbe(Probe(weights, biases), found.accuracy, found.cost)


def maps_of(
    backbone: nn.Module,
    probe: Probe,
    found: SaliencySet,
    masks: MaskSet,
    methods: Sequence[str],
    batch_size: int = 64,
) -> dict[str, Maps]:
    """Method -> maps (n, size, size) float32 of the pictures that `masks` are of, each for its own class.

    Closed forms share a pass through the backbone.
    """
    if not methods:
        return {}  # before pictures are decoded for nothing
    device = next(backbone.parameters()).device
    classes = found.classes(masks.positions)
    closed = [method for method in methods if method in CLOSED_FORMS]
    parts: dict[str, list[Tensor]] = {method: [] for method in methods}
    starts = range(0, len(masks.positions), batch_size)
    for start in tqdm(starts, desc=f"{len(methods)} maps a picture", unit="batch", mininterval=10, ascii=" ="):
        span = slice(start, start + batch_size)
        images = found.images(masks.positions[span]).to(device)
        arguments = (backbone, probe.like(images), images, classes[span].to(device))
        drawn = closed_forms(closed, *arguments) if closed else {}
        drawn |= {method: saliency_method(method)(*arguments) for method in methods if method not in drawn}
        for method, maps in drawn.items():
            parts[method].append(maps.cpu())
    return {method: torch.cat(maps).numpy() for method, maps in parts.items()}


def published_threshold(method: str) -> Threshold:
    """The threshold that the papers' scripts binarise the maps of `method` with."""
    return ZERO if method in _SIGNED else MEAN


def score_methods(
    backbone: nn.Module, probe: Probe, found: SaliencySet, methods: Sequence[str], every_score: Sequence[str] = ()
) -> dict[str, Any]:
    """Method -> what a metrics file holds of its scores on the set's test pictures.

    The methods of `every_score` get all scores of `named_scores`, the others the `brief_scores`.
    """
    maps, masks = maps_of(backbone, probe, found, found.scored, methods), found.scored.masks
    tuning = [method for method in methods if method in every_score]
    training = maps_of(backbone, probe, found, found.training, tuning)
    scored = {}
    for method in methods:
        published = published_threshold(method)
        if method in training:
            tuned = best_threshold(training[method], found.training.masks)
            scores = named_scores(maps[method], masks, published, tuned)
            scored[method] = plain(scores) | {"tuned_threshold": tuned.at}
        else:
            scores = brief_scores(maps[method], masks, published)
            scored[method] = plain(scores)
        print(f"{method}: average precision {scores.statistics['ap'].value:.4f}", flush=True)
    return scored


def plain(scores: NamedScores) -> dict[str, Any]:
    """What a metrics file holds of scores."""
    statistics = {
        name: {"score": statistic.value, "n": statistic.n, "statistic": to_plain(statistic)}
        for name, statistic in scores.statistics.items()
    }
    return {"scores": statistics, "values": scores.values}


def score_run(backbone: nn.Module, found: SaliencySet, recipe: Mapping[str, Any]) -> tuple[FittedProbe, dict[str, Any]]:
    """The fitted probe and the scores of a backbone under an evaluation's `recipe`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = backbone.to(device)
    features = extract(backbone, found.pictures, found.settings)
    fitted = fit_probe(features, found.data, recipe["probe"])
    return fitted, score_methods(backbone, fitted.probe, found, recipe["methods"], recipe["every_score"])


def print_left_out(found: SaliencySet) -> None:
    """A line in the log for each picture that is not scored, or not tuned on, as its mask is wrong."""
    for masks, from_what in ((found.scored, ""), (found.training, " (training)")):
        for key, reason in masks.rejected:
            print(f"left out: {key}: {reason}{from_what}", flush=True)


def masks_summary(found: SaliencySet) -> dict[str, Any]:
    """How many test pictures are scored, the object's mean share, and who is left out and why."""
    shares = object_shares(found.scored.masks)
    return {
        "test_pictures": len(shares),
        "object_share": float(np.mean(shares)),
        "rejected": [list(entry) for entry in found.scored.rejected],
    }

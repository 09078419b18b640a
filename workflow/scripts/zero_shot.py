"""Classify every picture of an evaluation's sets by class names, for one run or several; write a metrics file a run."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vlrepro.data.pack import Pack
from vlrepro.errors import run_command
from vlrepro.evaluation.features import extract, load_backbone, size_of
from vlrepro.evaluation.joint import load_joint, picture_features, text_features
from vlrepro.evaluation.many_runs import parser_of_runs, score_runs
from vlrepro.evaluation.naming import Prompts, read_prompts
from vlrepro.evaluation.results import about, metrics, without_scores
from vlrepro.evaluation.zero_shot import class_vectors, outcomes, ranks
from vlrepro.evaluation.zero_shot_sets import ZeroShotSet, load_pictures, zero_shot_set
from vlrepro.files import read_json
from vlrepro.randomness import fix_kernels
from vlrepro.training.outcome import failure_of

Sets = Mapping[str, Mapping[str, ZeroShotSet]]
"""Set -> protocol -> what is classified among what."""


def main() -> None:
    """Parse the arguments; for each run classify and write."""
    parser = parser_of_runs(__doc__)
    parser.add_argument("--prompts", default="results/prompts", help="folder of the embedded prompts")
    parser.add_argument("--rankings", default="results/rankings", help="folder of the rankings")
    arguments = parser.parse_args()
    evaluation = read_json(arguments.evaluation)
    fix_kernels(evaluation["threads"])
    named = {name for entry in evaluation["sets"].values() for name in entry["prompts"].values()}
    prompts = {name: read_prompts(Path(arguments.prompts) / f"{name}.safetensors") for name in sorted(named)}
    sets = load_sets(evaluation, prompts, Path(arguments.data), Path(arguments.rankings))
    score_runs(arguments, lambda run, recipe, model: classified(run, recipe, model, evaluation, prompts, sets))


def load_sets(evaluation: Mapping[str, Any], prompts: Mapping[str, Prompts], data: Path, rankings: Path) -> Sets:
    """Every set under every protocol; a set's pictures are decoded once."""
    sets = {}
    for name, entry in evaluation["sets"].items():
        pictures = load_pictures(
            Pack(data / entry["pack"]), entry, evaluation["pictures"]["canvas"], evaluation["threads"]
        )
        ranking = rankings / f"{entry['hardest']['ranking']}.parquet" if "hardest" in entry else None
        sets[name] = {
            protocol: zero_shot_set(pictures, entry, prompts[key], ranking)
            for protocol, key in entry["prompts"].items()
        }
    return sets


def classified(
    run: str,
    recipe: Mapping[str, Any],
    model: str,
    evaluation: Mapping[str, Any],
    prompts: Mapping[str, Prompts],
    sets: Sets,
) -> dict[str, Any]:
    """The metrics of one run."""
    backbone = load_backbone(recipe, model)
    what = {
        name: about(evaluation["sets"][name]["metric"], len(first.candidates), len(first.truth))
        for name, found in sets.items()
        for first in [next(iter(found.values()))]
    }
    if failure := failure_of(model):
        scored = without_scores(evaluation["protocols"], what)
        return metrics(run, recipe, evaluation, size_of(backbone), failed=failure, protocols=scored)
    start = time.monotonic()
    joint = load_joint(recipe, model)
    vectors = {name: class_vectors(prompt_features(joint, entry.texts)) for name, entry in prompts.items()}
    pictures = {
        name: picture_features(joint, extract(backbone, next(iter(found.values())).pictures, evaluation["pictures"]))
        for name, found in sets.items()
    }
    seconds = round(time.monotonic() - start, 2)
    scored = {
        name: _score(name, entry, evaluation["sets"], sets, vectors, pictures, what)
        for name, entry in evaluation["protocols"].items()
    }
    return metrics(run, recipe, evaluation, size_of(backbone), feature_seconds=seconds, protocols=scored)


def prompt_features(joint: nn.Module, texts: Tensor) -> Tensor:
    """Prompts (C, T, ...) as the run's text tower reads them to features (C, T, d)."""
    return text_features(joint, texts.flatten(0, 1)).unflatten(0, texts.shape[:2])


def _score(
    name: str,
    protocol: Mapping[str, Any],
    entries: Mapping[str, Mapping[str, Any]],
    sets: Sets,
    vectors: Mapping[str, Tensor],
    pictures: Mapping[str, Tensor],
    what: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """One protocol on every set, with the seconds it took."""
    start, scored = time.monotonic(), {}
    for key, found in sets.items():
        chosen, count = found[name], what[key]["classes"]
        classes = vectors[entries[key]["prompts"][name]][chosen.candidates]
        right = outcomes(ranks(pictures[key][chosen.positions], classes, chosen.truth), protocol["top"], count)
        scored[key] = {
            "score": right.double().mean().item(),
            "examples": right.int().tolist(),
            "labels": chosen.truth.tolist(),
            "chance": protocol["top"] / count,
        } | dict(what[key])
        print(f"{name}: {key}: {scored[key]['score']:.4f}", flush=True)
    return {"kind": protocol["kind"], "seconds": round(time.monotonic() - start, 2), "sets": scored}


run_command(main)

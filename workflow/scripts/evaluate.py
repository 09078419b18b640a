"""Score runs' frozen features on every set of a group under every protocol of a suite; write a metrics file a run."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vlrepro.data.loader import Pictures
from vlrepro.data.pack import INDEX, Pack
from vlrepro.errors import run_command
from vlrepro.evaluation.features import extract, load_backbone, size_of
from vlrepro.evaluation.joint import load_joint, picture_features
from vlrepro.evaluation.many_runs import parser_of_runs, score_runs
from vlrepro.evaluation.protocols import SCORERS
from vlrepro.evaluation.results import about, metrics, without_scores
from vlrepro.evaluation.sets import EvaluationSet, evaluation_set
from vlrepro.files import read_json
from vlrepro.randomness import fix_kernels
from vlrepro.training.outcome import failure_of

Loaded = dict[str, tuple[EvaluationSet, Pictures]]
Features = Mapping[str, Mapping[str, Tensor]]
"""Kind of features ("trunk", "projected") -> set -> (n, d)."""


def main() -> None:
    """Parse the arguments; for each run extract, score, write."""
    parser = parser_of_runs(__doc__)
    arguments = parser.parse_args()
    evaluation = read_json(arguments.evaluation)
    fix_kernels(evaluation["threads"])
    loaded = {
        name: _load(Path(arguments.data) / entry["pack"], evaluation) for name, entry in evaluation["sets"].items()
    }
    score_runs(arguments, lambda run, recipe, model: evaluated(run, recipe, model, evaluation, loaded))


def _load(folder: Path, evaluation: Mapping[str, Any]) -> tuple[EvaluationSet, Pictures]:
    """A set's labels and splits, and its pictures: decoded once for all runs where they fit in memory."""
    pack = Pack(folder)
    pictures = Pictures(pack, evaluation["pictures"]["canvas"], threads=evaluation["threads"])
    return evaluation_set(pack.rows, folder / INDEX), pictures


def evaluated(
    run: str, recipe: Mapping[str, Any], model: str, evaluation: Mapping[str, Any], loaded: Loaded
) -> dict[str, Any]:
    """The metrics of one run."""
    backbone = load_backbone(recipe, model)
    sets = {
        name: about(entry["metric"], len(loaded[name][0].classes), len(loaded[name][0].labels["test"]))
        for name, entry in evaluation["sets"].items()
    }
    if failure := failure_of(model):
        scored = without_scores(evaluation["protocols"], sets)
        return metrics(run, recipe, evaluation, size_of(backbone), failed=failure, protocols=scored)
    start = time.monotonic()
    features = {"trunk": {name: extract(backbone, entry[1], evaluation["pictures"]) for name, entry in loaded.items()}}
    if any(entry.get("features") == "projected" for entry in evaluation["protocols"].values()):
        joint = load_joint(recipe, model)
        features["projected"] = {name: picture_features(joint, rows) for name, rows in features["trunk"].items()}
    seconds = round(time.monotonic() - start, 2)
    scored = {name: _score(name, entry, sets, loaded, features) for name, entry in evaluation["protocols"].items()}
    return metrics(run, recipe, evaluation, size_of(backbone), feature_seconds=seconds, protocols=scored)


def _score(
    name: str, protocol: Mapping[str, Any], sets: Mapping[str, Mapping[str, Any]], loaded: Loaded, features: Features
) -> dict[str, Any]:
    """One protocol on every set, with the seconds it took."""
    start = time.monotonic()
    options = {key: value for key, value in protocol.items() if key not in ("kind", "features")}
    rows = features[protocol.get("features", "trunk")]
    scorer, scored = SCORERS[protocol["kind"]], {}
    for key, what in sets.items():
        scored[key] = scorer(key, loaded[key][0], rows[key], options, what["metric"]) | what
        print(f"{name}: {key}: {scored[key]['score']:.4f}", flush=True)
    return {"kind": protocol["kind"], "seconds": round(time.monotonic() - start, 2), "sets": scored}


run_command(main)

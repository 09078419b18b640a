"""Score a run's frozen features on every set of a group under every protocol of a suite; write one metrics file."""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from vlrepro import __version__
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import INDEX, Pack
from vlrepro.errors import run_command
from vlrepro.evaluation.features import extract, load_backbone, size_of
from vlrepro.evaluation.protocols import SCORERS
from vlrepro.evaluation.sets import EvaluationSet, evaluation_set
from vlrepro.files import digest_of, read_json, write_json
from vlrepro.randomness import fix_kernels

Loaded = dict[str, tuple[EvaluationSet, Tensor]]


def main() -> None:
    """Parse the arguments, extract, score, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="the run's id")
    parser.add_argument("--recipe", required=True, help="the run's recipe")
    parser.add_argument("--model", required=True, help="the run's weights")
    parser.add_argument("--evaluation", required=True, help="the evaluation's recipe: which sets and protocols")
    parser.add_argument("--data", default="results/data", help="folder of the packs")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    recipe, evaluation = read_json(arguments.recipe), read_json(arguments.evaluation)
    fix_kernels(evaluation["threads"])
    model = load_backbone(recipe, arguments.model)
    start = time.monotonic()
    loaded = {
        name: _load(name, model, Path(arguments.data) / entry["pack"], evaluation)
        for name, entry in evaluation["sets"].items()
    }
    metrics = {
        "run": arguments.run,
        "recipe": digest_of(recipe),
        "evaluation": digest_of(evaluation),
        "backbone": size_of(model),
        "feature_seconds": round(time.monotonic() - start, 2),
        "protocols": {
            name: _score(name, protocol, evaluation["sets"], loaded)
            for name, protocol in evaluation["protocols"].items()
        },
        "versions": {"vlrepro": __version__, "torch": torch.__version__, "numpy": numpy.__version__},
    }
    write_json(arguments.output, metrics, indent=None)


def _load(name: str, model: nn.Module, folder: Path, evaluation: Mapping[str, Any]) -> tuple[EvaluationSet, Tensor]:
    """A set's labels and splits with its features (n, d), row by row of the pack's index."""
    pack, settings = Pack(folder), evaluation["pictures"]
    # Every picture is read once: nothing to keep.
    pictures = Pictures(pack, settings["canvas"], cache_bytes=0, threads=evaluation["threads"])
    features = extract(model, pictures, settings)
    print(f"{name}: features {tuple(features.shape)}", flush=True)
    return evaluation_set(pack.rows, folder / INDEX), features


def _score(
    name: str, protocol: Mapping[str, Any], sets: Mapping[str, Mapping[str, str]], loaded: Loaded
) -> dict[str, Any]:
    """One protocol on every set, with the seconds it took."""
    start = time.monotonic()
    options = {key: value for key, value in protocol.items() if key != "kind"}
    scored = {}
    for key, entry in sets.items():
        data, features = loaded[key]
        scored[key] = SCORERS[protocol["kind"]](key, data, features, options, entry["metric"]) | {
            "metric": entry["metric"],
            "classes": len(data.classes),
            "test_pictures": len(data.labels["test"]),
        }
        print(f"{name}: {key}: {scored[key]['score']:.4f}", flush=True)
    return {"kind": protocol["kind"], "seconds": round(time.monotonic() - start, 2), "sets": scored}


run_command(main)

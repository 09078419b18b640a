"""Score a run's features on every set of a group under every protocol of a suite; write one metrics file."""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import safe_open
from torch import Tensor

from vlrepro import __version__
from vlrepro.data.pack import read_index
from vlrepro.errors import UserError, run_command
from vlrepro.evaluation.protocols import SCORERS
from vlrepro.evaluation.sets import EvaluationSet, evaluation_set
from vlrepro.files import digest_of, read_json, write_json

Loaded = dict[str, tuple[EvaluationSet, Tensor]]


def main() -> None:
    """Parse the arguments, score, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True, help="the evaluation's recipe")
    parser.add_argument("--run", required=True)
    parser.add_argument("--features", required=True)
    parser.add_argument("--data", default="results/data", help="folder of the packs")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    recipe = read_json(arguments.recipe)
    torch.set_num_threads(recipe["threads"])
    torch.use_deterministic_algorithms(True)
    with safe_open(arguments.features, "pt") as stored:
        about = stored.metadata()
        loaded = {
            name: _load(name, stored.get_tensor(name), Path(arguments.data) / entry["pack"], arguments.features)
            for name, entry in recipe["sets"].items()
        }
    metrics = {
        "run": arguments.run,
        "evaluation": digest_of(recipe),
        "backbone": {key: int(about[key]) for key in ("parameters", "feature_width")},
        "protocols": {
            name: _score(name, protocol, recipe["sets"], loaded) for name, protocol in recipe["protocols"].items()
        },
        "versions": {"vlrepro": __version__, "torch": torch.__version__, "numpy": numpy.__version__},
    }
    write_json(arguments.output, metrics, indent=None)


def _load(name: str, features: Tensor, pack: Path, place: str) -> tuple[EvaluationSet, Tensor]:
    """A set's labels and splits with its features (n, d), row by row of the pack's index."""
    index = pack / "index.parquet"
    rows = read_index(index)
    if len(rows) != len(features):
        raise UserError(f"{place}: {name} has {len(features)} rows for {len(rows)} in {index}: extract again")
    return evaluation_set(rows, index), features


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

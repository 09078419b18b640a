"""Score a run's features on every set of a group under one protocol; write one metrics file."""

import argparse
import time
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file

from vlrepro import __version__
from vlrepro.data.pack import read_index
from vlrepro.errors import UserError, run_command
from vlrepro.evaluation.protocols import SCORERS
from vlrepro.evaluation.sets import evaluation_set
from vlrepro.files import digest_of, read_json, write_json


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
    features = load_file(arguments.features)
    sets, start = {}, time.monotonic()
    for name, entry in recipe["sets"].items():
        index = Path(arguments.data) / entry["pack"] / "index.parquet"
        rows = read_index(index)
        if len(rows) != len(features[name]):
            raise UserError(
                f"{arguments.features}: {len(features[name])} rows for {len(rows)} in {index}: extract again"
            )
        data = evaluation_set(rows, index)
        sets[name] = SCORERS[recipe["kind"]](name, data, features[name], recipe["protocol"], entry["metric"])
        sets[name] |= {
            "metric": entry["metric"],
            "classes": len(data.classes),
            "test_pictures": len(data.labels["test"]),
        }
        print(f"{name}: {sets[name]['score']:.4f}", flush=True)
    metrics = {
        "run": arguments.run,
        "kind": recipe["kind"],
        "evaluation": digest_of(recipe),
        "sets": sets,
        "seconds": round(time.monotonic() - start, 2),
        "versions": {"vlrepro": __version__, "torch": torch.__version__, "numpy": numpy.__version__},
    }
    write_json(arguments.output, metrics, indent=None)


run_command(main)

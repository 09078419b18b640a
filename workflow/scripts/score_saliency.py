"""Score the saliency maps of a run's backbone on a set with masks; write the scores and the probe that they explain."""

import argparse
import time

import numpy
import torch
from safetensors.torch import save_file

from vlrepro import __version__
from vlrepro.errors import run_command
from vlrepro.evaluation.features import load_backbone, size_of
from vlrepro.files import atomic_path, digest_of, read_json, write_json
from vlrepro.randomness import fix_kernels
from vlrepro.saliency.evaluation import masks_summary, print_left_out, score_run, set_of
from vlrepro.training.outcome import failure_of


def main() -> None:
    """Parse the arguments, score, write the probe and then the scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="the run's id")
    parser.add_argument("--recipe", required=True, help="the run's recipe")
    parser.add_argument("--model", required=True, help="the run's weights")
    parser.add_argument("--evaluation", required=True, help="the evaluation's recipe: set, probe and methods")
    parser.add_argument("--data", default="results/data", help="folder of the packs")
    parser.add_argument("--probe", required=True, help="where the probe is written, .safetensors")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    recipe, evaluation = read_json(arguments.recipe), read_json(arguments.evaluation)
    fix_kernels(evaluation["threads"])
    start = time.monotonic()
    backbone = load_backbone(recipe, arguments.model)
    found = set_of(evaluation, arguments.data)
    print_left_out(found)
    fitted, maps = score_run(backbone, found, evaluation)
    with atomic_path(arguments.probe) as part:
        save_file({"weights": fitted.probe.weights, "biases": fitted.probe.biases}, part)
    metrics = {
        "run": arguments.run,
        "recipe": digest_of(recipe),
        "evaluation": digest_of(evaluation),
        "protocol": evaluation["protocol"],
        "probe": evaluation["probe"],
        "probe_accuracy": fitted.accuracy,
        "probe_cost": fitted.cost,
        "backbone": size_of(backbone),
        "saliency": {
            "set": evaluation["set"],
            "classes": len(found.data.classes),
            "maps": maps,
            **masks_summary(found),
        },
        "seconds": round(time.monotonic() - start, 2),
        "versions": {"vlrepro": __version__, "torch": torch.__version__, "numpy": numpy.__version__},
    }
    if failure := failure_of(arguments.model):
        metrics["failed"] = failure
    write_json(arguments.output, metrics, indent=None)


run_command(main)

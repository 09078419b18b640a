"""Score maps that look at no model on a set with masks, tuned on its training masks."""

import argparse

from vlrepro.errors import run_command
from vlrepro.files import digest_of, read_json, write_json
from vlrepro.randomness import fix_kernels
from vlrepro.saliency.evaluation import masks_summary, print_left_out, set_of
from vlrepro.saliency.priors import score_priors


def main() -> None:
    """Parse the arguments, score, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluation", required=True, help="the evaluation's recipe: set and methods")
    parser.add_argument("--data", default="results/data", help="folder of the packs")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    evaluation = read_json(arguments.evaluation)
    fix_kernels(evaluation["threads"])
    found = set_of(evaluation, arguments.data)
    print_left_out(found)
    metrics = {
        "evaluation": digest_of(evaluation),
        "protocol": evaluation["protocol"],
        "methods": evaluation["methods"],
        "priors": score_priors(found, bool(evaluation["every_score"])),
        "saliency": {"set": evaluation["set"], "classes": len(found.data.classes), **masks_summary(found)},
    }
    write_json(arguments.output, metrics, indent=None)


run_command(main)

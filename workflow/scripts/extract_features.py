"""Extract a run's frozen features of all sets of a group."""

import argparse

import torch
from safetensors.torch import save_file

from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.errors import run_command
from vlrepro.evaluation.features import extract, load_backbone
from vlrepro.files import atomic_path, digest_of, read_json


def main() -> None:
    """Parse the arguments and write one tensor a set, in index order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True, help="the run's recipe")
    parser.add_argument("--evaluation", required=True, help="the evaluation's recipe: which sets")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", default="results/data", help="folder of the packs")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    recipe, evaluation = read_json(arguments.recipe), read_json(arguments.evaluation)
    torch.set_num_threads(evaluation["threads"])
    torch.use_deterministic_algorithms(True)
    model = load_backbone(recipe, arguments.model)
    about = {
        "parameters": str(sum(parameter.numel() for parameter in model.parameters())),
        "feature_width": str(model.feature_width),
    }
    features = {}
    for name, entry in evaluation["sets"].items():
        pictures = Pictures(Pack(f"{arguments.data}/{entry['pack']}"), evaluation["pictures"]["canvas"])
        features[name] = extract(model, pictures, evaluation["pictures"])
        print(f"{name}: {tuple(features[name].shape)}", flush=True)
    with atomic_path(arguments.output) as part:
        save_file(features, part, metadata=about | {"run": digest_of(recipe), "evaluation": digest_of(evaluation)})


run_command(main)

"""Find every picture's neighbours; write the pairs and a summary of what is known about them."""

import argparse
import shutil
from pathlib import Path

import faiss
import torch

from vlrepro.errors import run_command
from vlrepro.files import read_json, write_json
from vlrepro.pairs.finding import find_pairs, write_pairs


def main() -> None:
    """Parse the arguments, find the pairs, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--index", required=True, help="the pack's index.parquet")
    parser.add_argument("--captions", help="the caption file, for pairs by caption")
    parser.add_argument("--embeddings", help="of the captions or of the pictures, for pairs by either")
    parser.add_argument("--state", type=Path, help="a folder that keeps how far the search has come")
    parser.add_argument("--checkpoint-seconds", type=float, default=60.0)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--summary", required=True)
    arguments = parser.parse_args()
    recipe = read_json(arguments.recipe)
    faiss.omp_set_num_threads(recipe["threads"])
    torch.set_num_threads(recipe["threads"])
    files = (arguments.index, arguments.captions, arguments.embeddings)
    pairs, keys, summary = find_pairs(recipe, *files, arguments.state, arguments.checkpoint_seconds)
    write_pairs(arguments.pairs, pairs, keys, recipe)
    write_json(arguments.summary, summary)
    shares = ", ".join(f"{name} {values['share']:.3f}" for name, values in summary["purity"].items())
    if arguments.state:
        shutil.rmtree(arguments.state, ignore_errors=True)
    print(f"{arguments.pairs}: {len(pairs.source)} pairs, purity by {shares}")


run_command(main)

"""Score how well each caption of a caption file fits its picture; resume where an interrupted job stopped."""

import argparse
import math
from pathlib import Path

from vlrepro.captions.score_files import write_scores
from vlrepro.captions.scorer import score_pack
from vlrepro.data.pack import Pack
from vlrepro.errors import run_command
from vlrepro.files import read_json


def main() -> None:
    """Parse the arguments and write the scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--index", required=True, help="the pack's index.parquet")
    parser.add_argument("--captions", required=True)
    parser.add_argument("--model", required=True, help="the scorer: a folder or a hub name")
    parser.add_argument("--state", required=True, help="folder of the finished shards")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    recipe, pack = read_json(arguments.recipe), Pack(Path(arguments.index).parent)
    scores = score_pack(recipe, pack, arguments.captions, arguments.model, arguments.state)
    write_scores(arguments.output, scores, recipe)
    finite = [score for score in scores.values() if math.isfinite(score)]
    mean = sum(finite) / max(len(finite), 1)
    print(f"{arguments.output}: {len(finite)} scores, mean {mean:.3f}, {len(scores) - len(finite)} pictures not scored")


run_command(main)

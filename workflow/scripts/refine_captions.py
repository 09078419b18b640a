"""Keep, picture by picture, the better of an original and a generated caption."""

import argparse
from pathlib import Path

from vlrepro.captions.refine import read_captions, refine, write_refined
from vlrepro.captions.score_files import read_scores
from vlrepro.data.pack import read_index
from vlrepro.errors import run_command
from vlrepro.files import read_json, write_json


def main() -> None:
    """Parse the arguments, choose, write the captions and how many fell in each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--index", required=True, help="the pack's index.parquet")
    parser.add_argument("--original", required=True, help="the original captions")
    parser.add_argument("--original-scores", required=True)
    parser.add_argument("--generated", required=True, help="the generated captions")
    parser.add_argument("--generated-scores", required=True)
    parser.add_argument("--limit", type=float, required=True, help="share of pictures that may be without a caption")
    parser.add_argument("--output", required=True)
    parser.add_argument("--summary", required=True)
    arguments = parser.parse_args()
    recipe = read_json(arguments.recipe)
    refined = refine(
        read_index(arguments.index),
        read_captions(arguments.original),
        read_scores(arguments.original_scores),
        read_captions(arguments.generated),
        read_scores(arguments.generated_scores),
        arguments.limit,
        Path(arguments.index).parent,
        recipe.get("margin", 0.0),
    )
    for key in refined.left_out:
        print(f"left out: {key}: neither an original nor a generated caption is usable")
    write_refined(arguments.output, refined, recipe)
    chosen = sum(chosen == "generated" for _, _, chosen in refined.candidates)
    total = {"pictures": refined.cases.total(), "captions": len(refined.usable), "generated_chosen": chosen}
    write_json(arguments.summary, total | {"cases": dict(refined.cases)})
    cases = ", ".join(f"{case} {count}" for case, count in refined.cases.most_common() if count)
    print(f"{arguments.output}: {len(refined.usable)} captions, {chosen} of them generated ({cases})")


run_command(main)

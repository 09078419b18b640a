"""Write the caption file of one caption source."""

import argparse
from collections import Counter
from pathlib import Path

from vlrepro.captions.sources import captioned, split_usable, write_captions
from vlrepro.data.pack import read_index
from vlrepro.errors import run_command
from vlrepro.files import read_json


def main() -> None:
    """Parse the arguments and write the captions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--index", required=True, help="the pack's index.parquet")
    parser.add_argument("--limit", type=float, required=True, help="share of captions that may be unusable")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    recipe = read_json(arguments.recipe)
    rows, captions = zip(*captioned(read_index(arguments.index), recipe), strict=True)
    usable, rejected = split_usable(rows, captions, arguments.limit, Path(arguments.index).parent)
    for key, reason in rejected:
        print(f"left out: {key}: {reason}")
    write_captions(arguments.output, usable, recipe)
    kinds = ", ".join(f"{kind} {count}" for kind, count in Counter(c.kind for _, c in usable).most_common())
    print(f"{arguments.output}: {len(usable)} captions ({kinds}), {len(rejected)} rejected")


run_command(main)

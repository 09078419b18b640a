"""Read the text in a pack's pictures; resume where an interrupted job stopped."""

import argparse
from pathlib import Path

from vlrepro.captions.text_spotting import spot_pack, write_spotted
from vlrepro.data.pack import Pack
from vlrepro.errors import run_command
from vlrepro.files import read_json


def main() -> None:
    """Parse the arguments and write the texts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--index", required=True, help="the pack's index.parquet")
    parser.add_argument("--state", required=True, help="folder of the finished shards")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    recipe = read_json(arguments.recipe)
    spotted = spot_pack(recipe, Pack(Path(arguments.index).parent), arguments.state)
    write_spotted(arguments.output, spotted, recipe)
    print(
        f"{arguments.output}: text in {sum(bool(entry.texts) for entry in spotted.values())} of {len(spotted)} pictures"
    )


run_command(main)

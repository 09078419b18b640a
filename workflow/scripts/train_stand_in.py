"""Train a stand-in captioner or scorer on a reference pack; write its checkpoint folder."""

import argparse
import time
from pathlib import Path

from vlrepro.captions.stand_ins import train_stand_in
from vlrepro.data.pack import Pack
from vlrepro.errors import run_command
from vlrepro.files import read_json


def main() -> None:
    """Parse the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--index", required=True, help="the reference pack's index.parquet")
    parser.add_argument("--output", required=True, help="the folder to write")
    arguments = parser.parse_args()
    recipe, started = read_json(arguments.recipe), time.monotonic()
    train_stand_in(recipe, Pack(Path(arguments.index).parent), arguments.output)
    print(f"{arguments.output}: a stand-in {recipe['kind']}, {time.monotonic() - started:.0f} s")


run_command(main)

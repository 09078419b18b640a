"""Write one artefact's recipe: the small JSON file that says everything its content depends on."""

import argparse
import json

from vlrepro.errors import run_command
from vlrepro.files import write_json


def main() -> None:
    """Parse the arguments and write the recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True, help="the recipe as JSON text")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    write_json(arguments.output, json.loads(arguments.recipe))


run_command(main)

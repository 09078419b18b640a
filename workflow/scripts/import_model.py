"""Write a pre-trained dual encoder's weights as a run's: converted once, read by every evaluation."""

import argparse
from pathlib import Path

from vlrepro.dual_encoders import import_model
from vlrepro.errors import run_command
from vlrepro.files import read_json


def main() -> None:
    """Parse the arguments, import, say from where."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True, help="of the run: its `dual_encoder` is the model's entry")
    parser.add_argument("--checkpoint", help="the weights, in the place of what the recipe says")
    parser.add_argument("--accept-licence", action="store_true", help="of the weights, as docs/retrieval.md names it")
    parser.add_argument("--model", required=True, help="the weights to write; what reads them goes beside them")
    arguments = parser.parse_args()
    entry = read_json(arguments.recipe)["dual_encoder"]
    import_model(entry, Path(arguments.model).parent, arguments.checkpoint, arguments.accept_licence)
    print(f"{arguments.model}: imported, kind {entry['kind']}")


run_command(main)

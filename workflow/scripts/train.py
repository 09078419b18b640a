"""Train one run; resume where an interrupted one stopped."""

import argparse
from pathlib import Path

from vlrepro.errors import run_command
from vlrepro.files import read_json
from vlrepro.training.loop import Files, train


def main() -> None:
    """Parse the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--index", required=True, help="the training pack's index.parquet")
    parser.add_argument("--pairs", help="mined pairs; without them both views are of the same picture")
    parser.add_argument("--texts", help="embeddings of the captions, for frameworks that read them")
    parser.add_argument("--captions", help="the caption file whose rows --texts holds")
    parser.add_argument("--state", required=True, help="folder of the training state")
    parser.add_argument("--checkpoint-seconds", type=float, default=60)
    parser.add_argument("--model", required=True, help="the weights to write; history.jsonl goes beside them")
    arguments = parser.parse_args()
    output = Path(arguments.model).parent
    train(
        read_json(arguments.recipe),
        Files(Path(arguments.index).parent, arguments.pairs, arguments.texts, arguments.captions),
        arguments.state,
        output,
        arguments.checkpoint_seconds,
        name=output.name,
    )


run_command(main)

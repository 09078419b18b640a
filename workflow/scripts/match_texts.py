"""Print how well each text matches a picture, by a pre-trained dual encoder: a check of imported weights."""

import argparse
from pathlib import Path

from vlrepro.dual_encoders import PRETRAINED, load_dual_encoder
from vlrepro.dual_encoders.matching import match
from vlrepro.errors import run_command


def main() -> None:
    """Parse the arguments, print a probability a text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="model.safetensors of an imported run")
    parser.add_argument("--picture", required=True, type=Path)
    parser.add_argument("--text", required=True, nargs="+", help="texts, read as they are")
    arguments = parser.parse_args()
    encoder = load_dual_encoder({"framework": PRETRAINED}, arguments.model, {})
    for text, share in zip(arguments.text, match(encoder, arguments.picture, arguments.text), strict=True):
        print(f"{share:.8f}  {text}")


run_command(main)

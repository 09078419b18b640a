"""Parse the captions of a caption file: complexity, actions, objects and attributes of each."""

import argparse

from vlrepro.captions.parsing import load_parser, parse_captions, write_parses
from vlrepro.captions.score_files import read_texts
from vlrepro.errors import run_command
from vlrepro.files import read_json


def main() -> None:
    """Parse the arguments, then the captions, and write what they say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--captions", required=True)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    recipe, texts = read_json(arguments.recipe), read_texts(arguments.captions)
    parses = parse_captions(list(texts.values()), load_parser(recipe["parser"]))
    write_parses(arguments.output, dict(zip(texts, parses, strict=True)), recipe)
    relating = sum(parse.complexity > 0 for parse in parses)
    acting = sum(parse.actions > 0 for parse in parses)
    print(f"{arguments.output}: {len(parses)} captions, {relating} with a relation, {acting} with an action")


run_command(main)

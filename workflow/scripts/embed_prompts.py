"""Write every class of a pack in every template and embed the sentences, once for all runs of a text encoder."""

import argparse
from pathlib import Path

import torch

from vlrepro.data.pack import Pack
from vlrepro.errors import run_command
from vlrepro.evaluation.naming import Prompts, class_names, write_prompts
from vlrepro.evaluation.templates import fill, templates
from vlrepro.evaluation.zero_shot import check_names
from vlrepro.files import read_json
from vlrepro.pairs.encoding import embed, token_ids


def main() -> None:
    """Parse the arguments, fill the templates, embed, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--index", required=True, help="index.parquet of the pack whose captions name the classes")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    recipe = read_json(arguments.recipe)
    torch.set_num_threads(recipe["threads"])
    folder = Path(arguments.index).parent
    named = class_names(Pack(folder).rows, recipe["classes"], folder)
    check_names(list(named.values()), recipe["repeated_names"], f"{folder}: class names")
    chosen = templates(recipe["templates"])
    prompts = [fill(template, name) for name in named.values() for template in chosen]
    tokens, encoder = recipe["kind"] == "tokens", recipe["encoder"]
    rows = token_ids(prompts, encoder).ids if tokens else torch.from_numpy(embed(prompts, encoder))
    texts = rows.unflatten(0, (len(named), len(chosen)))
    write_prompts(arguments.output, Prompts(tuple(named), tuple(named.values()), texts), recipe)
    print(f"{arguments.output}: {len(named)} classes in {len(chosen)} templates")


run_command(main)

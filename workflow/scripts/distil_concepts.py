"""Ask a teacher what it sees in every picture of a pack; write it, and how far that agrees with the captions."""

import argparse

from vlrepro.captions.concept_files import KINDS, read_named, write_concepts
from vlrepro.captions.concepts import distil
from vlrepro.data.pack import read_index
from vlrepro.errors import run_command
from vlrepro.files import read_json, write_json
from vlrepro.pairs.embeddings import read_embeddings
from vlrepro.randomness import fix_kernels


def main() -> None:
    """Parse the arguments, fit the heads, ask them, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--index", required=True, help="the pack's index.parquet")
    parser.add_argument("--parses", required=True, help="what its captions name")
    parser.add_argument("--embeddings", required=True, help="its pictures by the teacher")
    parser.add_argument("--output", required=True)
    parser.add_argument("--summary", required=True)
    arguments = parser.parse_args()
    recipe = read_json(arguments.recipe)
    fix_kernels(recipe["threads"])
    keys = [row.key for row in read_index(arguments.index)]
    features = read_embeddings(arguments.embeddings, len(keys), arguments.index)
    concepts, summary = distil(recipe, keys, features, read_named(arguments.parses), arguments.parses)
    write_concepts(arguments.output, concepts, recipe)
    write_json(arguments.summary, summary)
    for kind in KINDS:
        found = summary[kind]["held_out"]
        print(
            f"{arguments.output}: {summary[kind]['vocabulary']} {kind}; of what held-out captions name, the "
            f"{recipe['top']} likeliest hold {_share(found, 'teacher')}, the {recipe['top']} most frequent "
            f"{_share(found, 'frequent')}"
        )


def _share(found: dict, by: str) -> str:
    share = found[by]["recall"]
    return "none, as there are none" if share is None else f"{share:.1%}"


run_command(main)

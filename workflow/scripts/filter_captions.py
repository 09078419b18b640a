"""Keep the captions that a filter's rules let through, and count what each rule drops."""

import argparse

from vlrepro.captions.cat_filter import Sources, filter_captions, read_source, write_filtered
from vlrepro.captions.parsing import read_parses
from vlrepro.captions.text_spotting import read_spotted
from vlrepro.errors import run_command
from vlrepro.files import read_json, write_json


def main() -> None:
    """Parse the arguments, filter, write the captions and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--original", required=True, help="the captions to filter")
    parser.add_argument("--parses", help="of these captions, for rules on complexity and actions")
    parser.add_argument("--spotted", help="the texts in their pictures, for the rule on text")
    parser.add_argument("--output", required=True)
    parser.add_argument("--summary", required=True)
    arguments = parser.parse_args()
    recipe, table = read_json(arguments.recipe), read_source(arguments.original)
    sources = Sources(
        read_parses(arguments.parses) if arguments.parses else None,
        read_spotted(arguments.spotted) if arguments.spotted else None,
    )
    keys, captions = (table.column(name).to_pylist() for name in ("key", "caption"))
    found = filter_captions(keys, captions, sources, recipe["rules"], arguments.original)
    write_filtered(arguments.output, table, found.kept, recipe)
    write_json(arguments.summary, found.summary)
    dropped = ", ".join(f"{rule} {entry['dropped']}" for rule, entry in found.summary["rules"].items())
    print(f"{arguments.output}: {len(found.kept)} of {len(keys)} captions kept (dropped by {dropped})")


run_command(main)

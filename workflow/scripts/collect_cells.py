"""Gather the metrics of a table's runs into one cells file."""

import argparse

from vlrepro.errors import run_command
from vlrepro.tables.cells import collect_cells


def main() -> None:
    """Parse the arguments and collect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", nargs="+", required=True)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    collect_cells(arguments.metrics, arguments.output)


run_command(main)

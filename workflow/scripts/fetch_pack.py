"""Fetch one pack into its folder and check every picture."""

import argparse
import json
from pathlib import Path

from vlrepro.data.fetch import fetch_pack
from vlrepro.errors import run_command
from vlrepro.files import read_json


def main() -> None:
    """Parse the arguments and fetch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--limit", type=float, required=True, help="share of pictures that may be unusable")
    parser.add_argument("--output", required=True, help="the pack's index.parquet; shards go beside it")
    parser.add_argument("--state", help="a download: where it goes on from when it was interrupted")
    parser.add_argument("--pace", type=json.loads, help="a download: how hard the network is asked, as JSON")
    arguments = parser.parse_args()
    usable, rejected = fetch_pack(
        read_json(arguments.recipe), Path(arguments.output).parent, arguments.limit, arguments.state, arguments.pace
    )
    print(f"{Path(arguments.output).parent}: {usable} pictures usable, {rejected} rejected")


run_command(main)

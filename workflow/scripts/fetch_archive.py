"""Bring one archive of a set and unpack it; what went wrong is written down and left to the checklist."""

import argparse
import json

from vlrepro.data.archives.client import bring
from vlrepro.data.archives.unpack import unpack
from vlrepro.data.archives.wanted import all_wanted
from vlrepro.errors import UserError, run_command
from vlrepro.files import write_json


def main() -> None:
    """Parse the arguments and fetch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", required=True, type=json.loads, help="the pack's entry in the config, as JSON")
    parser.add_argument("--archive", required=True, help="the archive's key")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    wanted = all_wanted([arguments.pack])[arguments.archive]
    reason = None
    try:
        bring(wanted.archive, wanted.folder)
        unpack(wanted.archive, wanted.folder)
    except UserError as error:
        reason = str(error)
        print(reason)
    write_json(arguments.output, {"archive": arguments.archive, "reason": reason})


run_command(main)

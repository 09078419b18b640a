"""Bring the archives of a pack and unpack them; what went wrong is written down and left to the checklist."""

import argparse
import json
import signal

from vlrepro.data.archives.bringing import bring_all, sizes_text
from vlrepro.data.archives.wanted import wanted_of
from vlrepro.errors import run_command
from vlrepro.files import write_json


def main() -> None:
    """Parse the arguments and fetch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the pack's name")
    parser.add_argument("--pack", required=True, type=json.loads, help="the pack's entry in the config, as JSON")
    parser.add_argument("--without", nargs="*", default=[], help="keys of archives that are brought elsewhere")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    # Threads would be waited for, which is hours of download; what is on disk goes on where it was.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    wanted = [one for one in wanted_of(arguments.pack) if one.automatic and not one.there]
    wanted = [one for one in wanted if one.key not in arguments.without]
    print(f"{arguments.name}: {sizes_text(wanted)}", flush=True)
    write_json(arguments.output, {"pack": arguments.name, "archives": bring_all(wanted)})


run_command(main)

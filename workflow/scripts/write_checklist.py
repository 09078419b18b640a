"""Say what is there of a configuration's sets, what was fetched, and what a person must supply and where."""

import argparse
from pathlib import Path

from vlrepro.data.archives.checklist import as_json, as_text, checklist, incomplete
from vlrepro.errors import UserError, run_command
from vlrepro.files import read_json, write_json, write_text


def main() -> None:
    """Write and print the checklist; fail where something is missing. Records of what was tried are used up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packs", required=True, help="JSON file: name -> the pack's entry, its index and log")
    parser.add_argument("--folder", required=True, help="of checklist.txt, checklist.json and, in archives/, records")
    arguments = parser.parse_args()
    folder = Path(arguments.folder)
    records = sorted((folder / "archives").glob("*.json"))
    reasons = {key: reason for record in records for key, reason in read_json(record)["archives"].items()}
    items = checklist(read_json(arguments.packs), reasons)
    write_text(folder / "checklist.txt", as_text(items))
    write_json(folder / "checklist.json", as_json(items))
    print(as_text(items), end="", flush=True)
    for path in [*records, Path(arguments.packs)]:
        path.unlink(missing_ok=True)  # the next run tries again what did not come
    if lacking := incomplete(items):
        packs = ", ".join(dict.fromkeys(item.pack for item in lacking))
        cure = "follow it, run fetch again"
        raise UserError(f"{folder}/checklist.txt: {len(lacking)} files to supply or mend for {packs}: {cure}")


run_command(main)

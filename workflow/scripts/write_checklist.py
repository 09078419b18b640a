"""Say what is there of a configuration's sets, what was fetched, and what a person must supply and where."""

import argparse
from pathlib import Path

from vlrepro.data.archives.checklist import as_json, as_text, checklist, incomplete
from vlrepro.errors import UserError, run_command
from vlrepro.files import read_json, write_json, write_text


def main() -> None:
    """Write and print the checklist; fail where something is missing. Records of what was tried are used up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packs", required=True, help="JSON file: name -> the pack's entry and its index")
    parser.add_argument("--records", required=True, help="folder of the files about archives that were tried")
    parser.add_argument("--output", required=True, help="the checklist as text; as JSON beside it")
    arguments = parser.parse_args()
    records = sorted(Path(arguments.records).glob("*.json"))
    tried = [read_json(record) for record in records]
    items = checklist(read_json(arguments.packs), {record["archive"]: record["reason"] for record in tried})
    write_text(arguments.output, as_text(items))
    write_json(Path(arguments.output).with_suffix(".json"), as_json(items))
    print(as_text(items), end="", flush=True)
    for path in [*records, Path(arguments.packs)]:
        path.unlink(missing_ok=True)  # the next run tries again what did not come
    if lacking := incomplete(items):
        packs = ", ".join(dict.fromkeys(item.pack for item in lacking))
        raise UserError(f"{arguments.output}: {len(lacking)} files to supply for {packs}: follow it, run fetch again")


run_command(main)

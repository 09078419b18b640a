"""A folder of pictures with a table of captions or labels: bring your own data.

<path>/index.csv      columns file, caption; optional: label, concept, group, author, date, split, licence
<path>/<file>         the pictures, in any folders below <path>
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from vlrepro.data.decoding import size_of
from vlrepro.data.pack import Picture, write_pack
from vlrepro.errors import UserError

_OPTIONAL = ("label", "concept", "group", "author", "date", "split", "licence")


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack the folder at `path` into `folder`.

    A picture that does not decode is packed as it is: the check after every fetch counts and lists it.
    Raises `UserError` naming the table, its line and the cure where a column is missing, text is not UTF-8, or a
    file is missing or outside the folder.
    """
    path = Path(path)
    write_pack(folder, _pictures(path, _rows(path / "index.csv")))


def _rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        raise UserError(f"{table}: no such table: write one with the columns file and caption")
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{table}: line {line} is not UTF-8: save the table as UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = {"file", "caption"} - set(reader.fieldnames or ())
    if missing:
        raise UserError(f"{table}: the column {', '.join(sorted(missing))} is missing: add it to the first line")
    return list(reader)


def _pictures(path: Path, rows: list[dict[str, str]]) -> Iterator[Picture]:
    root = path.resolve()
    for line, row in enumerate(rows, start=2):
        file = (path / (row["file"] or "")).resolve()
        if not file.is_relative_to(root) or not file.is_file():
            raise UserError(
                f"{path / 'index.csv'}: line {line}: {row['file']!r} is no file below {path}: mend the line"
            )
        data = file.read_bytes()
        width, height = size_of(data)
        optional = {name: row.get(name) or "" for name in _OPTIONAL}
        key = f"{line - 2:09d}"
        yield Picture(
            key, data, file.suffix.lower(), width, height, caption=row["caption"] or "", source=row["file"], **optional
        )

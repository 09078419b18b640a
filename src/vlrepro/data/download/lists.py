"""Lists of URLs: Conceptual Captions' table and RedCaps' annotations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vlrepro.errors import UserError


@dataclass(frozen=True)
class Entry:
    """One row of a list: where the picture is and what is known of it; `date` is an ISO 8601 day in UTC."""

    url: str
    caption: str
    group: str = ""
    author: str = ""
    date: str = ""


def read_list(path: str | Path, kind: str) -> Iterator[Entry]:
    """The rows of the list at `path`, of a format of `FORMATS`, in their order.

    Raises `UserError` naming the file and the line or row where it is missing or malformed.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such list of URLs: get it from the data set's site or mend packs in the config")
    return FORMATS[kind](path)


def list_files(path: str | Path) -> list[Path]:
    """The files that a list consists of: itself, or a folder's *.json in order of their names."""
    path = Path(path)
    return sorted(path.glob("*.json")) if path.is_dir() else [path]


def _conceptual_captions(path: Path) -> Iterator[Entry]:
    """Lines caption<TAB>url without a header (Sharma et al. 2018, "Conceptual Captions"; the release's format)."""
    if path.is_dir():
        raise UserError(f"{path}: a folder, but Conceptual Captions' list is one file: name the .tsv")
    with path.open("rb") as lines:  # bytes: a caption may hold what Python's text files take for a line's end
        for number, line in enumerate(lines, start=1):
            try:
                fields = line.rstrip(b"\r\n").decode("utf-8").split("\t")
            except UnicodeDecodeError:
                raise UserError(f"{path}: line {number} is not UTF-8: get the list again") from None
            if len(fields) != 2:
                raise UserError(f"{path}: line {number}: {len(fields)} fields instead of caption and URL: mend it")
            yield Entry(url=fields[1].strip(), caption=fields[0].strip())


def _redcaps(path: Path) -> Iterator[Entry]:
    """Annotation files (Desai et al. 2021, "RedCaps", version 1.0): one JSON, or a folder with one a subreddit."""
    files = list_files(path)
    if not files:
        raise UserError(f"{path}: no *.json in the folder: unpack the annotations there")
    for file in files:
        for number, row in enumerate(_annotations(file)):
            try:
                yield _annotated(row)
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                what = f"{type(error).__name__}: {error}"
                raise UserError(f"{file}: annotation {number} is malformed ({what}): get the file again") from None


def _annotations(file: Path) -> list[Any]:
    try:
        rows = json.loads(file.read_bytes())["annotations"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: no RedCaps annotations ({error}): get the file again") from None
    if not isinstance(rows, list):
        raise UserError(f"{file}: its annotations are no list: get the file again")
    return rows


def _annotated(row: dict[str, Any]) -> Entry:
    for name in ("image_id", "url", "caption", "subreddit", "author"):
        if not isinstance(row[name], str):
            raise TypeError(f"{name} is no text")
    date = datetime.fromtimestamp(row["created_utc"], UTC).date().isoformat()
    return Entry(row["url"].strip(), row["caption"].strip(), row["subreddit"], row["author"], date)


FORMATS: dict[str, Callable[[Path], Iterator[Entry]]] = {
    "conceptual_captions": _conceptual_captions,
    "redcaps": _redcaps,
}

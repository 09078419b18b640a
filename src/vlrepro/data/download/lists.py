"""Lists of URLs: Conceptual Captions' table and RedCaps' annotations."""

from __future__ import annotations

import hashlib
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


# What is published, by the name of a list's file: rows. Conceptual Captions' home page.
PUBLISHED_ROWS = {"Train_GCC-training.tsv": 3_318_333, "Validation_GCC-1.1.0-Validation.tsv": 15_840}
# RedCaps 1.0's annotation files of a year: their number and the SHA-256 of their names, sorted, one a line. One file a
# subreddit; the names are those of the set's loader in Hugging Face's `datasets` 1.18 (red_caps.py).
PUBLISHED_FILES = {
    2017: (344, "b7c2efc4ca6f6897a20da6ced15c04acd3ed45912b8258a614b7ee8376e9edb3"),
    2018: (347, "1f3c96b827d8dc4e5cedda530526e28b4e3e16359577348d2a0f895d44f4975c"),
    2019: (350, "24b15bd6af7e5470858bb36ab5eea29e645969f165b5a2bab9ed26e5654d8316"),
    2020: (350, "e311fdfa0af68865dae1a291515f32d5130c67f6accd3a6d98da825cb2d9c4a6"),
}


def read_list(path: str | Path, kind: str, year: int | None = None) -> Iterator[Entry]:
    """The rows of the list at `path`, of a format of `FORMATS`, in their order; of its files of one `year`, or of all.

    Raises `UserError` naming the file and the line or row where it is missing or malformed.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such list of URLs: get it from the data set's site or mend packs in the config")
    return FORMATS[kind](path, year)


def list_files(path: str | Path, year: int | None = None) -> list[Path]:
    """The files that a list consists of: itself, or a folder's *.json (of a year: *_<year>.json) in order of names."""
    path = Path(path)
    return sorted(path.glob(_pattern(year))) if path.is_dir() else [path]


def _pattern(year: int | None) -> str:
    return "*.json" if year is None else f"*_{year}.json"


def check_whole(path: str | Path, rows: int, year: int | None = None) -> None:
    """Raise `UserError` where a list has the name of a published one but not its number of `rows`, or not its files.

    A folder of RedCaps' annotations is compared where a `year` is asked for: without one it is whatever it holds.
    """
    path = Path(path)
    if year is not None and not path.is_dir() and not path.match(_pattern(year)):
        raise UserError(f"{path}: no file {_pattern(year)}: name one, or their folder, or leave web.year out")
    cure = "get the whole list again, or give your own another name"
    expected = PUBLISHED_ROWS.get(path.name, rows)
    if rows != expected:
        raise UserError(f"{path}: {rows:,} rows instead of {expected:,}: {cure}")
    if path.is_dir() and year in PUBLISHED_FILES:
        names = [file.name for file in list_files(path, year)]
        number, digest = PUBLISHED_FILES[year]
        if len(names) != number:
            raise UserError(f"{path}: {len(names)} files {_pattern(year)} instead of {number}: unpack all of them")
        if hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest() != digest:
            raise UserError(f"{path}: the files {_pattern(year)} do not have the names of release 1.0: unpack it again")


def _conceptual_captions(path: Path, year: int | None) -> Iterator[Entry]:
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


def _redcaps(path: Path, year: int | None) -> Iterator[Entry]:
    """Annotation files (Desai et al. 2021, "RedCaps", version 1.0): one JSON, or a folder with one a subreddit."""
    files = list_files(path, year)
    if not files:
        raise UserError(f"{path}: no {_pattern(year)} in the folder: unpack the annotations there")
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


FORMATS: dict[str, Callable[[Path, int | None], Iterator[Entry]]] = {
    "conceptual_captions": _conceptual_captions,
    "redcaps": _redcaps,
}

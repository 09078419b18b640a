"""Reading what the archives have in common: text tables, class folders, raw records, MATLAB files.

A set's own folder may hold symbolic links, as shared storage does; what a table lists may not lead out of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlrepro.errors import UserError

ENDINGS = (".jpg", ".jpeg", ".png")
_CURE = "docs/packs.md says which archive belongs where"
_AGAIN = "unpack its archive again"


def file_at(place: Path) -> Path:
    """The file `place` itself. Raises `UserError` where there is none."""
    if not place.is_file():
        raise UserError(f"{place}: no such file: {_CURE}")
    return place


def folder_at(place: Path) -> Path:
    """The folder `place` itself. Raises `UserError` where there is none."""
    if not place.is_dir():
        raise UserError(f"{place}: no such folder: {_CURE}")
    return place


def text_lines(place: Path) -> list[str]:
    """The lines of a table that are not blank, without white space around them.

    Raises `UserError` where the file is missing, holds none or is not UTF-8.
    """
    try:
        text = file_at(place).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8 ({error.reason} at byte {error.start}): {_AGAIN}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{place}: the file is empty: {_AGAIN}")
    return lines


def malformed(place: Path, line: str, expected: str) -> UserError:
    """The error for a line of a table that is not as `expected`."""
    return UserError(f"{place}: not {expected}: {line[:80]!r}: {_AGAIN}")


def listed(root: Path, source: str, table: Path) -> str:
    """`source` itself, the name of a file below `root` that `table` lists.

    Raises `UserError` where it leads out of `root` or there is no such file.
    """
    path = PurePosixPath(source)
    if path.is_absolute() or ".." in path.parts or "\\" in source:
        raise UserError(f"{table}: {source[:80]!r} leads out of {root}: {_AGAIN}")
    if not (root / source).is_file():
        raise UserError(f"{root / source}: no such file, though {table.name} lists it: {_AGAIN}")
    return source


def class_folders(place: Path) -> list[str]:
    """Names of the folders in `place`, sorted, without hidden ones. Raises `UserError` where `place` is no folder."""
    return sorted(entry.name for entry in folder_at(place).iterdir() if entry.is_dir() and entry.name[0] != ".")


def pictures_in(root: Path, folder: str, endings: Sequence[str] = ENDINGS) -> list[str]:
    """Pictures in a folder below `root`, sorted, as names below `root`.

    Raises `UserError` where the folder is missing or holds none.
    """
    found = sorted(
        f"{folder}/{entry.name}"
        for entry in folder_at(root / folder).iterdir()
        if entry.suffix.lower() in endings and entry.name[0] != "."
    )
    if not found:
        raise UserError(f"{root / folder}: no pictures ({', '.join(endings)}) in it: {_AGAIN}")
    return found


def raw_records(place: Path, length: int) -> NDArray[np.uint8]:
    """A file of records of `length` bytes as (n, length), read from disk as they are used.

    Raises `UserError` where the file is missing, empty or not a whole number of records.
    """
    size = file_at(place).stat().st_size
    if size == 0 or size % length:
        raise UserError(f"{place}: {size:,} bytes are no whole number of records of {length:,}: {_AGAIN}")
    return np.asarray(np.memmap(place, np.uint8, "r")).reshape(-1, length)


def matlab(place: Path, *names: str) -> list[NDArray[Any]]:
    """Arrays of a MATLAB file by their names, without axes of length one.

    Raises `UserError` where the file is missing, damaged or lacks one.
    """
    from scipy.io import loadmat

    file_at(place)
    try:
        found = loadmat(place, squeeze_me=True, variable_names=names)
    except Exception as error:  # a damaged file makes scipy raise anything
        raise UserError(f"{place}: not a readable MATLAB file ({error}): {_AGAIN}") from error
    if absent := [name for name in names if name not in found]:
        raise UserError(f"{place}: no {absent[0]} in it: {_AGAIN}")
    return [np.asarray(found[name]) for name in names]


def class_number(value: Any, classes: int, place: Path, first: int = 1) -> int:
    """A class number of a table, `first` to `first` + `classes` - 1. Raises `UserError` where it is none."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = first - 1
    if not first <= number < first + classes:
        raise UserError(
            f"{place}: {str(value)[:40]!r} is no class: they are {first} to {first + classes - 1}: {_AGAIN}"
        )
    return number


def in_words(label: str) -> str:
    """A class name as its archive writes it, with spaces for underscores and slashes and inside of "CamelCase"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[_/]", " ", label)

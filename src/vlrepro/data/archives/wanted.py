"""Which archives the packs of a configuration need, where each belongs, and what of it is there."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlrepro.data.archives.unpack import is_packed, is_unpacked
from vlrepro.data.sources.about import About, Archive
from vlrepro.errors import UserError

_BY_REVISION = {"karpathy-5k": "COCO", "karpathy-1k": "FLICKR30K"}
_LISTS = {  # by format and name: under another name it is a list of the user's own
    ("redcaps", "annotations"): "REDCAPS",
    ("conceptual_captions", "Train_GCC-training.tsv"): "GCC_TRAIN",
    ("conceptual_captions", "Validation_GCC-1.1.0-Validation.tsv"): "GCC_VALIDATION",
}


@dataclass(frozen=True)
class Wanted:
    """An archive, its set, and the folder that it belongs in."""

    about: About
    archive: Archive
    folder: Path

    @property
    def key(self) -> str:
        """A name of its own for a file about it: the folder's and the archive's."""
        return "-".join([*self.folder.parts, self.archive.name]).replace("/", "").lstrip("-")

    @property
    def there(self) -> bool:
        """Whether what is read of it exists and is whole."""
        return is_unpacked(self.archive, self.folder)

    @property
    def automatic(self) -> bool:
        """Whether it can be had without a person: by its URL, or because a person put the packed file there."""
        packed = (
            not self.archive.arranged and is_packed(self.archive.name) and (self.folder / self.archive.name).is_file()
        )
        return self.archive.url is not None or packed


def record_of(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Where the record of a pack (source, path, revision, web) is: the module below `data.sources`, and its name there.

    There is not always one; the name of a list of the user's own is "". Raises `UserError` where a pack of Karpathy's
    split is of neither set.
    """
    source = str(entry["source"])
    if source == "web":
        return "web_lists", _LISTS.get((entry["web"]["format"], Path(entry["path"]).name), "")
    if source == "karpathy":
        name = _BY_REVISION.get(str(entry["revision"]))
        if name is None:
            raise UserError(f"{entry['path']}: revision of source karpathy: set it to one of {', '.join(_BY_REVISION)}")
        return source, name
    return source, "ABOUT"


def about_of(entry: Mapping[str, Any]) -> About | None:
    """What is published about the set of a pack (source, path, revision, web), or None where it is of no known set.

    Raises `UserError` where its source does not exist or a pack of Karpathy's split is of neither set.
    """
    source, name = record_of(entry)
    try:
        return getattr(importlib.import_module(f"vlrepro.data.sources.{source}"), name, None)
    except ModuleNotFoundError:
        raise UserError(f"source {source!r} has no file in vlrepro/data/sources: mend packs in the config") from None


def wanted_of(entry: Mapping[str, Any]) -> list[Wanted]:
    """The archives of a pack, which belong in its `path` (beside it where that is a list of URLs)."""
    about = about_of(entry)
    if about is None:
        return []
    path = Path(entry["path"])
    folder = path.parent if entry["source"] == "web" else path
    return [Wanted(about, archive, folder) for archive in about.archives]


def all_wanted(entries: Iterable[Mapping[str, Any]]) -> dict[str, Wanted]:
    """Every archive of the packs by its key, once where packs share it."""
    return {wanted.key: wanted for entry in entries for wanted in wanted_of(entry)}


def is_ready(entry: Mapping[str, Any]) -> bool:
    """Whether all that a pack is made of is on disk."""
    found = wanted_of(entry)
    if found:
        return all(wanted.there for wanted in found)
    return entry["path"] is None or Path(entry["path"]).exists()

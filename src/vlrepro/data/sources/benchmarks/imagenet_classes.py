"""ImageNet-1K's classes and the sets that are labelled with them: WordNet ids as labels, prompted names as captions.

Class numbers are places in the sorted WordNet ids. Which ids there are is checked by digest, so that a folder of other
classes, or one that is missing, is never a shifted numbering. ImageNet-V2, -A and -R lack some or all ids: beside them
lies `<path>/wnids.txt` with the 1,000 of ILSVRC-2012, one a line in any order (`ls <val folder> > wnids.txt`).
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.open_clip_tables import imagenet_class_names, lines_digest
from vlrepro.data.sources.benchmarks.examples import Example
from vlrepro.data.sources.benchmarks.files import class_folders, pictures_in, text_lines
from vlrepro.errors import UserError

WNIDS = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"
WNIDS_A = "f6aa4b23244554d9b864fd715ae20048f6a9686388911b2dfbf1ada01bf0f520"
WNIDS_R = "e19a59d84e3746fafd34d2ccf6ae604a44e9a0500a596f343c878a89e30ce624"
"""SHA-256 of the sorted WordNet ids joined by newlines: the 1,000 of ILSVRC-2012, the 200 of ImageNet-A and of -R."""


def listed_wnids(path: Path) -> list[str]:
    """The 1,000 sorted WordNet ids of `<path>/wnids.txt`. Raises `UserError` where it is missing or has others."""
    place = path / "wnids.txt"
    if not place.is_file():
        cure = "list the folder names of ILSVRC-2012's val in it, one a line"
        raise UserError(f"{place}: no such file: {cure}")
    return _checked(sorted(text_lines(place)), WNIDS, "ILSVRC-2012", place)


def folder_wnids(place: Path, digest: str | None = None, what: str = "ILSVRC-2012") -> list[str]:
    """The sorted folder names of `place`, by default the 1,000. Raises `UserError` where they are not `what`'s."""
    return _checked(class_folders(place), digest or WNIDS, what, place)


def _checked(wnids: list[str], digest: str, what: str, place: Path) -> list[str]:
    if lines_digest(wnids) != digest:
        cure = "take all its classes and no others"
        raise UserError(f"{place}: {len(wnids):,} names that are not the WordNet ids of {what}: {cure}")
    return wnids


def names_of(wnids: list[str]) -> dict[str, str]:
    """WordNet id -> prompted name, of all 1,000 sorted ids. Raises `UserError` where open_clip has other names."""
    return dict(zip(wnids, imagenet_class_names(), strict=True))


def in_class_folders(path: Path, folder: str, split: str, wnids: list[str], names: dict[str, str]) -> list[Example]:
    """The pictures of `<path>/<folder>/<wnid>`, by class and file name. Raises `UserError` where a folder is empty."""
    return [
        Example(path, source, wnid, split, names[wnid])
        for wnid in wnids
        for source in pictures_in(path, f"{folder}/{wnid}")
    ]


def subset(path: Path, folder: str, digest: str, what: str) -> list[Example]:
    """The pictures of a test set that has some of the 1,000 classes in folders of their ids (`digest`), as `what`.

    Raises `UserError` where `<path>/wnids.txt` or a folder is missing or has other classes.
    """
    names = names_of(listed_wnids(path))
    return in_class_folders(path, folder, "test", folder_wnids(path / folder, digest, what), names)

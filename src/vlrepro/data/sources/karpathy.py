"""The test pictures of COCO and Flickr30K with all of their captions, for retrieval.

The splits are those of Karpathy and Fei-Fei 2015, "Deep Visual-Semantic Alignments for Generating Image Descriptions"
(section 4.1), as the archive `caption_datasets.zip` has them. A folder holds one of the two:

<path>/dataset_coco.json         COCO 2014: 5,000 test pictures with 25,010 captions
<path>/val2014/*.jpg             the archive val2014.zip; the table names each picture's folder
<path>/dataset_flickr30k.json    Flickr30K: 1,000 test pictures with 5,000 captions
<path>/flickr30k-images/*.jpg    the archive flickr30k-images.tar.gz

A picture's first sentence is its caption, and the others are its `captions_other` under "2", "3" and so on: what the
caption method `every` reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlrepro.data.decoding import size_of
from vlrepro.data.pack import Picture, write_pack
from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import key_of
from vlrepro.data.sources.benchmarks.files import file_at, folder_at, listed
from vlrepro.errors import UserError

COCO = About(
    title="COCO 2014, Karpathy's test split",
    home_page="https://cocodataset.org",
    licence="CC-BY-4.0 (annotations); pictures under Flickr's terms",
    metric="retrieval",
    split="Karpathy's test split: 5,000 pictures",
    archives=(
        Archive(
            name="val2014.zip",
            url="http://images.cocodataset.org/zips/val2014.zip",
            unpacks_to="val2014",
            bytes=6_645_013_297,
            sha256="fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
        ),
        Archive(
            name="caption_datasets.zip",
            url="https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
            unpacks_to="dataset_coco.json",
            bytes=36_745_453,
            sha256="4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817",
        ),
    ),
)

FLICKR30K = About(
    title="Flickr30K, Karpathy's test split",
    home_page="https://shannon.cs.illinois.edu/DenotationGraph/",
    licence="non-commercial research and education, by form",
    metric="retrieval",
    split="Karpathy's test split: 1,000 pictures",
    archives=(
        Archive(
            name="flickr30k-images.tar.gz",
            url=None,
            unpacks_to="flickr30k-images",
        ),
        Archive(
            name="caption_datasets.zip",
            url="https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
            unpacks_to="dataset_flickr30k.json",
            bytes=36_745_453,
            sha256="4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817",
        ),
    ),
    by_hand="ask for the pictures by the form on its home page",
)

_AGAIN = "take it from caption_datasets.zip again"
_KEPT = frozenset({"images", "filename", "filepath", "split", "sentences", "raw"})  # tokens are most of the table


@dataclass(frozen=True)
class Release:
    """A table's published numbers of test pictures and captions; the pictures' folder, where no row says it."""

    pictures: int
    captions: int
    folder: str | None = None


RELEASES = {
    "dataset_coco.json": Release(5_000, 25_010),
    "dataset_flickr30k.json": Release(1_000, 5_000, "flickr30k-images"),
}


@dataclass(frozen=True)
class Captioned:
    """A test picture: its file below the set's folder, and its captions in the table's order."""

    source: str
    captions: tuple[str, ...]


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack the test split of the set at `path` into `folder`, files as they are, in the table's order.

    Raises `UserError` naming what is missing or malformed, a name that leads out of `path`, or numbers of pictures or
    captions that are not the published ones.
    """
    path = Path(path)
    table = table_in(path)
    found = captioned_pictures(path, table)
    _check_whole(found, RELEASES[table.name], table)
    write_pack(folder, _packed(path, found))


def table_in(path: Path) -> Path:
    """The one table of `RELEASES` that the folder holds. Raises `UserError` where there is none, or several."""
    found = [path / name for name in RELEASES if (folder_at(path) / name).is_file()]
    if len(found) != 1:
        names = " or ".join(RELEASES)
        raise UserError(f"{path}: {len(found)} tables {names} in it: give a folder with one of them (docs/packs.md)")
    return found[0]


def captioned_pictures(path: Path, table: Path) -> list[Captioned]:
    """The pictures that `table` puts into the split `test`, in its order; all of their files are there.

    Raises `UserError` where the table is no such JSON, or a file is missing or outside `path`.
    """
    return [
        Captioned(listed(path, _source(entry, table), table), _captions(entry, table))
        for entry in _entries(table)
        if entry.get("split") == "test"
    ]


def _entries(table: Path) -> list[dict[str, Any]]:
    try:
        text = file_at(table).read_text(encoding="utf-8")
        read = json.loads(text, object_hook=lambda found: {key: found[key] for key in _KEPT & found.keys()})
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested without end
        raise UserError(f"{table}: not readable as JSON ({error}): {_AGAIN}") from None
    entries = read.get("images") if isinstance(read, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{table}: no list of pictures under 'images': {_AGAIN}")
    return entries


def _source(entry: dict[str, Any], table: Path) -> str:
    folder, name = entry.get("filepath", RELEASES[table.name].folder), entry.get("filename")
    if not isinstance(folder, str) or not isinstance(name, str):
        raise UserError(f"{table}: a picture without filename and filepath: {str(entry)[:80]}: {_AGAIN}")
    return f"{folder}/{name}"


def _captions(entry: dict[str, Any], table: Path) -> tuple[str, ...]:
    sentences = entry.get("sentences")
    raw = [one.get("raw") if isinstance(one, dict) else None for one in sentences or [] if isinstance(sentences, list)]
    if not raw or not all(isinstance(text, str) for text in raw):
        raise UserError(f"{table}: {entry['filename']} has no sentences with the text 'raw': {_AGAIN}")
    return tuple(" ".join(text.split()) for text in raw)


def _check_whole(found: list[Captioned], release: Release, table: Path) -> None:
    captions = sum(len(one.captions) for one in found)
    if (len(found), captions) != (release.pictures, release.captions):
        numbers = f"{len(found):,} test pictures with {captions:,} captions"
        expected = f"{release.pictures:,} with {release.captions:,}"
        raise UserError(f"{table}: {numbers} instead of {expected}: {_AGAIN}")


def _packed(path: Path, found: list[Captioned]) -> Iterator[Picture]:
    """Rows of a pack, one picture in memory at a time; the check after every fetch lists what does not decode."""
    for one in found:
        data = (path / one.source).read_bytes()
        width, height = size_of(data)
        first, *others = one.captions
        numbered = {str(number): text for number, text in enumerate(others, start=2)}
        yield Picture(
            key=key_of(one.source),
            data=data,
            suffix=".jpg",
            width=width,
            height=height,
            caption=first,
            captions_other=json.dumps(numbered, ensure_ascii=False),
            split="test",
            source=one.source,
        )

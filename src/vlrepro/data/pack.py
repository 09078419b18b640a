"""The pack: an on-disk image set of WebDataset-style tar shards and one Parquet index.

A pack is a folder:

    index.parquet        one row a picture, in reading order (`SCHEMA`)
    shard-000000.tar     members <key>.png|webp|jpg, then <key>.json (the row's public fields)
    SHA256SUMS           `sha256sum`'s format, over the files above; its own SHA-256 is the pack's digest

Any tool that reads WebDataset shards reads the tar files in order; the index's offsets give random access by
memory map, which language-guided pairs need. A picture's mask, where there is one, is its alpha channel
(`mask_offset` = -1) or a member of its own at `mask_offset`.
"""

from __future__ import annotations

import io
import json
import mmap
import tarfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.data.index import INDEX as INDEX
from vlrepro.data.index import SCHEMA as SCHEMA
from vlrepro.data.index import Index
from vlrepro.data.index import Row as Row
from vlrepro.data.index import read_columns as read_columns
from vlrepro.data.index import read_index as read_index
from vlrepro.data.index import write_index as write_index
from vlrepro.errors import UserError
from vlrepro.files import atomic_path, file_digest, write_text

_PUBLIC = ("caption", "label", "concept", "group", "source", "licence")
MANIFEST = "SHA256SUMS"


@dataclass(frozen=True)
class Picture:
    """One picture to be packed: its encoded bytes, the file ending, and the index fields of `SCHEMA`."""

    key: str
    data: bytes
    suffix: str
    width: int
    height: int
    caption: str = ""
    captions_other: str = "{}"
    keywords: str = "[]"
    label: str = ""
    concept: str = ""
    group: str = ""
    author: str = ""
    date: str = ""
    split: str = ""
    source: str = ""
    licence: str = ""
    mask: bytes | None = None
    mask_in_alpha: bool = False


def write_pack(folder: str | Path, pictures: Iterable[Picture], shard_bytes: int = 1 << 28) -> str:
    """Write `pictures` as a pack and return its digest. The same pictures give the same bytes.

    Raises `UserError` when two pictures share a key.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict] = []
    seen: set[str] = set()
    remaining = iter(pictures)
    pending = next(remaining, None)
    while pending is not None:
        with _Shard(folder, len({row["shard"] for row in rows})) as shard:
            while pending is not None and shard.size < shard_bytes:
                if pending.key in seen:
                    raise UserError(
                        f"{folder}: two pictures have the key {pending.key!r}: keys must be unique in a pack"
                    )
                seen.add(pending.key)
                rows.append(shard.add(pending))
                pending = next(remaining, None)
    with atomic_path(folder / INDEX) as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), part, compression="zstd")
    return write_manifest(folder)


def write_manifest(folder: str | Path) -> str:
    """Write `SHA256SUMS` over the pack's index and shards; return the pack's digest (the manifest's SHA-256)."""
    folder = Path(folder)
    files = sorted(path for path in folder.iterdir() if path.name == INDEX or path.suffix == ".tar")
    write_text(folder / MANIFEST, "".join(f"{file_digest(path)}  {path.name}\n" for path in files))
    return file_digest(folder / MANIFEST)


def read_manifest(folder: str | Path) -> dict[str, str]:
    """File name -> SHA-256 of a pack. Raises `UserError` where the manifest is missing or malformed."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise UserError(f"{path}: no such manifest: fetch or rebuild the pack")
    sums = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or "/" in name or name.startswith("."):
            raise UserError(f"{path}: not a manifest line: {line[:80]!r}: rebuild the pack")
        sums[name] = digest
    return sums


class _Shard:
    """One tar shard being written; members have fixed times and owners so that bytes repeat."""

    def __init__(self, folder: Path, number: int) -> None:
        self.name = f"shard-{number:06d}.tar"
        self._path = folder / self.name
        self._stack = ExitStack()

    def __enter__(self) -> _Shard:
        part = self._stack.enter_context(atomic_path(self._path))
        stream = self._stack.enter_context(part.open("wb"))
        self._tar = self._stack.enter_context(tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)

    @property
    def size(self) -> int:
        return self._tar.offset

    def add(self, picture: Picture) -> dict:
        offset = self._member(f"{picture.key}{picture.suffix}", picture.data)
        mask_offset = -1 if picture.mask_in_alpha else -2
        if picture.mask is not None:
            mask_offset = self._member(f"{picture.key}.mask.png", picture.mask)
        row = {field.name: getattr(picture, field.name) for field in fields(picture)}
        public = {name: row[name] for name in _PUBLIC if row[name]}
        self._member(f"{picture.key}.json", json.dumps(public, sort_keys=True, ensure_ascii=False).encode())
        row |= {"shard": self.name, "offset": offset, "length": len(picture.data), "mask_offset": mask_offset}
        row["mask_length"] = len(picture.mask) if picture.mask is not None else 0
        return {name: row[name] for name in SCHEMA.names}

    def _member(self, name: str, data: bytes) -> int:
        header = tarfile.TarInfo(name)
        header.size = len(data)
        start = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(header, io.BytesIO(data))
        return start


class Pack:
    """A pack opened for reading: `rows` in index order and random access to the pictures' bytes.

    `names` are the columns of the index to keep in memory besides the places; all when it is None.
    """

    def __init__(self, folder: str | Path, names: Sequence[str] | None = None) -> None:
        self.folder = Path(folder)
        self.rows = Index(self.folder / INDEX, names)
        self._maps: dict[str, mmap.mmap] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def picture(self, position: int) -> bytes:
        """The encoded picture at `position` of the index.

        Raises `UserError` when the shard is missing or shorter than the index says.
        """
        return bytes(self.view(position))

    def view(self, position: int) -> memoryview:
        """The encoded picture at `position` as a view of the mapped shard: nothing is copied. Raises as `picture`."""
        rows = self.rows
        shard = rows.shards[rows.shard_of[position]]
        return self._bytes(position, shard, int(rows.offsets[position]), int(rows.lengths[position]))

    def shard(self, position: int) -> Path:
        """The shard that holds the picture at `position`."""
        return self.folder / self.rows.shards[self.rows.shard_of[position]]

    def key(self, position: int) -> str:
        """The key of the picture at `position`."""
        return self.rows.column("key")[position].as_py()

    def mask(self, position: int) -> bytes | None:
        """The encoded mask member, or None where the mask is the alpha channel or missing."""
        row = self.rows[position]
        return (
            bytes(self._bytes(position, row.shard, row.mask_offset, row.mask_length)) if row.mask_offset >= 0 else None
        )

    def _bytes(self, position: int, shard: str, offset: int, length: int) -> memoryview:
        if shard not in self._maps:
            path = self.folder / shard
            if not path.is_file() or path.stat().st_size == 0:
                raise UserError(f"{path}: the shard is missing or empty: delete {self.folder} and fetch again")
            with open(path, "rb") as stream:
                self._maps[shard] = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        data = memoryview(self._maps[shard])[offset : offset + length]
        if len(data) != length:
            where = f"{self.folder / shard}: picture {self.key(position)}"
            raise UserError(f"{where}: the shard is cut short: delete {self.folder} and fetch again")
        return data

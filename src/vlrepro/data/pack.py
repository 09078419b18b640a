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
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.errors import UserError
from vlrepro.files import atomic_path, file_digest, write_text

SCHEMA = pa.schema(
    [
        ("key", pa.string()),  # unique in the pack, also the members' stem
        ("shard", pa.string()),
        ("offset", pa.int64()),  # of the picture's bytes in the shard
        ("length", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("caption", pa.string()),  # the clean caption, "" where there is none
        ("captions_other", pa.string()),  # JSON object: language code -> caption
        ("keywords", pa.string()),  # JSON list of strings
        ("label", pa.string()),  # class name of the evaluation set, "" where there is none
        ("concept", pa.string()),  # what is drawn, whatever the design
        ("group", pa.string()),  # plays the subreddit
        ("author", pa.string()),
        ("date", pa.string()),  # ISO 8601 day
        ("split", pa.string()),  # train, val or test; "" in training packs
        ("mask_offset", pa.int64()),  # -1: the alpha channel is the mask; -2: no mask
        ("mask_length", pa.int64()),
        ("source", pa.string()),  # package and file the picture was made from
        ("licence", pa.string()),  # SPDX identifier
    ]
)
_PUBLIC = ("caption", "label", "concept", "group", "source", "licence")
MANIFEST = "SHA256SUMS"
INDEX = "index.parquet"


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


@dataclass(frozen=True)
class Row:
    """One row of a pack's index (`SCHEMA`)."""

    key: str
    shard: str
    offset: int
    length: int
    width: int
    height: int
    caption: str
    captions_other: str
    keywords: str
    label: str
    concept: str
    group: str
    author: str
    date: str
    split: str
    mask_offset: int
    mask_length: int
    source: str
    licence: str


class Pack:
    """A pack opened for reading: `rows` in index order and random access to the pictures' bytes."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.rows = read_index(self.folder / INDEX)
        self._maps: dict[str, mmap.mmap] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def picture(self, position: int) -> bytes:
        """The encoded picture at `position` of the index.

        Raises `UserError` when the shard is missing or shorter than the index says.
        """
        row = self.rows[position]
        return self._bytes(row, row.offset, row.length)

    def mask(self, position: int) -> bytes | None:
        """The encoded mask member, or None where the mask is the alpha channel or missing."""
        row = self.rows[position]
        return self._bytes(row, row.mask_offset, row.mask_length) if row.mask_offset >= 0 else None

    def _bytes(self, row: Row, offset: int, length: int) -> bytes:
        if row.shard not in self._maps:
            path = self.folder / row.shard
            if not path.is_file() or path.stat().st_size == 0:
                raise UserError(f"{path}: the shard is missing or empty: delete {self.folder} and fetch again")
            with open(path, "rb") as stream:
                self._maps[row.shard] = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        data = self._maps[row.shard][offset : offset + length]
        if len(data) != length:
            where = f"{self.folder / row.shard}: picture {row.key}"
            raise UserError(f"{where}: the shard is cut short: delete {self.folder} and fetch again")
        return data


def read_index(path: str | Path) -> list[Row]:
    """Read a pack's index.

    Raises `UserError` that names the file where it is missing, is not Parquet, lacks a column, or holds text
    that is not UTF-8.
    """
    try:
        with pq.ParquetFile(path) as file:  # `read_table` imports pandas
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable Parquet index ({error}): fetch or rebuild the pack") from error
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise UserError(f"{path}: the index lacks the column {', '.join(missing)}: rebuild the pack")
    try:
        columns = [table.column(name).to_pylist() for name in SCHEMA.names]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: text that is not UTF-8 ({error.reason}): re-encode it as UTF-8") from error
    return [Row(*values) for values in zip(*columns, strict=True)]


def write_index(path: str | Path, rows: Sequence[Row]) -> None:
    """Write rows as a pack's index, atomically."""
    with atomic_path(path) as part:
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA), part, compression="zstd")

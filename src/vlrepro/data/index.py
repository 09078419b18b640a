"""A pack's index: one Parquet file, a row a picture, read by columns.

A set of millions of pictures is numbers and Arrow buffers in memory, not objects: a `Row` exists while somebody looks
at it. Small packs keep theirs, since those who walk over them look at each many times.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlrepro.errors import UserError
from vlrepro.files import atomic_path

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
INDEX = "index.parquet"
_PLACES = ("shard", "offset", "length")  # what it takes to read a picture
_AT_ONCE = 4096  # rows made objects together
_SMALL = 1 << 16  # an index of so many rows keeps them as objects (tens of MB) once somebody looked at one


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


class Index(Sequence[Row]):
    """A pack's index by columns: what training reads of a row is numbers, and a `Row` is made when one is asked for.

    Kept in memory are shard, offset and length of each row (20 bytes) and the columns `names` (all when it is None);
    others are read when they are asked for. Raises `UserError` as `read_columns` does.
    """

    def __init__(self, path: str | Path, names: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        names = SCHEMA.names if names is None else list(names)
        table = read_columns(path, dict.fromkeys((*_PLACES, *names)))
        self.table = table.select(names)
        self.offsets = _numbers(table, "offset")
        self.lengths = _numbers(table, "length")
        found = table.column("shard").dictionary_encode().unify_dictionaries().combine_chunks()
        self.shards: list[str] = found.dictionary.to_pylist()
        self.shard_of = found.indices.to_numpy().astype(np.int32)

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, position: int) -> Row: ...
    @overload
    def __getitem__(self, position: slice) -> list[Row]: ...
    def __getitem__(self, position: int | slice) -> Row | list[Row]:
        """The row at `position`, or the rows of a slice; columns that were not read are read now."""
        if isinstance(position, slice):
            return [self[number] for number in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(f"{self.path}: row {position} of {len(self)}")
        if len(self) <= _SMALL:
            return self._kept[position]
        return next(_rows(self._whole.slice(position % len(self), 1)))

    def __iter__(self) -> Iterator[Row]:
        if len(self) <= _SMALL:
            return iter(self._kept)
        starts = range(0, len(self), _AT_ONCE)
        return itertools.chain.from_iterable(_rows(self._whole.slice(start, _AT_ONCE)) for start in starts)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of `SCHEMA`, by position."""
        held = self.table if name in self.table.column_names else read_columns(self.path, [name])
        return held.column(name)

    def positions(self, keys: pa.Array | pa.ChunkedArray | Sequence[str]) -> np.ndarray:
        """Where `keys` stand in the index, int64, -1 where one does not: looked up together, in one hash table."""
        wanted = keys if isinstance(keys, pa.Array | pa.ChunkedArray) else pa.array(keys, pa.string())
        found = pc.index_in(wanted, value_set=self.column("key"))
        return np.asarray(pc.fill_null(found, -1), dtype=np.int64)

    @cached_property
    def _whole(self) -> pa.Table:
        whole = self.table.num_columns == len(SCHEMA.names)
        return self.table if whole else read_columns(self.path, SCHEMA.names)

    @cached_property
    def _kept(self) -> list[Row]:
        return list(_rows(self._whole))


def read_columns(
    path: str | Path, names: Iterable[str], thing: str = "index", cure: str = "rebuild the pack"
) -> pa.Table:
    """The columns `names` of a pack's index, or of another Parquet file (`thing`), in that order.

    Raises `UserError` that names the file and the `cure` where it is missing, is not Parquet, lacks a column, or holds
    text that is not UTF-8.
    """
    names = list(names)
    try:
        with pq.ParquetFile(path) as file:  # `read_table` imports pandas
            missing = [name for name in names if name not in file.schema_arrow.names]
            table = file.read(columns=[name for name in names if name not in missing])
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable Parquet {thing} ({error}): {cure}") from error
    if missing:
        raise UserError(f"{path}: the {thing} lacks the column {', '.join(missing)}: {cure}")
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: text that is not UTF-8 ({error}): re-encode it as UTF-8") from error
    return table.select(names)


def read_index(path: str | Path) -> list[Row]:
    """A pack's index as a list of rows: for small packs; `Index` reads columns.

    Raises `UserError` as `read_columns` does.
    """
    return list(_rows(read_columns(path, SCHEMA.names)))


def _rows(table: pa.Table) -> Iterator[Row]:
    columns = [table.column(name).to_pylist() for name in SCHEMA.names]
    return itertools.starmap(Row, zip(*columns, strict=True))


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    """A column of integers as an array of its own, so that the table's buffers can go."""
    return np.array(table.column(name), dtype=np.int64)


def write_index(path: str | Path, rows: Sequence[Row]) -> None:
    """Write rows as a pack's index, atomically."""
    with atomic_path(path) as part:
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA), part, compression="zstd")

"""Work over a pack, shard by shard, that continues where an interrupted job stopped.

Each shard's results are one Parquet file in a state folder, with the digest of everything they depend on in its
metadata; a file with another digest is made again. Batches never span shards, so a resumed job computes exactly
what an uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.data.pack import Pack
from vlrepro.files import atomic_path, digest_of


def by_shard(
    pack: Pack,
    state: str | Path,
    identity: Mapping[str, Any],
    work: Callable[[Sequence[int]], Sequence[Any]],
    kind: pa.DataType,
) -> list[Any]:
    """`work`'s value for every picture of `pack`, in index order.

    Args:
        pack: the pictures.
        state: folder of the finished shards; safe to delete when nothing runs.
        identity: all that the values depend on, as JSON.
        work: positions of one shard to as many values.
        kind: the Arrow type of a value.
    """
    shards: dict[str, list[int]] = {}
    for position, row in enumerate(pack.rows):
        shards.setdefault(row.shard, []).append(position)
    values: list[Any] = [None] * len(pack)
    for number, (shard, positions) in enumerate(shards.items(), 1):
        path = Path(state) / f"{Path(shard).stem}.parquet"
        digest = digest_of([dict(identity), [pack.rows[position].key for position in positions]])
        done = _read(path, digest)
        if done is None:
            done = list(work(positions))
            table = pa.table({"value": pa.array(done, kind)}).replace_schema_metadata({"identity": digest})
            with atomic_path(path) as part:
                pq.write_table(table, part, compression="zstd")
        else:
            print(f"{path}: done before", flush=True)
        for position, value in zip(positions, done, strict=True):
            values[position] = value
        print(f"shard {number} of {len(shards)}", flush=True)
    return values


def _read(path: Path, digest: str) -> list[Any] | None:
    """The values of a finished shard, or None where there is none, it is damaged or it is of other work."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException):
        return None
    metadata = table.schema.metadata or {}
    return table.column("value").to_pylist() if metadata.get(b"identity") == digest.encode() else None

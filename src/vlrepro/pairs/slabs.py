"""An embedding file in the making: rows are written block by block where they will lie, and an interruption costs one.

The file lies in a folder of state until it is whole, as large as it will be from the first block on, so that a full
disk is seen at once and never in the middle of a memory map.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vlrepro.errors import UserError
from vlrepro.files import atomic_path, digest_of, read_json, write_json

Block = Callable[[int], tuple[np.ndarray | slice, np.ndarray]]
"""From a block's number to the positions of its rows and the rows, (p, d) float32; the same for the same number."""


def write_in_blocks(
    path: str | Path, recipe: Mapping[str, Any], count: int, blocks: int, make: Block, state: Path, identity: str
) -> tuple[int, int]:
    """Write `count` rows that `make` makes in `blocks` blocks, as `write_embeddings` would, and return their shape.

    The folder `state` keeps what is made, and is gone in the end. `identity` stands for what the rows are made from:
    what is there of another identity or recipe is made again.

    Raises:
        UserError: there are no rows.
        OSError: the disk is full.
    """
    if not blocks:
        raise UserError(f"{path}: nothing to embed: choose captions or a pack with at least one row")
    part, progress = state / "rows.safetensors", state / "progress.json"
    of = digest_of([dict(recipe), identity, count, blocks])
    done, width = _progress(progress, part, of)
    if done:
        print(f"{state}: goes on after {done} of {blocks} blocks", flush=True)
    for number in range(done, blocks):
        positions, rows = make(number)
        if not width:
            width = rows.shape[1]
            _allocate(part, _header(recipe, count, width), count * width * 4)
        _write(part, count, width, positions, rows)
        write_json(progress, {"of": of, "blocks": number + 1, "width": width})
        if blocks > 1:
            print(f"embedded {number + 1:,} of {blocks:,} blocks", flush=True)
    _move(part, Path(path))
    shutil.rmtree(state)
    return count, width


def _progress(progress: Path, part: Path, of: str) -> tuple[int, int]:
    """How many blocks of the same rows are there, and how wide they are; 0 and 0 where there are none."""
    try:
        known = read_json(progress)
        return (known["blocks"], known["width"]) if known["of"] == of and part.is_file() else (0, 0)
    except FileNotFoundError:
        return 0, 0
    except (ValueError, KeyError, TypeError):
        print(f"{progress}: not readable: all blocks are made again", flush=True)
        return 0, 0


def _header(recipe: Mapping[str, Any], count: int, width: int) -> bytes:
    """The start of a safetensors file of one float32 tensor, padded to whole eights with spaces."""
    tensor = {"dtype": "F32", "shape": [count, width], "data_offsets": [0, count * width * 4]}
    entries = {"__metadata__": {"recipe": digest_of(dict(recipe))}, "embeddings": tensor}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _allocate(part: Path, header: bytes, size: int) -> None:
    part.parent.mkdir(parents=True, exist_ok=True)
    with open(part, "wb") as stream:
        stream.write(header)
        stream.flush()
        try:
            os.posix_fallocate(stream.fileno(), 0, len(header) + size)
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno), str(part)) from error


def _write(part: Path, count: int, width: int, positions: np.ndarray | slice, rows: np.ndarray) -> None:
    start = part.stat().st_size - count * width * 4
    mapped = np.memmap(part, np.float32, "r+", start, (count, width))
    mapped[positions] = rows
    mapped.flush()  # before progress says that they are there


def _move(part: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.replace(path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic_path(path) as copy:  # the state lies on another disk
            shutil.copyfile(part, copy)

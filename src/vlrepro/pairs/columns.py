"""Columns of millions of pictures: names as numbers, orders and groups without a Python object a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Names = Sequence[str | None] | pa.Array | np.ndarray
"""Names of pictures, one each: strings, or numbers that stand for them (-1: none)."""


def numbered(names: Names, blank: bool = False) -> np.ndarray:
    """A number for each name, equal where names are, (n,) int64; -1 for None, and with `blank` for "".

    Numbers stay as they are.
    """
    if isinstance(names, np.ndarray) and names.dtype.kind in "iu":
        return names.astype(np.int64, copy=False)
    array = column(names)
    if blank:
        array = pc.if_else(pc.equal(array, ""), None, array)
    indices = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    return pc.fill_null(indices.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)


def column(names: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> pa.Array:
    """Names as one Arrow array of strings."""
    if isinstance(names, pa.ChunkedArray):
        return names.combine_chunks() if names.num_chunks != 1 else names.chunk(0)
    return names if isinstance(names, pa.Array) else pa.array(names, pa.string())


def in_order(keys: Sequence[str] | pa.Array) -> np.ndarray:
    """Positions of keys in ascending order, (n,) int64; of UTF-8 bytes, which is that of Python's strings."""
    return pc.sort_indices(column(keys)).to_numpy().astype(np.int64)


def parts(numbers: np.ndarray, positions: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each number with those of `positions` whose `numbers` it is, in the order they are given in."""
    values = numbers[positions]
    order = np.argsort(values, kind="stable")
    ends = np.flatnonzero(np.diff(values[order])) + 1
    for part in np.split(order, ends) if len(order) else ():
        yield int(values[part[0]]), positions[part]


def repeated(keys: pa.Array) -> str | None:
    """A key that stands there more than once, None where there is none."""
    order = pc.sort_indices(keys)
    ordered = keys.take(order)
    same = pc.equal(ordered.slice(1), ordered.slice(0, max(len(ordered) - 1, 0)))
    first = pc.index(same, True).as_py()
    return None if first < 0 else ordered[first].as_py()

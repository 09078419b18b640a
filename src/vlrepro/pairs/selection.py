"""Rows of a matrix that may lie on disk, chosen by position and read a part at a time."""

from __future__ import annotations

import numpy as np


class Selection:
    """The rows of `source` (n, d) at `positions` (m,), all of them by default; nothing is copied until it is read."""

    def __init__(self, source: np.ndarray, positions: np.ndarray | None = None) -> None:
        self._source = source
        self.positions = np.arange(len(source)) if positions is None else np.asarray(positions, np.int64)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def width(self) -> int:
        """d, the numbers of a row."""
        return int(self._source.shape[1])

    def at(self, places: np.ndarray | slice) -> np.ndarray:
        """The rows at `places` of the selection, (p, d) float32, contiguous. One run of the source is not copied."""
        positions = self.positions[places]
        if len(positions) and np.array_equal(positions, np.arange(positions[0], positions[0] + len(positions))):
            positions = slice(positions[0], positions[0] + len(positions))
        return np.ascontiguousarray(self._source[positions], np.float32)

    def in_reading_order(self) -> tuple[Selection, np.ndarray]:
        """The same rows as they follow each other in the source, and each one's place here, (m,) int64."""
        places = np.argsort(self.positions, kind="stable")
        return Selection(self._source, self.positions[places]), places

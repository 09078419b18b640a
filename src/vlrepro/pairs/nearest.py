"""The k nearest of each row while candidates come in, in any order; kept between jobs in one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vlrepro.files import atomic_path


class Nearest:
    """The nearest `k` that `count` rows have been offered: the greater cosine first, of equal ones the lower name.

    `cosines` (count, k) float64, -inf where there is none yet; `names` (count, k) int64, there -1.
    """

    def __init__(self, count: int, k: int) -> None:
        self.cosines = np.full((count, k), -np.inf)
        self.names = np.full((count, k), -1, np.int64)

    def offer(self, rows: np.ndarray, cosines: np.ndarray, names: np.ndarray) -> None:
        """Take in candidates: row `rows[i]` has the neighbour `names[i]` at `cosines[i]`, which it had not before."""
        k = self.cosines.shape[1]
        touched = np.unique(rows)
        rows = np.concatenate([rows, touched.repeat(k)])
        cosines = np.concatenate([cosines, self.cosines[touched].ravel()])
        names = np.concatenate([names, self.names[touched].ravel()])
        order = np.lexsort((names, -cosines, rows))
        rows = rows[order]
        kept = order[np.arange(len(rows)) - np.searchsorted(rows, rows) < k]  # k each: a row has k before the offer
        self.cosines[touched] = cosines[kept].reshape(-1, k)
        self.names[touched] = names[kept].reshape(-1, k)

    def save(self, path: Path, digest: str, position: tuple[int, int]) -> None:
        """Write all, atomically, with how far the search named by `digest` has come."""
        arrays = {"cosines": self.cosines, "names": self.names, "position": np.array(position)}
        with atomic_path(path) as part:
            save_file(arrays, part, metadata={"search": digest})

    def load(self, path: Path, digest: str) -> tuple[int, int] | None:
        """Read what `save` wrote of the same search and return its position; None where there is no such file."""
        if not path.is_file():
            return None
        try:
            with safe_open(path, "np") as file:
                if (file.metadata() or {}).get("search") != digest:
                    return None
                self.cosines, self.names = file.get_tensor("cosines"), file.get_tensor("names")
                slab, column = file.get_tensor("position").tolist()
                return slab, column
        except (OSError, SafetensorError) as error:
            print(f"{path}: not readable ({error}): the search starts again", flush=True)
            return None

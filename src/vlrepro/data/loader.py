"""Pictures of a pack as batches: random access by key, decoded to one square canvas.

At pocket scale the decoded set fits in memory and is decoded once; a larger one is decoded batch by batch on
a pool of threads (Pillow releases the interpreter lock while decoding), straight into the batch's buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from vlrepro.data.decoding import decode
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError

REVISION = 1


class Pictures:
    """The pictures of a pack as uint8 tensors (B, 3, canvas, canvas), by position in the index.

    `decoder` makes a picture's encoded bytes a canvas, as `decode` does or raises `ValueError`.
    """

    def __init__(
        self,
        pack: Pack,
        canvas: int,
        cache_bytes: int = 1 << 30,
        threads: int = 1,
        decoder: Callable[[bytes, int], np.ndarray] = decode,
    ) -> None:
        self.pack = pack
        self.canvas = canvas
        self._decoder = decoder
        # One thread needs no pool: handing small pictures over would take half as long again as decoding them.
        self._map = ThreadPoolExecutor(threads).map if threads > 1 else map
        fits = len(pack) * 3 * canvas * canvas <= cache_bytes
        self._cache = self._decode(range(len(pack))) if fits else None

    @property
    def cached(self) -> bool:
        """Whether all pictures are in memory, decoded."""
        return self._cache is not None

    def batch(self, positions: Sequence[int] | torch.Tensor) -> torch.Tensor:
        """Pictures at `positions`, (B, 3, canvas, canvas) uint8.

        Raises `UserError` that names the shard and key of a picture that does not decode.
        """
        if self._cache is not None:
            return self._cache[torch.as_tensor(positions)]
        return self._decode([int(position) for position in positions])

    def _decode(self, positions: Sequence[int]) -> torch.Tensor:
        out = np.empty((len(positions), 3, self.canvas, self.canvas), np.uint8)

        def fill(slot: int) -> None:
            out[slot] = self._one(positions[slot]).transpose(2, 0, 1)

        for _ in self._map(fill, range(len(positions))):
            pass
        return torch.from_numpy(out)

    def _one(self, position: int) -> np.ndarray:
        try:
            return self._decoder(self.pack.picture(position), self.canvas)
        except ValueError as error:
            where = f"{self.pack.shard(position)}: picture {self.pack.key(position)}"
            raise UserError(f"{where}: {error}: fetch the pack again") from error

"""From a training set to the two views of each step: which pictures, in which order, how augmented."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import Tensor

from vlrepro.data.augment import Augment
from vlrepro.data.loader import Pictures
from vlrepro.errors import UserError
from vlrepro.randomness import torch_generator


class Views:
    """Two augmented views of each picture of a batch; the second of the picture itself or of its neighbour.

    Batches are whole (the last incomplete one of an epoch is dropped, so that batch statistics and the number
    of negatives never change), the order of an epoch is a permutation keyed by (seed, epoch) and the
    augmentation of a step is keyed by (seed, step): a resumed run sees what an uninterrupted one does.
    """

    def __init__(self, pictures: Pictures, pairs: Tensor, augment: Augment, batch_size: int, seed: int) -> None:
        self.pictures = pictures
        self.pairs = pairs
        self.augment = augment
        self.batch_size = batch_size
        self.seed = seed
        self.steps_per_epoch = len(pairs) // batch_size
        self._order: tuple[int, Tensor] | None = None

    def step(self, step: int) -> tuple[Tensor, Tensor]:
        """The views of optimiser step `step` (from 0), each (B, 3, S, S) normalised floats."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        chosen = self._permutation(epoch)[batch * self.batch_size : (batch + 1) * self.batch_size]
        source, neighbour = self.pairs[chosen].T
        first, second = (
            self.augment(self.pictures.batch(positions), torch_generator(self.seed, step, 0, f"view {number}"))
            for number, positions in enumerate((source, neighbour))
        )
        return first, second

    def _permutation(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            generator = torch_generator(self.seed, epoch, 0, "order of an epoch")
            self._order = (epoch, torch.randperm(len(self.pairs), generator=generator))
        return self._order[1]


def read_pairs(path: str | Path | None, pictures: Pictures) -> Tensor:
    """(n, 2) positions of (picture, second view's picture); each with itself where `path` is None.

    Raises `UserError` where the file lacks a column or names a picture that the pack does not have.
    """
    if path is None:
        return torch.arange(len(pictures.pack)).repeat(2, 1).T
    table = pq.read_table(path)
    missing = {"source", "neighbour"} - set(table.column_names)
    if missing:
        raise UserError(f"{path}: the pairs lack the column {', '.join(sorted(missing))}: mine them again")
    try:
        columns = [
            [pictures.position[key] for key in table.column(name).to_pylist()] for name in ("source", "neighbour")
        ]
    except KeyError as error:
        raise UserError(f"{path}: picture {error} is not in {pictures.pack.folder}: mine the pairs again") from None
    return torch.tensor(columns, dtype=torch.int64).T

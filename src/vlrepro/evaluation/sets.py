"""Evaluation sets: the rows of a labelled pack as train, validation and test positions with class numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vlrepro.data.pack import Row
from vlrepro.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class EvaluationSet:
    """Class names (sorted) and, for each split, positions in the index and class numbers."""

    classes: tuple[str, ...]
    positions: dict[str, Tensor]  # split -> (n,) int64
    labels: dict[str, Tensor]  # split -> (n,) int64


def evaluation_set(rows: Sequence[Row], place: str | Path) -> EvaluationSet:
    """Group a pack's rows by split and number its classes in sorted order.

    Raises `UserError` naming `place` where a row has no label or no known split, or a split is empty.
    """
    for row in rows:
        if not row.label or row.split not in SPLITS:
            raise UserError(
                f"{place}: picture {row.key} has label {row.label!r} and split {row.split!r}: an evaluation set "
                f"needs a label and one of {', '.join(SPLITS)} in every row"
            )
    classes = tuple(sorted({row.label for row in rows}))
    number = {name: index for index, name in enumerate(classes)}
    positions, labels = {}, {}
    for split in SPLITS:
        chosen = [index for index, row in enumerate(rows) if row.split == split]
        if not chosen:
            raise UserError(f"{place}: the {split} split is empty: mend the split column of the index")
        positions[split] = torch.tensor(chosen)
        labels[split] = torch.tensor([number[rows[index].label] for index in chosen])
    return EvaluationSet(classes, positions, labels)

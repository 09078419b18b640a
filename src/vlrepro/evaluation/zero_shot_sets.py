"""Zero-shot sets: which pictures of a pack are classified, and among which classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor

from vlrepro.data.corruptions import CorruptedPictures
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.evaluation.hardness import hardest
from vlrepro.evaluation.naming import Prompts, class_of


@dataclass(frozen=True)
class ZeroShotSet:
    """Pictures at `positions` (n,) of a pack, each of the class `truth` (n,) of `candidates` (C,).

    `candidates` are positions among the classes of the prompts, ascending.
    """

    pictures: Pictures
    positions: Tensor
    truth: Tensor
    candidates: Tensor


def load_pictures(pack: Pack, entry: Mapping[str, Any], canvas: int, threads: int) -> Pictures:
    """A set's pictures, corrupted where its entry of the evaluation's recipe says so."""
    if damage := entry.get("corrupted"):
        return CorruptedPictures(pack, canvas, damage["seed"], damage["severity"], threads=threads)
    return Pictures(pack, canvas, threads=threads)


def zero_shot_set(
    pictures: Pictures, entry: Mapping[str, Any], prompts: Prompts, ranking: str | Path | None
) -> ZeroShotSet:
    """The set of an entry of the evaluation's recipe: all pictures of its pack, or the hardest by `ranking`.

    Raises `UserError` where a picture's class has no prompts, or a ranking is not of this pack.
    """
    rows = pictures.pack.rows
    positions = [number for number, row in enumerate(rows) if row.split in ("", *entry["splits"])]
    if "hardest" in entry:
        found = read_ranking(ranking, pictures.pack)
        positions = [positions[number] for number in hardest([found[n] for n in positions], entry["hardest"]["share"])]
    place = {name: number for number, name in enumerate(prompts.classes)}
    classes = [class_of(rows[number], entry["classes"]) for number in positions]
    for number, name in zip(positions, classes, strict=True):
        if name not in place:
            where = f"{pictures.pack.folder}: picture {rows[number].key}"
            raise UserError(f"{where}: class {name!r} has no name among the prompts: mend `names` of the set")
    every = range(len(prompts.classes)) if entry["among"] == "all" else sorted({place[name] for name in classes})
    among = {number: column for column, number in enumerate(every)}
    truth = torch.tensor([among[place[name]] for name in classes])
    return ZeroShotSet(pictures, torch.tensor(positions), truth, torch.tensor(list(every)))


def read_ranking(path: str | Path | None, pack: Pack) -> list[int]:
    """The rank of each picture of a pack, in index order. Raises `UserError` where the file is of other pictures."""
    table = pq.read_table(path)
    if table.column("key").to_pylist() != [row.key for row in pack.rows]:
        raise UserError(f"{path}: a ranking of other pictures than those of {pack.folder}: delete it and run again")
    return table.column("rank").to_pylist()

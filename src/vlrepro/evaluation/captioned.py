"""Pictures with one or more captions each, from files: what a retrieval set is before a model has seen it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor

from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.evaluation.galleries import in_batches
from vlrepro.pairs.embeddings import read_embeddings


@dataclass(frozen=True)
class Captioned:
    """n pictures at `positions` (n,) of a pack, ascending, and their m captions, in the pictures' order.

    `picture_of` (m,) says which of the n pictures a caption is of; `captions` are the m sentences and `rows` (m, ...)
    the same as a text tower reads them.
    """

    pack: Pack
    positions: Tensor
    picture_of: Tensor
    captions: tuple[str, ...]
    rows: Tensor

    def __len__(self) -> int:
        """How many pictures it has."""
        return len(self.positions)

    def head(self, count: int) -> Captioned:
        """Its first `count` pictures, or all where there are fewer, with their captions."""
        inside = self.picture_of < count
        texts = tuple(text for text, kept in zip(self.captions, inside.tolist(), strict=True) if kept)
        return Captioned(self.pack, self.positions[:count], self.picture_of[inside], texts, self.rows[inside])

    def ranges(self, entry: Mapping[str, Any]) -> list[range]:
        """The consecutive pictures that an entry of the evaluation's recipe searches by themselves.

        That is the whole, or its `first` pictures; of these one `part` (number from 1, of how many), or each of
        `batches`, as the paper takes 2,000 at a time ("Evaluating Distilled Hard Negative Training on Google's
        Conceptual Captions Dataset", section 4). Parts have as many pictures each, and what is over is in none. Raises
        `UserError` where parts would be empty.
        """
        count = min(len(self), entry.get("first", len(self)))
        if "part" in entry:
            number, of = entry["part"]
            return in_batches(count, number=of)[number - 1 : number]
        return in_batches(count, number=entry.get("batches", 1))

    def captions_of(self, pictures: range) -> Tensor:
        """How many captions each of some consecutive pictures has, (len(pictures),) int64."""
        return torch.bincount(self.picture_of, minlength=len(self))[pictures.start : pictures.stop]


def read_captioned(pack: Pack, entry: Mapping[str, Any], captions: str | Path, embeddings: str | Path) -> Captioned:
    """The pictures of a pack that an entry of the evaluation's recipe names: those of its splits that have a caption.

    At most `captions_each` captions of each, where the entry says so. `captions` and `embeddings` are the folders of
    the files that it names. Raises `UserError` where a caption is of no picture of the
    pack, or no picture has one.
    """
    place = {row.key: number for number, row in enumerate(pack.rows) if row.split in ("", *entry["splits"])}
    left_out = {row.key for row in pack.rows} - place.keys()
    found: list[tuple[int, str, Tensor]] = []
    for name, rows in entry["captions"]:
        path = Path(captions) / f"{name}.parquet"
        keys, texts = (pq.read_table(path).column(column).to_pylist() for column in ("key", "caption"))
        embedded = read_embeddings(Path(embeddings) / f"{rows}.safetensors", len(keys), path)
        for key, text, row in zip(keys, texts, embedded, strict=True):
            if key in place:
                found.append((place[key], text, row))
            elif key not in left_out:
                raise UserError(f"{path}: picture {key!r} is not in {pack.folder}: caption that pack")
    if not found:
        raise UserError(f"{pack.folder}: no picture has a caption: mend `captions` or `splits` of the set")
    found.sort(key=lambda caption: caption[0])
    positions = sorted({number for number, *_ in found})
    number = {position: order for order, position in enumerate(positions)}
    each = entry.get("captions_each")
    chosen = [caption for _, own in groupby(found, key=lambda caption: caption[0]) for caption in islice(own, each)]
    return Captioned(
        pack,
        torch.tensor(positions),
        torch.tensor([number[position] for position, *_ in chosen]),
        tuple(text for _, text, _ in chosen),
        torch.stack([row for *_, row in chosen]),
    )

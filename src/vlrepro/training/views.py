"""From a training set to what each step trains on: which pictures, in what order, how augmented, beside what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import Tensor

from vlrepro.captions.concept_files import KINDS, read_concepts
from vlrepro.captions.score_files import check_one_a_picture
from vlrepro.data.augment import Augment, AugmentParameters
from vlrepro.data.loader import Pictures
from vlrepro.distributed import rank, world_size
from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, Concepts
from vlrepro.pairs.embeddings import read_embeddings
from vlrepro.randomness import torch_generator


class Views:
    """Augmented views of each picture of a batch, view 1 of its neighbour, and captions, classes and concepts.

    Batches are whole (the last incomplete one of an epoch is dropped, so that batch statistics and the number
    of negatives never change), the order of an epoch is a permutation keyed by (seed, epoch), and the choice among
    several neighbours and the augmentation of a step are keyed by (seed, step): a resumed run sees what an
    uninterrupted one does. All draws are for the joint batch of all processes, of which each then takes its own
    rows: several processes see together what one would.

    Args:
        pictures: the pack's.
        pairs: (n, 1 + k) positions of a picture and its neighbours, -1 where it has fewer than k (`read_pairs`).
        augments: one for each view.
        batch_size: of the joint batch.
        seed: of all draws.
        texts: (pictures, d) rows by position, for frameworks that read captions (`read_texts`). A picture without
            one is left out as a source, but may be a neighbour.
        labels: (pictures,) class numbers by position, for frameworks that read them (`read_labels`).
        concepts: rows by position, for frameworks that read them (`read_targets`).

    Raises:
        UserError: the batch cannot be shared equally among the processes.
    """

    def __init__(
        self,
        pictures: Pictures,
        pairs: Tensor,
        augments: Sequence[Augment],
        batch_size: int,
        seed: int,
        texts: Tensor | None = None,
        labels: Tensor | None = None,
        concepts: Concepts | None = None,
    ) -> None:
        if batch_size % world_size():
            raise UserError(f"batch_size {batch_size} is no multiple of the {world_size()} processes: change either")
        self.pictures = pictures
        self.pairs = pairs if texts is None else pairs[_known(texts)[pairs[:, 0]]]
        self.augments = augments
        self.batch_size = batch_size
        self.seed = seed
        self.texts = texts
        self.labels = labels
        self.concepts = concepts
        self.steps_per_epoch = len(self) // batch_size
        self._order: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        """How many pictures are trained on."""
        return len(self.pairs)

    def step(self, step: int) -> Batch:
        """This process's rows of optimiser step `step` (from 0): the views, captions, classes and concepts."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        chosen = self._permutation(epoch)[batch * self.batch_size : (batch + 1) * self.batch_size]
        share = self.batch_size // world_size()
        mine = slice(rank() * share, (rank() + 1) * share)
        source = self.pairs[chosen[mine], 0]
        neighbour = self._neighbours(chosen, step)[mine]
        own = self.pictures.batch(source)
        lone = len(self.augments) == 1 or torch.equal(source, neighbour)
        other = own if lone else self.pictures.batch(neighbour)
        views = self._augmented([other if number == 1 else own for number in range(len(self.augments))], mine, step)
        texts, labels = (None if rows is None else rows[source] for rows in (self.texts, self.labels))
        concepts = self.concepts and self.concepts.map(lambda rows: rows[source])
        return Batch(views, texts, step, labels, self.seed, concepts)

    def _neighbours(self, chosen: Tensor, step: int) -> Tensor:
        """One neighbour, uniformly drawn, of each of the pairs' rows `chosen`."""
        neighbours = self.pairs[chosen, 1:]
        if neighbours.shape[1] == 1:
            return neighbours[:, 0]
        generator = torch_generator(self.seed, step, 0, "neighbour")
        share = torch.rand(len(chosen), generator=generator, dtype=torch.float64)
        ranks = (share * (neighbours >= 0).sum(1)).long()
        return neighbours.gather(1, ranks[:, None])[:, 0]

    def _augmented(self, images: Sequence[Tensor], mine: slice, step: int) -> tuple[Tensor, ...]:
        """Each view's images augmented; neighbouring views of one augmentation in one call."""
        views: list[Tensor] = []
        for _, alike in groupby(range(len(images)), key=lambda number: self.augments[number].options):
            numbers = list(alike)
            drawn = [self._drawn(number, images[number].shape[-1], step) for number in numbers]
            parameters = AugmentParameters(
                *(torch.cat([part[mine] for part in parts]) for parts in zip(*drawn, strict=True))
            )
            together = torch.cat([images[number] for number in numbers])
            views += self.augments[numbers[0]].apply(together, parameters).chunk(len(numbers))
        return tuple(views)

    def _drawn(self, number: int, canvas: int, step: int) -> AugmentParameters:
        generator = torch_generator(self.seed, step, 0, f"view {number}")
        return self.augments[number].draw(self.batch_size, canvas, generator)

    def _permutation(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            generator = torch_generator(self.seed, epoch, 0, "order of an epoch")
            self._order = (epoch, torch.randperm(len(self.pairs), generator=generator))
        return self._order[1]


def read_pairs(path: str | Path | None, pictures: Pictures) -> Tensor:
    """(n, 1 + k) positions of each source and its neighbours in the file's order, -1 where it has fewer than k.

    (pictures, 2), each with itself, where `path` is None. Raises `UserError` where the file lacks a column or names a
    picture that the pack does not have.
    """
    if path is None:
        return torch.arange(len(pictures.pack)).repeat(2, 1).T
    table = pq.read_table(path)
    missing = {"source", "neighbour"} - set(table.column_names)
    if missing:
        raise UserError(f"{path}: the pairs lack the column {', '.join(sorted(missing))}: mine them again")
    ends = [table.column(name).to_pylist() for name in ("source", "neighbour")]
    if strangers := [key for keys in ends for key in keys if key not in pictures.position]:
        raise UserError(f"{path}: picture {strangers[0]!r} is not in {pictures.pack.folder}: mine the pairs again")
    neighbours: dict[int, list[int]] = {}
    for source, neighbour in zip(*ends, strict=True):
        neighbours.setdefault(pictures.position[source], []).append(pictures.position[neighbour])
    width = max(map(len, neighbours.values()), default=1)
    rows = [[source, *found, *[-1] * (width - len(found))] for source, found in neighbours.items()]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 1 + width)


def read_texts(path: str | Path, captions: str | Path, pictures: Pictures) -> Tensor:
    """Embedded captions by the pictures' positions: (pictures, d) float32 embeddings, or (pictures, L) int64 ids.

    `path` holds a row for each row of the caption file `captions`. A picture without a caption has a row of NaN, or
    of -1. Raises `UserError` where the file cannot be read or is not of these captions, or these are not of the pack
    or are several of one picture.
    """
    keys = pq.read_table(captions, columns=["key"]).column("key").to_pylist()
    check_one_a_picture(keys, captions)
    rows = read_embeddings(path, len(keys), captions)
    if strangers := [key for key in keys if key not in pictures.position]:
        raise UserError(f"{captions}: picture {strangers[0]!r} is not in {pictures.pack.folder}: caption that pack")
    filler = float("nan") if rows.is_floating_point() else -1
    texts = torch.full((len(pictures.pack), rows.shape[1]), filler, dtype=rows.dtype)
    texts[torch.tensor([pictures.position[key] for key in keys], dtype=torch.int64)] = rows
    return texts


def read_labels(pictures: Pictures, classes: int) -> Tensor:
    """Class numbers by the pictures' positions, (pictures,) int64: places of their labels in sorted order.

    So evaluation sets number theirs (`evaluation.sets`). Raises `UserError` that names the pack where a picture has no
    label, or there are not `classes` different ones.
    """
    rows = pictures.pack.rows
    if unlabelled := [row.key for row in rows if not row.label]:
        raise UserError(
            f"{pictures.pack.folder}: {len(unlabelled)} of {len(rows)} pictures have no label, the first is "
            f"{unlabelled[0]}: train this framework on a pack where every picture has one"
        )
    number = {label: place for place, label in enumerate(sorted({row.label for row in rows}))}
    if len(number) != classes:
        raise UserError(
            f"{pictures.pack.folder}: the pictures are of {len(number)} classes but the recipe's options say "
            f"classes: {classes}: mend the recipe"
        )
    return torch.tensor([number[row.label] for row in rows], dtype=torch.int64)


def read_targets(path: str | Path, pictures: Pictures, sizes: Mapping[str, int]) -> Concepts:
    """What a teacher sees in the pictures, by their positions.

    `sizes` are the greatest sizes of the vocabularies of `objects` and `attributes`. Raises `UserError` where the file
    is unreadable, does not hold each picture of the pack, or has vocabularies that are larger.
    """
    file = read_concepts(path)
    number = {key: place for place, key in enumerate(file.keys)}
    if missing := [row.key for row in pictures.pack.rows if row.key not in number]:
        raise UserError(f"{path}: no concepts of picture {missing[0]} of {pictures.pack.folder}: distil that pack's")
    order = torch.tensor([number[row.key] for row in pictures.pack.rows], dtype=torch.int64)
    found = []
    for kind in KINDS:
        places, weights, vocabulary = file.seen[kind]
        if len(vocabulary) > sizes[kind]:
            raise UserError(
                f"{path}: {len(vocabulary)} {kind} but the recipe's options say {kind}: {sizes[kind]}: mend the recipe"
            )
        found += [torch.from_numpy(places).long()[order], torch.from_numpy(weights)[order]]
    return Concepts(*found)


def _known(texts: Tensor) -> Tensor:
    """Which rows hold a caption, (n,) bool."""
    return ~texts.isnan().any(1) if texts.is_floating_point() else (texts >= 0).all(1)

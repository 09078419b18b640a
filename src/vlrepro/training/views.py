"""From a training set to what each step trains on: which pictures, in what order, how augmented, beside what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from vlrepro.captions.concept_files import KINDS, read_concepts
from vlrepro.captions.score_files import check_one_a_picture
from vlrepro.data.augment import Augment, AugmentParameters
from vlrepro.data.crops import Crops, Cut
from vlrepro.data.loader import Pictures
from vlrepro.distributed import rank, world_size
from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, Concepts
from vlrepro.pairs.embeddings import read_embeddings
from vlrepro.randomness import torch_generator

_AHEAD = 2  # steps: with one, the processes would wait for the slowest of them at the end of each batch


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
        crops: of the same pack, where its pictures do not fit in memory: boxes are then cut from whole pictures and not
            from their central squares, and are augmented on `device`.
        device: as above; the processor where it is None.

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
        crops: Crops | None = None,
        device: torch.device | None = None,
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
        self.crops = crops
        self.device = device or torch.device("cpu")
        self._order: tuple[int, Tensor] | None = None
        self._decoder = ThreadPoolExecutor(_AHEAD)  # of the next steps' pictures, by the processes of `crops`
        self._ahead: dict[int, Future[tuple[list[Tensor], list[AugmentParameters]]]] = {}

    def __len__(self) -> int:
        """How many pictures are trained on."""
        return len(self.pairs)

    def step(self, step: int) -> Batch:
        """This process's rows of optimiser step `step` (from 0): the views, captions, classes and concepts."""
        chosen, mine = self._chosen(step)
        source = self.pairs[chosen[mine], 0]
        neighbour = self._neighbours(chosen, step)[mine]
        views = self._seen(source, neighbour, mine, step) if self.crops is None else self._cut_out(step)
        texts, labels = (None if rows is None else rows[source] for rows in (self.texts, self.labels))
        concepts = self.concepts and self.concepts.map(lambda rows: rows[source])
        return Batch(views, texts, step, labels, self.seed, concepts)

    def _chosen(self, step: int) -> tuple[Tensor, slice]:
        """The pairs' rows of a step's joint batch, and which of these are this process's."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        chosen = self._permutation(epoch)[batch * self.batch_size : (batch + 1) * self.batch_size]
        share = self.batch_size // world_size()
        return chosen, slice(rank() * share, (rank() + 1) * share)

    def _seen(self, source: Tensor, neighbour: Tensor, mine: slice, step: int) -> tuple[Tensor, ...]:
        """The views of pictures that are in memory as squares."""
        own = self.pictures.batch(source)
        lone = len(self.augments) == 1 or torch.equal(source, neighbour)
        other = own if lone else self.pictures.batch(neighbour)
        return self._augmented([other if number == 1 else own for number in range(len(self.augments))], mine, step)

    def _cut_out(self, step: int) -> tuple[Tensor, ...]:
        """The views of whole pictures; those of the next `_AHEAD` steps are decoded while the device computes."""
        wanted = range(step, step + 1 + _AHEAD)
        self._ahead = {later: self._ahead.get(later) or self._decoder.submit(self._decoded, later) for later in wanted}
        cut = self._ahead.pop(step).result()
        return tuple(
            view if view.is_floating_point() else augment.finish(view.to(self.device), drawn)
            for augment, view, drawn in zip(self.augments, *cut, strict=True)
        )

    def _decoded(self, step: int) -> tuple[list[Tensor], list[AugmentParameters]]:
        """Each view's crops, uint8, and what else was drawn for them; a picture is decoded once for all its views."""
        chosen, mine = self._chosen(step)
        ends = self.pairs[chosen, 0], self._neighbours(chosen, step)
        of_view = [ends[number == 1] for number in range(len(self.augments))]
        drawn = [self._drawn(number, self.crops.sizes[of_view[number]], step) for number in range(len(of_view))]
        drawn = [AugmentParameters(*(part[mine] for part in parts)) for parts in drawn]
        views: list[Tensor | None] = [None] * len(of_view)
        lone = len(views) < 2 or torch.equal(*(end[mine] for end in ends))
        for numbers in [list(range(len(views)))] if lone else [[n for n in range(len(views)) if n != 1], [1]]:
            found = self.crops.batch(
                of_view[numbers[0]][mine], [self._cut(number, drawn[number]) for number in numbers]
            )
            for number, view in zip(numbers, found, strict=True):
                views[number] = view
        return views, drawn

    def _cut(self, number: int, drawn: AugmentParameters) -> Cut:
        augment, options = self.augments[number], self.augments[number].options
        here = augment.plain and self.device.type == "cpu"
        return Cut(drawn.boxes, drawn.flip, options.size, (options.mean, options.std) if here else None)

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

    def _drawn(self, number: int, canvas: int | Tensor, step: int) -> AugmentParameters:
        generator = torch_generator(self.seed, step, 0, f"view {number}")
        return self.augments[number].draw(self.batch_size, canvas, generator)

    def _permutation(self, epoch: int) -> Tensor:
        order = self._order  # one reading: the next step's decoder may put another in its place meanwhile
        if order is None or order[0] != epoch:
            generator = torch_generator(self.seed, epoch, 0, "order of an epoch")
            order = self._order = (epoch, torch.randperm(len(self.pairs), generator=generator))
        return order[1]


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
    sources, found = (
        _positions(table.column(name), path, pictures, "mine the pairs again") for name in ("source", "neighbour")
    )
    _, first, group, counts = np.unique(sources, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")  # each source's neighbours together, in the file's order
    rank_in_group = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    neighbours = np.full((len(counts), max(counts, default=1)), -1, np.int64)
    neighbours[group[order], rank_in_group] = found[order]
    by_place = np.argsort(first)
    return torch.from_numpy(np.column_stack((sources[first], neighbours))[by_place])


def read_texts(path: str | Path, captions: str | Path, pictures: Pictures) -> Tensor:
    """Embedded captions by the pictures' positions: (pictures, d) float32 embeddings, or (pictures, L) int64 ids.

    `path` holds a row for each row of the caption file `captions`. A picture without a caption has a row of NaN, or
    of -1. Raises `UserError` where the file cannot be read or is not of these captions, or these are not of the pack
    or are several of one picture.
    """
    keys = pq.read_table(captions, columns=["key"]).column("key")
    if pc.count_distinct(keys).as_py() < len(keys):
        check_one_a_picture(keys.to_pylist(), captions)
    rows = read_embeddings(path, len(keys), captions)
    positions = _positions(keys, captions, pictures, "caption that pack")
    filler = float("nan") if rows.is_floating_point() else -1
    texts = torch.full((len(pictures.pack), rows.shape[1]), filler, dtype=rows.dtype)
    texts[torch.from_numpy(positions)] = rows
    return texts


def read_labels(pictures: Pictures, classes: int) -> Tensor:
    """Class numbers by the pictures' positions, (pictures,) int64: places of their labels in sorted order.

    So evaluation sets number theirs (`evaluation.sets`). Raises `UserError` that names the pack where a picture has no
    label, or there are not `classes` different ones.
    """
    index = pictures.pack.rows
    found = index.column("label").dictionary_encode().unify_dictionaries().combine_chunks()
    names = found.dictionary.to_pylist()
    of_row = found.indices.to_numpy()
    if "" in names:
        bare = np.flatnonzero(of_row == names.index(""))
        raise UserError(
            f"{pictures.pack.folder}: {len(bare)} of {len(index)} pictures have no label, the first is "
            f"{pictures.pack.key(int(bare[0]))}: train this framework on a pack where every picture has one"
        )
    if len(names) != classes:
        raise UserError(
            f"{pictures.pack.folder}: the pictures are of {len(names)} classes but the recipe's options say "
            f"classes: {classes}: mend the recipe"
        )
    number = {label: place for place, label in enumerate(sorted(names))}
    return torch.tensor([number[name] for name in names], dtype=torch.int64)[torch.tensor(of_row)]


def read_targets(path: str | Path, pictures: Pictures, sizes: Mapping[str, int]) -> Concepts:
    """What a teacher sees in the pictures, by their positions.

    `sizes` are the greatest sizes of the vocabularies of `objects` and `attributes`. Raises `UserError` where the file
    is unreadable, does not hold each picture of the pack, or has vocabularies that are larger.
    """
    file = read_concepts(path)
    keys = pictures.pack.rows.column("key")
    order = pc.index_in(keys, value_set=pa.array(file.keys, pa.string()))
    if order.null_count:
        first = keys.filter(pc.is_null(order))[0]
        raise UserError(f"{path}: no concepts of picture {first} of {pictures.pack.folder}: distil that pack's")
    order = torch.tensor(np.asarray(order, dtype=np.int64))
    found = []
    for kind in KINDS:
        places, weights, vocabulary = file.seen[kind]
        if len(vocabulary) > sizes[kind]:
            raise UserError(
                f"{path}: {len(vocabulary)} {kind} but the recipe's options say {kind}: {sizes[kind]}: mend the recipe"
            )
        found += [torch.from_numpy(places).long()[order], torch.from_numpy(weights)[order]]
    return Concepts(*found)


def _positions(keys: pa.ChunkedArray, path: str | Path, pictures: Pictures, cure: str) -> np.ndarray:
    """Where the pictures `keys`, a column of the file `path`, stand in the pack, (n,) int64.

    Raises `UserError` that names `path` and `cure` where the pack does not have one.
    """
    positions = pictures.pack.rows.positions(keys)
    if len(strangers := np.flatnonzero(positions < 0)):
        stranger = keys[int(strangers[0])].as_py()
        raise UserError(f"{path}: picture {stranger!r} is not in {pictures.pack.folder}: {cure}")
    return positions


def _known(texts: Tensor) -> Tensor:
    """Which rows hold a caption, (n,) bool."""
    return ~texts.isnan().any(1) if texts.is_floating_point() else (texts >= 0).all(1)

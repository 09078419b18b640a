"""How far a scorer ranks each picture's own name behind others: how hard a picture is for a model not under test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vlrepro.captions.checkpoints import Checkpoint
from vlrepro.captions.scorer import embed_texts, load_scorer
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.evaluation.zero_shot import check_names, class_vectors, ranks
from vlrepro.pairs.encoding import embed_pictures_by

REVISION = 1


def rank_pictures(
    model: str | Path,
    pack: str | Path,
    names: Sequence[str],
    truth: Sequence[str],
    batch_size: int = 256,
    threads: int = 1,
    revision: str | None = None,
) -> list[int]:
    """The rank, from 0, of each picture's own name among `names` by the scorer's cosine, in index order.

    Args:
        model: the scorer, a dual encoder of transformers, by folder or hub name.
        pack: the folder of the pictures.
        names: the classes, each as the text that the scorer reads.
        truth: of each picture of the pack, its name.
        batch_size: pictures or names at a time.
        threads: of the processor; they decide the order of sums.
        revision: a commit of the hub.

    Raises:
        UserError: a name is missing or repeats, a picture's is not among them or has none; the scorer cannot be
            loaded; a picture does not decode or has no finite embedding.
    """
    torch.set_num_threads(threads)
    opened = Pack(pack)
    numbers = _numbers(opened, names, truth)
    scorer = load_scorer(model, revision)
    pictures = torch.from_numpy(embed_pictures_by(scorer, opened, batch_size))
    return ranks(pictures, name_vectors(scorer, names, batch_size), numbers).tolist()


def name_vectors(scorer: Checkpoint, names: Sequence[str], batch_size: int) -> Tensor:
    """Unit rows (C, d) float32 of names; raises `UserError` where the scorer gives a name no finite embedding."""
    rows = [embed_texts(scorer, names[start : start + batch_size]) for start in range(0, len(names), batch_size)]
    return class_vectors(torch.cat(rows).unsqueeze(1))


def _numbers(pack: Pack, names: Sequence[str], truth: Sequence[str]) -> Tensor:
    """The class number (n,) int64 of each picture of the pack."""
    check_names(names, place=f"{pack.folder}: names to rank")
    if len(truth) != len(pack):
        raise UserError(f"{pack.folder}: {len(truth)} names for {len(pack)} pictures: give each picture its own")
    number = {name: position for position, name in enumerate(names)}
    for row, name in zip(pack.rows, truth, strict=True):
        if name not in number:
            raise UserError(f"{pack.folder}: picture {row.key} is {name!r}, not among the {len(names)} names: add it")
    return torch.tensor([number[name] for name in truth])

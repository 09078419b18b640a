"""Trainings of every framework by one, two and four processes, for tests that compare their loss curves.

Processes are started once, because their imports take longer than all that they train.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from pass_models import OPTIONS
from stopped_runs import train_in_attempts
from torch import nn

from vlrepro import distributed
from vlrepro.frameworks import Batch, framework_module
from vlrepro.training import trainer as trainer_module
from vlrepro.training.loop import Files, Job, train_together
from vlrepro.training.trainer import Trainer

STEPS, MOVED, BATCH = 10, 5, 16
WORLDS = (2, 4)
SMALL = {"hidden_width": 16, "output_width": 8}
# Queues wrap and take part within the steps; prototypes stand still in the first.
NNCLR = {**SMALL, "predictor_width": 16, "queue_size": 40}
SWAV = {**SMALL, "prototypes": 12, "freeze_steps": 1, "queue_size": 32, "queue_start": 0}


class Case(NamedTuple):
    """A framework, its options, whether views are of language neighbours, and what else the recipe has."""

    framework: str
    options: Mapping[str, Any]
    paired: bool = False
    extra: Mapping[str, Any] = {}


def _noisy(strategy: str, columns: str) -> Case:
    return Case("clip_label_noise", {**OPTIONS, "label_noise": {"strategy": strategy, "rate": 0.4, "columns": columns}})


_PICTURES = {
    "simclr": Case("simclr", SMALL),
    "simsiam": Case("simsiam", {**SMALL, "predictor_width": 6}),
    **{f"nnclr {variant}": Case("nnclr", {**NNCLR, "variant": variant}) for variant in ("paper", "lgssl", "full")},
    **{f"swav {variant}": Case("swav", {**SWAV, "variant": variant}) for variant in ("official", "lgssl")},
    "slip": Case("slip", {**OPTIONS, **SMALL, "weight": 0.7}),
    "lgslip": Case("lgslip", {**OPTIONS, "hidden_width": 16, "weight": 0.7}),
}
_GUIDED = ("simclr", "simsiam", "nnclr paper", "lgslip")
CASES = {
    **_PICTURES,
    **{f"{name} with neighbours": _PICTURES[name]._replace(paired=True) for name in _GUIDED},
    "supervised": Case("supervised", {"classes": 4, "label_smoothing": 0.1}),
    "clip": Case("clip", OPTIONS),
    "reselection": _noisy("reselection", "shared"),
    "permutation": _noisy("permutation", "inverse"),
    "secondary": _noisy("secondary", "independent"),
    "secondary_blend": _noisy("secondary_blend", "clean"),
    "clip_hard_negatives": Case("clip_hard_negatives", {**OPTIONS, "alpha": 0.9, "beta": 0.5}),
    "clip_distillation": Case(
        "clip_distillation", {**OPTIONS, "beta": 0.5, "objects": 7, "attributes": 5, "attribute_weight": 0.7}
    ),
}


class Backbone(nn.Sequential):
    """Two convolutions and their batch norms: every norm costs several messages a step, in all trainings."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, 2, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        )
        self.feature_width = 64


class Data(NamedTuple):
    """The files of all trainings, and the recipe that they share."""

    files: Files
    recipe: Mapping[str, Any]


def groups() -> list[list[str]]:
    """Names of cases that see the same batches, so that one loop trains them."""
    found: dict[tuple[int | bool, ...], list[str]] = {}
    for name, case in CASES.items():
        module = framework_module(case.framework)
        kind = (module.VIEWS, case.paired, module.LABELS, getattr(module, "CONCEPTS", False))
        found.setdefault(kind, []).append(name)
    return list(found.values())


def train_all(data: Data, folder: Path, states: str) -> None:
    """Train every case into `folder`/<case>, from the states in `folder`/`states`, if there are."""
    for names in groups():
        first = CASES[names[0]]
        views = framework_module(first.framework).VIEWS
        jobs = []
        for name in names:
            case = CASES[name]
            recipe = {**data.recipe, "framework": case.framework, "options": dict(case.options), **case.extra}
            recipe |= {"augmentations": data.recipe["augmentations"][:1] * views}
            jobs.append(Job(recipe, folder / states / name, folder / name, name))
        pairs = data.files.pairs if first.paired else None
        with mock.patch.object(trainer_module, "build_backbone", side_effect=lambda name, **_: Backbone()):
            train_together(jobs, data.files._replace(pairs=pairs), 1e9)


@contextmanager
def copying(folder: Path) -> Iterator[None]:
    """Copy each training's state after `MOVED` steps to `folder`/<case>."""
    take = Trainer.take

    def copied(trainer: Trainer, batch: Batch) -> None:
        if batch.step == MOVED and trainer.states.folder.parent.name == "fresh":
            trainer.save()
            if distributed.rank() == 0:
                shutil.copytree(trainer.states.folder, folder / trainer.name)
        take(trainer, batch)

    with mock.patch.object(Trainer, "take", copied):
        yield


def process(rank: int, ports: Sequence[int], data: Data, folder: Path) -> None:
    """What each of four processes does: the first two meet first, then all."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
    for world, port in zip(WORLDS, ports, strict=True):
        if rank < world:
            os.environ |= {"WORLD_SIZE": str(world), "MASTER_PORT": str(port)}
            trained_by(world, data, folder)


def trained_by(world: int, data: Data, folder: Path) -> None:
    """Train all from the start, then go on from half-way: two processes from their states, four from those of two.

    Two also train what is stopped by one of them.
    """
    device, stop = distributed.start(), distributed.stop
    with mock.patch.object(distributed, "start", return_value=device), mock.patch.object(distributed, "stop"):
        with copying(folder / f"states {world}"):
            train_all(data, folder / f"{world}", "fresh")
        resumed = folder / f"2 then {world}"
        if distributed.rank() == 0:
            shutil.copytree(folder / "states 2", resumed / "states")
        distributed.first_alone(lambda: None)  # nobody looks for states that are not copied yet
        train_all(data, resumed, "states")
        if world == WORLDS[0]:
            train_in_attempts(data.files, data.recipe, folder / "stopped")
    stop()


def start_processes(data: Data, folder: Path) -> list[multiprocessing.Process]:
    """The four, started."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in WORLDS]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=process, args=(rank, ports, data, folder), daemon=True) for rank in range(max(WORLDS))
    ]
    for one in processes:
        one.start()
    return processes


def curve(folder: Path, case: str) -> torch.Tensor:
    """The losses of a training, (STEPS,)."""
    lines = (folder / case / "history.jsonl").read_text().splitlines()
    return torch.tensor([json.loads(line)["loss"] for line in lines], dtype=torch.float64)

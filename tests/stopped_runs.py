"""Trainings of two processes that end before their end, for tests that look where each process stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from conftest import SCRIPTS

from vlrepro import distributed
from vlrepro.files import write_json
from vlrepro.training.loop import Files, Job, train_together
from vlrepro.training.state import newest_step
from vlrepro.training.stopping import Stop, Unfinished
from vlrepro.training.trainer import Trainer

STEPS, SHORT = 20, 3


class Told(Stop):
    """Sends this process SIGTERM when a number of steps are over."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def why(self, device: torch.device) -> str | None:
        """As ever."""
        self.steps -= 1
        if self.steps == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().why(device)


def stopped_recipe(recipe: Mapping[str, Any], steps: int = STEPS) -> dict[str, Any]:
    """A recipe of SimCLR on what the given one sees."""
    options = {"hidden_width": 16, "output_width": 8}
    augmentations = recipe["augmentations"][:1] * 2
    return {**recipe, "framework": "simclr", "options": options, "augmentations": augmentations, "steps": steps}


def train_in_attempts(files: Files, recipe: Mapping[str, Any], folder: Path) -> None:
    """What each of two processes does: only the second is near its limit, or is told to end.

    The training `command`, which was interrupted, goes on. Leaves <case>/ and ends<rank>.json: case -> [steps, why] of
    each attempt that ended early.
    """
    files, second = Files(files.pack), distributed.rank() == 1
    stops: dict[str, Sequence[Stop | None]] = {
        "short": [None],
        "limited": [Stop(0) if second else Stop() for _ in range(SHORT)],
        "told": [Told(2) if second else Stop(), None],
    }
    recipes = dict.fromkeys(stops, stopped_recipe(recipe, SHORT)) | dict.fromkeys(
        ("whole", "command"), stopped_recipe(recipe)
    )
    ends = {name: _attempts(files, recipes[name], folder, name, stops.get(name, [None])) for name in recipes}
    write_json(folder / f"ends{distributed.rank()}.json", ends)


def _attempts(
    files: Files, recipe: Mapping[str, Any], folder: Path, name: str, stops: Sequence[Stop | None]
) -> list[list[Any]]:
    ends, taken = [], []
    take = Trainer.take

    def counted(trainer: Trainer, batch: Any) -> None:
        take(trainer, batch)
        taken.append(trainer.step)

    for stop in stops:
        with mock.patch.object(Trainer, "take", counted):
            try:
                train_together([Job(recipe, folder / "states" / name, folder / name, name)], files, 1e9, stop)
            except Unfinished as end:
                ends.append([taken[-1], end.why])
    return ends


def interrupted_command(files: Files, recipe: Mapping[str, Any], folder: Path) -> tuple[int, str, str]:
    """The real command of two processes, sent SIGTERM once it has saved a state: exit code, output and errors."""
    write_json(folder / "recipe.json", stopped_recipe(recipe))
    state = folder / "states/command"
    options = {"recipe": folder / "recipe.json", "index": Path(files.pack) / "index.parquet", "state": state}
    options |= {"model": folder / "command/model.safetensors", "processes": 2, "checkpoint-seconds": 0}
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = subprocess.Popen([sys.executable, SCRIPTS / "train.py", *words], **pipes)
    while newest_step(state) < 1:
        assert started.poll() is None
        time.sleep(0.002)
    started.send_signal(signal.SIGTERM)
    printed, errors = started.communicate(timeout=120)
    return started.returncode, printed, errors

"""Trainings of two processes that end before their end: both at the same step, then on to the same bits.

Two processes are started once and go through all cases; one more training is the real command, which is told to end.
"""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from unittest import mock

import pytest
from conftest import SCRIPTS, STRONG, shape_pictures

from vlrepro import distributed
from vlrepro.data.pack import write_pack
from vlrepro.files import read_json, write_json
from vlrepro.training.launch import AGAIN
from vlrepro.training.lock import LOCK
from vlrepro.training.loop import Files, Job, train_together
from vlrepro.training.state import newest_step
from vlrepro.training.stopping import Stop, Unfinished
from vlrepro.training.trainer import Trainer

STEPS, SHORT = 40, 4
RECIPE = {
    "framework": "simclr",
    "options": {"hidden_width": 16, "output_width": 8},
    "augmentations": [STRONG, STRONG],
    "pictures": {"canvas": 24, "size": 16, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    "backbone": {"name": "resnet_small", "width": 4},
    "batch_size": 16,
    "steps": STEPS,
    "max_epochs": 10,
    "threads": 1,
    "optimiser": {
        **{"learning_rate": 0.003, "reference_batch": 16, "weight_decay": 0.01, "decay_all": True},
        **{"warmup_steps": 2, "warmup_start": 1e-5, "final_rate": 1e-6},
    },
    "seed": 0,
}
FILES = ("model.safetensors", "history.jsonl")


def attempts(folder, recipe, name, stops):
    """Train in the folder `name`, one attempt a stop; after how many steps each one that ended early ended, and why."""
    ends, taken = [], []
    take = Trainer.take

    def counted(trainer, batch):
        take(trainer, batch)
        taken.append(trainer.step)

    job = Job(recipe, folder / "states" / name, folder / name, name)
    for stop in stops:
        with mock.patch.object(Trainer, "take", counted):
            try:
                train_together([job], Files(folder / "shapes"), 1e9, stop)
            except Unfinished as end:
                ends.append([taken[-1], end.why])
    return ends


class Told(Stop):
    """Sends this process SIGTERM once a number of steps are over."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def why(self, device):
        self.steps -= 1
        if self.steps == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().why(device)


def process(rank, port, folder):
    """What each of two processes does; only the second is near its limit, or is told to end."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"WORLD_SIZE": "2", "MASTER_PORT": str(port)}
    device, stop = distributed.start(), distributed.stop
    short = RECIPE | {"steps": SHORT}
    limit, told = (Stop(0), Told(2)) if rank == 1 else (Stop(), Stop())
    with mock.patch.object(distributed, "start", return_value=device), mock.patch.object(distributed, "stop"):
        ends = {
            "whole": attempts(folder, RECIPE, "whole", [None]),
            "short": attempts(folder, short, "short", [None]),
            "limited": attempts(folder, short, "limited", [limit] * SHORT),
            "told": attempts(folder, short, "told", [told, None]),
            "command": attempts(folder, RECIPE, "command", [None]),
        }
    stop()
    write_json(folder / f"ends{rank}.json", ends)


def command(folder):
    """The real command, sent SIGTERM once it has saved a state; its exit code, and what it printed."""
    write_json(folder / "recipe.json", RECIPE)
    state = folder / "states/command"
    options = {"recipe": folder / "recipe.json", "index": folder / "shapes/index.parquet", "state": state}
    options |= {"model": folder / "command/model.safetensors", "processes": 2, "checkpoint-seconds": 0}
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    started = subprocess.Popen([sys.executable, SCRIPTS / "train.py", *words], stdout=subprocess.PIPE, text=True)
    while newest_step(state) < 1:
        assert started.poll() is None
        time.sleep(0.002)
    started.send_signal(signal.SIGTERM)
    printed = started.stdout.read()
    return started.wait(), printed


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of all trainings, and what the real command's first attempt ended with."""
    folder = tmp_path_factory.mktemp("stopped")
    write_pack(folder / "shapes", shape_pictures(64))
    code, printed = command(folder)
    step = newest_step(folder / "states/command")
    assert not (folder / "states/command" / LOCK).exists()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=process, args=(rank, port, folder), daemon=True) for rank in (0, 1)]
    for one in both:
        one.start()
    for one in both:
        one.join(240)
        one.kill()
    assert [one.exitcode for one in both] == [0, 0]
    return folder, code, printed, step


def left(folder):
    return [(folder / name).read_bytes() for name in FILES]


@pytest.mark.parametrize(
    ("name", "steps", "why"), [("limited", [1, 2, 3], "near"), ("told", [2], "it was told to end (SIGTERM)")]
)
def test_both_stop_at_the_step_where_one_must(name, steps, why, runs):
    ends = [read_json(runs[0] / f"ends{rank}.json")[name] for rank in (0, 1)]
    assert [[step for step, _ in end] for end in ends] == [steps, steps]
    assert all(words.endswith(why) for end in ends for _, words in end)
    assert left(runs[0] / name) == left(runs[0] / "short")


def test_the_command_ends_with_75_and_goes_on_to_the_same_bits(runs):
    folder, code, printed, step = runs
    assert code == AGAIN == 75
    assert 0 < step < STEPS
    assert f"command: it was told to end (SIGTERM): saved after step {step}, to go on from there" in printed
    assert left(folder / "command") == left(folder / "whole")
    assert newest_step(folder / "states/command") == -1

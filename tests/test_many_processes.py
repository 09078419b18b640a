"""One, two and four processes train every framework along the same loss curve, also where their number changes."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from caption_training import caption_files
from concept_packs import concept_file
from conftest import STRONG, shape_pictures
from process_runs import CASES, STEPS, Data, copying, curve, start_processes, train_all
from stopped_runs import STEPS as STOPPED_STEPS
from stopped_runs import interrupted_command

from vlrepro import frameworks
from vlrepro.data.pack import write_pack
from vlrepro.files import read_json, write_json
from vlrepro.training.launch import AGAIN
from vlrepro.training.state import newest_step

# Rounding must not grow within these steps. AdamW divides a gradient by its own size plus eps, so at its usual 1e-8 the
# noise of gradients that vanish (SimSiam's here) becomes whole steps; and at 3e-3 SimSiam's losses part by 4e-3 in
# float32, by 1e-14 in float64.
RATE, EPS = 5e-4, 1e-5
RECIPE = {
    "augmentations": [STRONG],
    "pictures": {"canvas": 24, "size": 16, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    "backbone": {"name": "resnet_small", "width": 4},
    "batch_size": 16,
    "steps": STEPS,
    "max_epochs": 10,
    "threads": 1,
    "optimiser": {
        **{"learning_rate": RATE, "reference_batch": 16, "weight_decay": 0.01, "decay_all": True},
        **{"warmup_steps": 2, "warmup_start": 1e-5, "final_rate": 1e-6, "eps": EPS},
    },
    "seed": 0,
}


def left(folder):
    return [(folder / name).read_bytes() for name in ("model.safetensors", "history.jsonl")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of all trainings: one named by its processes, and one for each change of their number."""
    folder = tmp_path_factory.mktemp("processes")
    write_pack(folder / "shapes", shape_pictures(64))
    files = caption_files(folder, folder / "shapes")
    keys = [f"p{number:04d}" for number in range(64)]
    pq.write_table(pa.table({"source": keys, "neighbour": keys[8:] + keys[:8]}), folder / "pairs.parquet")
    files = files._replace(pairs=folder / "pairs.parquet", concepts=concept_file(folder / "concepts.parquet"))
    data = Data(files, RECIPE)
    ended = interrupted_command(files, RECIPE, folder / "stopped")
    step = newest_step(folder / "stopped/states/command")
    processes = start_processes(data, folder)
    with copying(folder / "states 1"):
        train_all(data, folder / "1", "fresh")
    for one in processes:
        one.join(600)
        if one.is_alive():
            one.kill()
    assert [one.exitcode for one in processes] == [0] * len(processes)
    shutil.copytree(folder / "states 4", folder / "4 then 1" / "states")
    train_all(data, folder / "4 then 1", "states")
    write_json(folder / "stopped/command.json", [*ended, step])
    return folder


def test_every_framework_has_a_case():
    files = {path.stem for path in Path(frameworks.__file__).parent.glob("*.py")}
    assert files - {"__init__", "untrained"} == {case.framework for case in CASES.values()}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("processes", ["2", "4", "2 then 4", "4 then 1"])
def test_all_numbers_of_processes_give_one_loss_curve(case, processes, runs):
    one, many = curve(runs / "1", case), curve(runs / processes, case)
    assert len(one) == STEPS
    assert len(one.unique()) == STEPS  # it trains: a constant would equal itself
    torch.testing.assert_close(many, one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_that_are_resumed_give_the_same_bits(case, runs):
    assert left(runs / "2 then 2" / case) == left(runs / "2" / case)


@pytest.mark.parametrize(
    ("name", "steps", "why"), [("limited", [1, 2], "near"), ("told", [2], "it was told to end (SIGTERM)")]
)
def test_both_stop_at_the_step_where_one_must_and_go_on_to_the_same_bits(name, steps, why, runs):
    ends = [read_json(runs / f"stopped/ends{rank}.json")[name] for rank in (0, 1)]
    assert [[step for step, _ in end] for end in ends] == [steps, steps]
    assert all(words.endswith(why) for end in ends for _, words in end)
    assert left(runs / "stopped" / name) == left(runs / "stopped/short")


def test_the_command_of_two_processes_ends_with_75_and_goes_on_to_the_same_bits(runs):
    code, printed, errors, step = read_json(runs / "stopped/command.json")
    assert code == AGAIN == 75
    assert printed.count(f"command: it was told to end (SIGTERM): saved after step {step}, to go on from there") == 1
    assert errors == ""
    assert 0 < step < STOPPED_STEPS
    assert left(runs / "stopped/command") == left(runs / "stopped/whole")

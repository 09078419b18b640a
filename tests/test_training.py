"""Training: determinism, resuming to the same bits after SIGKILL, and what bad input gets."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from vlrepro.errors import UserError
from vlrepro.files import digest_of, write_json
from vlrepro.training.loop import Files, train
from vlrepro.training.optimiser import adamw
from vlrepro.training.schedule import learning_rate
from vlrepro.training.state import StateFolder

ROOT = Path(__file__).parents[1]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_pairs(path, pairs):
    pq.write_table(pa.table({"source": [a for a, _ in pairs], "neighbour": [b for _, b in pairs]}), path)
    return path


def test_same_recipe_same_bits_other_seed_other_bits(shape_pack, recipe, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(recipe | {"seed": seed}, Files(shape_pack), tmp_path / "state", tmp_path / name, 60)
    one, same, other = (digest(tmp_path / name / "model.safetensors") for name in "abc")
    assert one == same != other
    history = [json.loads(line) for line in (tmp_path / "a" / "history.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in history] == list(range(1, 13))
    assert history[-1]["loss"] < history[0]["loss"]
    assert not (tmp_path / "state").exists()


def test_killed_and_resumed_gives_the_same_bits(shape_pack, recipe, tmp_path):
    recipe = recipe | {"steps": 100, "max_epochs": 100}
    pairs = write_pairs(tmp_path / "pairs.parquet", [(f"p{i:04d}", f"p{(i + 8) % 64:04d}") for i in range(64)])
    write_json(tmp_path / "recipe.json", recipe)
    train(recipe, Files(shape_pack, pairs), tmp_path / "state-whole", tmp_path / "whole", 60)

    state, model = tmp_path / "state", tmp_path / "killed" / "model.safetensors"
    command = [sys.executable, ROOT / "workflow/scripts/train.py", "--recipe", tmp_path / "recipe.json"]
    command += ["--index", shape_pack / "index.parquet", "--pairs", pairs, "--state", state]
    command += ["--checkpoint-seconds", "0.1", "--model", model]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(state.glob("step-*.pt"))) < 2:
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not model.exists()
    # A state that the kill, or a full disk, cut short: the older one is used.
    newest = max(state.glob("step-*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])

    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{newest} is cut short" in result.stdout
    assert "resumed at step" in result.stdout
    assert digest(model) == digest(tmp_path / "whole" / "model.safetensors")
    assert (tmp_path / "killed/history.jsonl").read_text() == (tmp_path / "whole/history.jsonl").read_text()


def test_state_of_another_recipe_is_not_resumed(tmp_path, capsys):
    StateFolder(tmp_path, "one").save(3, {"model": {"w": torch.ones(1)}})
    assert StateFolder(tmp_path, "two").load() is None
    assert "is of another recipe" in capsys.readouterr().out


def test_states_keep_the_newest_two(tmp_path):
    states = StateFolder(tmp_path, "one")
    for step in (1, 2, 3):
        states.save(step, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002.pt", "step-00000003.pt"]
    assert states.load()["step"] == 3


def test_state_with_foreign_code_is_refused(tmp_path):
    torch.save({"recipe": "one", "step": 1, "model": Path("x")}, tmp_path / "step-00000001.pt")
    assert StateFolder(tmp_path, "one").load() is None


def test_untrained_saves_its_random_weights(shape_pack, recipe, tmp_path):
    recipe = recipe | {"framework": "untrained", "options": {}, "steps": 0}
    for name, seed in (("a", 0), ("b", 1)):
        train(recipe | {"seed": seed}, Files(shape_pack), tmp_path / "state", tmp_path / name, 60)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert not torch.equal(first["layers.0.0.weight"], second["layers.0.0.weight"])
    assert (tmp_path / "a" / "history.jsonl").read_text() == ""


@pytest.mark.parametrize(("change", "words"), [({"steps": 41}, "allow 40"), ({"batch_size": 65}, "allow 0")])
def test_more_steps_than_the_data_allow(shape_pack, recipe, tmp_path, change, words):
    with pytest.raises(UserError, match=f"64 usable pairs .* {words} .*lower steps or batch_size"):
        train(recipe | change, Files(shape_pack), tmp_path / "state", tmp_path / "out", 60)
    assert not (tmp_path / "out").exists()


def test_pairs_of_another_pack_and_missing_columns(shape_pack, recipe, tmp_path):
    strange = write_pairs(tmp_path / "strange.parquet", [("p0000", "nobody")] * 64)
    with pytest.raises(UserError, match=r"strange.parquet: picture 'nobody' is not in"):
        train(recipe, Files(shape_pack, strange), tmp_path / "state", tmp_path / "out", 60)
    pq.write_table(pa.table({"source": ["p0000"]}), tmp_path / "half.parquet")
    with pytest.raises(UserError, match=r"half.parquet: the pairs lack the column neighbour"):
        train(recipe, Files(shape_pack, tmp_path / "half.parquet"), tmp_path / "state", tmp_path / "out", 60)


def test_schedule_at_its_edges(recipe):
    optimiser = recipe["optimiser"] | {"learning_rate": 0.001, "reference_batch": 512, "warmup_steps": 10}
    rates = [learning_rate(step, 110, 1024, optimiser) for step in range(111)]
    assert rates[0] == 1e-5
    assert rates[10] == max(rates) == pytest.approx(0.002)  # linear in the batch
    assert rates[60] == pytest.approx((0.002 + 1e-6) / 2)  # half-way down the cosine
    assert rates[110] == pytest.approx(1e-6)
    assert all(a > b for a, b in pairwise(rates[10:]))


def test_decay_groups(recipe):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    settings = recipe["optimiser"]
    (everything,) = adamw(model, settings).param_groups
    assert len(everything["params"]) == 4
    weights, rest = adamw(model, settings | {"decay_all": False}).param_groups
    assert [len(weights["params"]), weights["weight_decay"]] == [1, 0.01]
    assert [len(rest["params"]), rest["weight_decay"]] == [3, 0.0]


def test_metadata_names_the_recipe(shape_pack, recipe, tmp_path):
    from safetensors import safe_open

    train(recipe, Files(shape_pack), tmp_path / "state", tmp_path / "out", 60)
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as weights:
        assert weights.metadata()["recipe"] == digest_of(recipe)

"""A loss that is not finite is a result: the run ends with finite weights, says why, and keeps its last good state."""

import json

import pytest
import torch
from caption_training import caption_files, caption_recipe
from safetensors.torch import load_file

from vlrepro.errors import UserError
from vlrepro.frameworks import build_framework
from vlrepro.models.backbones import build_backbone
from vlrepro.randomness import key
from vlrepro.training.loop import Files, train
from vlrepro.training.outcome import failure_of
from vlrepro.training.views import Views


def history_of(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


@pytest.fixture
def poisoned(shape_pack, recipe, tmp_path):
    """A recipe with 4 batches an epoch, and files of which one caption's embedding is not finite."""
    return caption_recipe(recipe), caption_files(tmp_path, shape_pack, poisoned=5)


@pytest.fixture
def first_bad(monkeypatch):
    """After a training: the first step (from 1) whose batch held an embedding that is not finite."""
    seen, step_of = [], Views.step

    def step(views, number):
        batch = step_of(views, number)
        seen.extend([] if batch.texts.isfinite().all() else [number + 1])
        return batch

    monkeypatch.setattr(Views, "step", step)
    return lambda: seen[0]


def test_a_poisoned_batch_ends_the_run_with_the_weights_before_it(poisoned, first_bad, tmp_path, capsys):
    recipe, files = poisoned
    train(recipe, files, tmp_path / "state", tmp_path / "out", 60, name="clip")
    bad = first_bad()
    assert 1 < bad <= 4
    assert failure_of(tmp_path / "out/model.safetensors") == f"the loss is nan at step {bad}"
    history = history_of(tmp_path / "out")
    assert [entry["step"] for entry in history] == list(range(1, bad + 1))
    assert history[-1] == {"step": bad, "failed": f"the loss is nan at step {bad}"}
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("clip: the loss")]
    assert f"clip: the loss is nan at step {bad}: stopped" in line
    # The weights are those of the state that is kept, which is that of the steps before: they train to the same.
    kept = torch.load(tmp_path / f"state/step-{bad - 1:08d}.pt", weights_only=True)
    weights = load_file(tmp_path / "out/model.safetensors")
    assert all(torch.equal(kept["model"][f"backbone.{n}"], v) for n, v in weights.items() if not n.startswith("joint/"))
    assert [entry["step"] for entry in kept["history"]] == list(range(1, bad))
    assert kept["model"]["backbone.layers.0.1.num_batches_tracked"] == bad - 1  # not those that the bad pass left


def test_it_fails_again_to_the_same_end(poisoned, tmp_path):
    recipe, files = poisoned
    for name in ("a", "b"):  # the second resumes from the state before the bad step
        train(recipe, files, tmp_path / "state", tmp_path / name, 60)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert one.keys() == two.keys()
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert history_of(tmp_path / "a") == history_of(tmp_path / "b")


def test_broken_weights_are_replaced_by_the_initial_ones(shape_pack, recipe, tmp_path):
    """A rate that overflows the weights in one step: the next loss tells."""
    recipe = recipe | {"optimiser": recipe["optimiser"] | {"learning_rate": 1e39}}
    train(recipe, Files(shape_pack), tmp_path / "state", tmp_path / "out", 0)
    assert failure_of(tmp_path / "out/model.safetensors") == history_of(tmp_path / "out")[-1]["failed"]
    torch.manual_seed(key(0, 0, 0, "initial weights"))
    initial = build_framework("simclr", build_backbone("resnet_small", width=4), recipe["options"]).backbone
    weights = load_file(tmp_path / "out/model.safetensors")
    assert all(torch.equal(weights[name], value) for name, value in initial.state_dict().items())
    step = history_of(tmp_path / "out")[-1]["step"]
    kept = sorted((tmp_path / "state").iterdir())
    assert [path.name for path in kept] == [f"step-{number:08d}.pt" for number in range(1, step - 1)]
    for path in kept:  # the newest is from before the step that broke the weights
        assert all(value.isfinite().all() for value in torch.load(path, weights_only=True)["model"].values())


def test_a_good_run_has_no_failure(shape_pack, recipe, tmp_path):
    train(recipe | {"steps": 1}, Files(shape_pack), tmp_path / "state", tmp_path / "out", 60)
    assert failure_of(tmp_path / "out/model.safetensors") is None
    (tmp_path / "bad").write_text("no weights")
    with pytest.raises(UserError, match=r"bad: not readable weights .*: delete the run and train again"):
        failure_of(tmp_path / "bad")

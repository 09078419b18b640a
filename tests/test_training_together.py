"""Several recipes in one process: the bits that each gets alone, from pictures that are decoded once."""

import pytest
from caption_training import caption_files, caption_recipe
from conftest import run_script

from vlrepro.data.loader import Pictures
from vlrepro.errors import UserError
from vlrepro.files import write_json
from vlrepro.training.loop import Files, Job, train, train_together
from vlrepro.training.outcome import failure_of
from vlrepro.training.trainer import Trainer
from vlrepro.training.views import Views

FILES = ("model.safetensors", "history.jsonl")


@pytest.fixture
def recipes(recipe):
    """Three that see the same batches: other losses, another backbone, another length and rate."""
    noise = {"strategy": "permutation", "rate": 0.5}
    plain = caption_recipe(recipe)
    undecayed = plain["optimiser"] | {"decay_all": False}
    return {
        "plain": plain,
        "noisy": caption_recipe(recipe, "clip_label_noise", label_noise=noise) | {"steps": 9},
        "wide": plain | {"backbone": {"name": "resnet_small", "width": 8}, "optimiser": undecayed},
    }


@pytest.fixture
def alone(recipes, shape_pack, tmp_path):
    """What each recipe leaves when it is trained by itself."""
    files = caption_files(tmp_path, shape_pack)
    for name, recipe in recipes.items():
        train(recipe, files, tmp_path / "state", tmp_path / "alone" / name, 60)
    return {name: left(tmp_path / "alone" / name) for name in recipes}


def left(folder):
    return [(folder / name).read_bytes() for name in FILES]


def jobs_of(recipes, folder):
    return [Job(recipe, folder / f"state/{name}", folder / name, name) for name, recipe in recipes.items()]


def test_together_and_alone_give_the_same_bits(recipes, alone, shape_pack, tmp_path, monkeypatch):
    counts = {"decoded": 0, "drawn": 0}
    decode, step = Pictures._decode, Views.step

    def counted(method, what):
        def call(*arguments):
            counts[what] += 1
            return method(*arguments)

        return call

    monkeypatch.setattr(Pictures, "_decode", counted(decode, "decoded"))
    monkeypatch.setattr(Views, "step", counted(step, "drawn"))
    train_together(jobs_of(recipes, tmp_path), caption_files(tmp_path, shape_pack), 60)
    assert {name: left(tmp_path / name) for name in recipes} == alone
    assert counts == {"decoded": 1, "drawn": 12}
    assert not (tmp_path / "state").exists()


def test_stopped_and_resumed_gives_the_same_bits(recipes, alone, shape_pack, tmp_path, monkeypatch):
    """Stopped while one is a step ahead of the others, and one is at its end."""
    take, files = Trainer.take, caption_files(tmp_path, shape_pack)

    def stopping(trainer, batch):
        if (trainer.name, batch.step) == ("wide", 10):
            trainer.states.clear()  # as if its newest states were cut short
            raise KeyboardInterrupt
        take(trainer, batch)

    monkeypatch.setattr(Trainer, "take", stopping)
    with pytest.raises(KeyboardInterrupt):
        train_together(jobs_of(recipes, tmp_path), files, 0)
    assert not any((tmp_path / name).exists() for name in recipes)
    monkeypatch.setattr(Trainer, "take", take)
    train_together(jobs_of(recipes, tmp_path), files, 60)
    assert {name: left(tmp_path / name) for name in recipes} == alone


def test_one_that_fails_leaves_the_others(recipes, alone, shape_pack, tmp_path):
    broken = recipes["plain"] | {"optimiser": recipes["plain"]["optimiser"] | {"learning_rate": 1e39}}
    together = {"broken": broken, **recipes}
    train_together(jobs_of(together, tmp_path), caption_files(tmp_path, shape_pack), 0)
    assert failure_of(tmp_path / "broken/model.safetensors").startswith("the loss is ")
    assert {name: left(tmp_path / name) for name in recipes} == alone
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["broken"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "differ in seed"),
        ({"batch_size": 8}, "differ in batch_size"),
        ({"texts": "others"}, "differ in texts"),
        ({"framework": "supervised", "options": {"classes": 4}}, "differ in classes"),
        ({"steps": 41}, "allow 40 .*: lower steps"),
    ],
)
def test_what_cannot_train_together_is_named(recipes, shape_pack, tmp_path, change, words):
    jobs = jobs_of({"plain": recipes["plain"], "other": recipes["plain"] | change}, tmp_path)
    with pytest.raises(UserError, match=f"^other.*{words}"):
        train_together(jobs, Files(shape_pack), 60)
    assert not (tmp_path / "plain").exists()


def test_the_command_takes_several(recipes, alone, shape_pack, tmp_path, monkeypatch):
    files = caption_files(tmp_path, shape_pack)
    for name, recipe in recipes.items():
        write_json(tmp_path / f"{name}.json", recipe)
    lists = {
        "recipe": [tmp_path / f"{name}.json" for name in recipes],
        "state": [tmp_path / f"state/{name}" for name in recipes],
        "model": [tmp_path / f"runs/{name}/model.safetensors" for name in recipes],
    }
    rest = {"index": shape_pack / "index.parquet", "texts": files.texts, "captions": files.captions}
    run_script("train.py", monkeypatch, **lists, **rest)
    assert {name: left(tmp_path / "runs" / name) for name in recipes} == alone
    with pytest.raises(SystemExit):
        run_script("train.py", monkeypatch, **lists | {"state": lists["state"][:1]}, **rest)

"""Supervised training: its loss against a plain loop, and that every picture is trained with its own class."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import shape_pictures
from framework_steps import adamw, batch_of, resumed_losses, small_model, train_steps
from torch.nn import functional

from vlrepro import frameworks
from vlrepro.data.augment import Augment, AugmentationOptions
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, write_pack
from vlrepro.errors import UserError
from vlrepro.evaluation.sets import evaluation_set
from vlrepro.frameworks import Batch, framework_module
from vlrepro.training import views
from vlrepro.training.loop import Files, Job, read_views, train
from vlrepro.training.state import StateFolder
from vlrepro.training.trainer import Trainer
from vlrepro.training.views import Views, read_labels, read_pairs

WHOLE = {"scale": [1.0, 1.0], "ratio": [1.0, 1.0]}
STILL = Augment(AugmentationOptions(size=24, scale=(1.0, 1.0), ratio=(1.0, 1.0), mean=(0, 0, 0), std=(1, 1, 1)))
COLOURS = {"blue": (0, 0, 255), "green": (0, 128, 0), "orange": (255, 165, 0), "red": (255, 0, 0)}  # sorted


def labelled(step: int) -> Batch:
    """One random view of 8 pictures of 3 classes, a function of the step."""
    batch = batch_of(step)
    return batch._replace(views=batch.views[:1], labels=(torch.arange(8) + step) % 3)


@pytest.fixture
def supervised(recipe):
    """A recipe that trains on `shape_pack`, whose labels are four colours."""
    return recipe | {"framework": "supervised", "options": {"classes": 4}, "augmentations": [WHOLE]}


def looped(scores: np.ndarray, labels: list[int], smoothing: float) -> float:
    """Cross entropy with the smoothed target q(k) = (1 - e) [k = y] + e / K (Szegedy et al.), class by class."""
    total, classes = 0.0, scores.shape[1]
    for row, label in zip(scores, labels, strict=True):
        for place in range(classes):
            target = (1 - smoothing) * (place == label) + smoothing / classes
            total -= target * np.log(np.exp(row[place]) / np.exp(row).sum())
    return total / len(labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_independent_implementations(smoothing):
    model, batch = small_model("supervised", classes=3, label_smoothing=smoothing).double(), labelled(0)
    batch = batch._replace(views=(batch.views[0].double(),))
    scores = model.classifier(model.backbone(batch.views[0])).detach()
    result = model(batch)
    assert result.loss.item() == pytest.approx(looped(scores.numpy(), batch.labels.tolist(), smoothing), abs=1e-12)
    expected = functional.cross_entropy(scores, batch.labels, label_smoothing=smoothing)
    assert result.loss.item() == pytest.approx(expected.item(), abs=1e-12)
    right = [int(row.argmax()) == label for row, label in zip(scores, batch.labels.tolist(), strict=True)]
    assert result.logs == {"class_accuracy": pytest.approx(sum(right) / 8)}


@pytest.mark.parametrize(("options", "bits"), [({}, 1.25), ({"label_smoothing": 0.3}, 1.375)])
def test_hand_computed_constant(options, bits):
    # Whatever the picture, classes 0, 1 and 2 have the probabilities 1/2, 1/4 and 1/4, which cost 1, 2 and 2 bits.
    # Three pictures of class 0 and one of class 1: (3 + 2) / 4 = 1.25 bits. Smoothed: 0.7 * 1.25 + 0.3 * 5/3 = 1.375.
    model = small_model("supervised", classes=3, **options)
    model.classifier.weight.data.zero_()
    model.classifier.bias.data.copy_(torch.tensor([2.0, 1.0, 1.0]).log())
    batch = batch_of(0, count=4)
    result = model(batch._replace(views=batch.views[:1], labels=torch.tensor([0, 1, 0, 0])))
    assert result.loss.item() == pytest.approx(bits * np.log(2))
    assert result.logs == {"class_accuracy": 0.75}


def test_framework_trains():
    model = small_model("supervised", classes=3)
    assert model.classifier.weight.shape == (3, 32)
    losses = train_steps(model, adamw(model), range(1), labelled)
    assert 0 < losses[0] < 10
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_state_dict_continues_with_the_same_losses():
    unbroken, resumed = resumed_losses("supervised", range(2), range(2, 4), labelled, classes=3)
    assert resumed == unbroken


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "framework 'supervised' needs the option 'classes'"),
        ({"classes": 3, "smoothing": 0.1}, "no option 'smoothing': it has classes, label_smoothing"),
        ({"classes": 1}, "classes is 1: give a whole number of at least 2"),
        ({"classes": "3"}, "classes is '3': give a whole number"),
        ({"classes": 3, "label_smoothing": 1}, "label_smoothing is 1: give a number from 0 to below 1"),
        ({"classes": 3, "label_smoothing": float("nan")}, "label_smoothing is nan"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(UserError, match=words):
        small_model("supervised", **options)


def test_a_batch_without_labels_is_refused():
    with pytest.raises(UserError, match="trains on class numbers, and the batch has none"):
        small_model("supervised", classes=3)(labelled(0)._replace(labels=None))


def test_no_other_framework_reads_labels():
    names = {path.stem for path in Path(frameworks.__file__).parent.glob("*.py")} - {"__init__"}
    assert {name for name in names if framework_module(name).LABELS} == {"supervised"}


def test_classes_are_numbered_as_evaluation_sets_number_them(tmp_path):
    write_pack(tmp_path, shape_pictures(64, labelled=True))
    pack = Pack(tmp_path)
    found, expected = read_labels(Pictures(pack, 24), 2), evaluation_set(pack.rows, tmp_path)
    assert found.dtype == torch.int64
    for split, positions in expected.positions.items():
        assert torch.equal(found[positions], expected.labels[split])


def test_labels_follow_their_pictures_in_one_process_and_in_several(shape_pack, monkeypatch):
    pictures = Pictures(Pack(shape_pack), 24)
    arguments = (pictures, read_pairs(None, pictures), [STILL], 16, 0, None, torch.arange(64))
    batch = Views(*arguments).step(5)
    assert torch.equal(batch.views[0], pictures.batch(batch.labels) / 255)
    assert batch.texts is None
    parts = []
    monkeypatch.setattr(views, "world_size", lambda: 4)
    for number in range(4):
        monkeypatch.setattr(views, "rank", lambda number=number: number)
        parts.append(Views(*arguments).step(5))
    assert [len(part.labels) for part in parts] == [4] * 4
    assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)


def test_the_loop_trains_each_picture_with_its_class(shape_pack, supervised, tmp_path):
    trainer = Trainer(supervised, StateFolder(tmp_path, "one"), torch.device("cpu"), "run")
    batch = trainer.placed(read_views([Job(supervised, tmp_path, tmp_path)], Files(shape_pack)).step(0))
    middles = (batch.views[0][:, :, 8, 8] * 0.25 + 0.5) * 255  # every shape covers the middle
    distances = torch.cdist(middles, torch.tensor(list(COLOURS.values())).float())
    assert distances.min(1).values.max() < 10
    assert torch.equal(distances.argmin(1), batch.labels)
    assert len(set(batch.labels.tolist())) == 4
    trainer.device = torch.device("meta")
    assert trainer.placed(batch).labels.device.type == "meta"


def test_training_learns_the_classes_and_leaves_the_backbone(shape_pack, supervised, tmp_path):
    train(supervised | {"steps": 40}, Files(shape_pack), tmp_path / "state", tmp_path / "out", 60)
    history = [json.loads(line) for line in (tmp_path / "out/history.jsonl").read_text().splitlines()]
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert history[-1]["class_accuracy"] > 0.9


def test_other_frameworks_get_no_labels(shape_pack, recipe, tmp_path):
    assert read_views([Job(recipe, tmp_path, tmp_path)], Files(shape_pack)).step(0).labels is None


@pytest.mark.parametrize(
    ("missing", "classes", "words"),
    [
        ((), 5, r"part: the pictures are of 4 classes but the recipe's options say classes: 5: mend the recipe"),
        ((3, 9), 4, r"part: 2 of 64 pictures have no label, the first is p0003: train this framework on a pack"),
    ],
)
def test_a_pack_that_does_not_fit_is_named(supervised, tmp_path, missing, classes, words):
    pictures = shape_pictures(64)
    for number in missing:
        pictures[number] = replace(pictures[number], label="")
    write_pack(tmp_path / "part", pictures)
    changed = supervised | {"options": {"classes": classes}}
    with pytest.raises(UserError, match=words) as error:
        train(changed, Files(tmp_path / "part"), tmp_path / "state", tmp_path / "out", 60)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()

"""The evaluation of saliency maps: what is scored and what is left out, the probes, the maps, the scores by name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import saliency_oracles as oracle
import torch
from conftest import run_script
from safetensors.torch import load_file, save_file
from saliency_sets import BAD, SETTINGS, among, backbone, bad_pictures, pictures, with_mask, write

from vlrepro.errors import UserError
from vlrepro.evaluation.features import extract
from vlrepro.evaluation.linear import LabelledFeatures, fit_logistic, linear_probe
from vlrepro.files import write_json
from vlrepro.saliency import evaluation
from vlrepro.saliency.cam import CLOSED_FORMS, closed_forms
from vlrepro.saliency.evaluation import (
    fit_probe,
    load_set,
    maps_of,
    masks_summary,
    published_threshold,
    score_methods,
    score_run,
)
from vlrepro.saliency.methods import saliency_method
from vlrepro.saliency.statistics import from_plain
from vlrepro.saliency.thresholds import MEAN, ZERO, best_threshold
from vlrepro.tables.saliency_columns import BRIEF
from vlrepro.training.outcome import FAILED

ROOT = Path(__file__).parents[1]
METHODS = ["grad_cam", "agf", "eigen_cam"]
RECIPE = {"probe": "trained", "methods": METHODS, "every_score": ["agf"]}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return load_set(write(tmp_path_factory.mktemp("good"), pictures()), SETTINGS)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The same set with every kind of bad mask among its test pictures."""
    return load_set(write(tmp_path_factory.mktemp("mixed"), among(pictures(), bad_pictures())), SETTINGS)


@pytest.fixture(scope="module")
def features(found):
    return extract(backbone(), found.pictures, SETTINGS)


def keys(found, masks):
    return [found.pictures.pack.rows[position].key for position in masks.positions.tolist()]


def parts(found, features):
    return [LabelledFeatures(features[found.data.positions[s]], found.data.labels[s]) for s in ("train", "val", "test")]


# Bad masks


def test_bad_masks_are_left_out_and_each_is_named_with_its_reason(found, mixed):
    good = [one.key for one in pictures() if one.split == "test"]
    assert keys(mixed, mixed.scored) == keys(found, found.scored) == good
    assert np.array_equal(mixed.scored.masks, found.scored.masks)
    summary = masks_summary(mixed)
    assert summary["rejected"] == [list(entry) for entry in BAD.items()]
    assert summary["test_pictures"] == len(good)
    shares = [np.mean([label for _, label in oracle.pixels_of(mask, mask)]) for mask in found.scored.masks]
    assert summary["object_share"] == pytest.approx(np.mean(shares))
    assert masks_summary(found) == summary | {"rejected": []}


def test_bad_masks_change_no_score_and_no_n(found, mixed):
    (fitted, scored), (other, expected) = (score_run(backbone(), one, RECIPE) for one in (mixed, found))
    n = len(found.scored.positions)
    assert fitted.cost == other.cost
    assert list(scored) == METHODS
    for method in METHODS:
        assert scored[method]["values"] == pytest.approx(expected[method]["values"], abs=1e-4)
        assert set(scored[method]["scores"]) == set(expected[method]["scores"]) >= set(BRIEF)
        sizes = 0
        for name, entry in scored[method]["scores"].items():
            statistic = from_plain(entry["statistic"])
            assert statistic.n == entry["n"]
            assert (
                statistic.value == entry["score"] == pytest.approx(expected[method]["scores"][name]["score"], abs=1e-4)
            )
            if name.startswith(("ap_to", "ap_over")):
                sizes += entry["n"]
            else:
                assert entry["n"] == n
        assert sizes == (n if method == "agf" else 0)


@pytest.mark.parametrize("split", ["test", "train"])
def test_a_split_without_a_usable_mask_is_one_line(tmp_path, split):
    spoilt = [with_mask(one, one.mask * 0) if one.split == split else one for one in pictures()]
    first = next(one.key for one in spoilt if one.split == split)
    with pytest.raises(UserError) as raised:
        load_set(write(tmp_path, spoilt), SETTINGS)
    text = str(raised.value)
    assert "\n" not in text
    for part in (str(tmp_path), f"split {split}", "the mask is empty", "choose a set with masks"):
        assert part in text
    assert split != "test" or first in text


def test_a_set_without_any_mask_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"no picture of the split test has a usable mask .*the picture has no mask"):
        load_set(write(tmp_path, [with_mask(one, None) for one in pictures()]), SETTINGS)


def test_training_pictures_without_masks_use_up_no_tuning_pictures(tmp_path):
    chosen = [one.key for one in pictures() if one.split == "train"][::3]
    masked = [one if one.split != "train" or one.key in chosen else with_mask(one, None) for one in pictures()]
    found = load_set(write(tmp_path, masked), SETTINGS | {"tuning_pictures": len(chosen)})
    assert keys(found, found.training) == chosen
    assert found.training.rejected == ()


def test_tuning_pictures_are_some_of_the_training_pictures_and_the_same_each_time(found):
    again = load_set(found.pictures.pack.folder, SETTINGS)
    assert np.array_equal(again.training.positions, found.training.positions)
    assert len(found.training.positions) == SETTINGS["tuning_pictures"]
    assert set(found.training.positions) <= set(found.data.positions["train"].tolist())


def recipes(folder, **changed):
    """Options of `score_saliency.py` for a random backbone and the pack `folder`/pack."""
    save_file(backbone().state_dict(), folder / "model.safetensors")
    write_json(folder / "run.json", {"backbone": {"name": "resnet_small", "width": 8}})
    pictures = {name: SETTINGS[name] for name in ("canvas", "size", "mean", "std")}
    recipe = {"protocol": "saliency", "set": "squares", "pack": "pack", "tuning_pictures": 9, "threads": 1}
    write_json(folder / "evaluation.json", RECIPE | recipe | {"pictures": pictures} | changed)
    return {
        **{"run": "some-run", "recipe": folder / "run.json", "model": folder / "model.safetensors"},
        **{"evaluation": folder / "evaluation.json", "data": folder},
        **{"probe": folder / "out/probe.safetensors", "output": folder / "out/metrics.json"},
    }


def script(name, options):
    command = [sys.executable, ROOT / "workflow/scripts" / name]
    command += [text for key, value in options.items() for text in (f"--{key}", str(value))]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_the_script_names_bad_masks_in_its_log_and_its_file_and_goes_on(tmp_path, found):
    write(tmp_path / "pack", among(pictures(), bad_pictures()))
    options = recipes(tmp_path)
    done = script("score_saliency.py", options)
    assert done.returncode == 0, done.stderr
    for key, reason in BAD.items():
        assert f"left out: {key}: {reason}" in done.stdout
    metrics = json.loads(options["output"].read_text())
    assert metrics["saliency"]["rejected"] == [list(entry) for entry in BAD.items()]
    n = len(found.scored.positions)
    assert metrics["saliency"]["test_pictures"] == n
    assert {entry["scores"]["ap"]["n"] for entry in metrics["saliency"]["maps"].values()} == {n}
    fitted, scored = score_run(backbone(), found, RECIPE)
    for method, entry in metrics["saliency"]["maps"].items():
        assert entry["scores"]["ap"]["score"] == pytest.approx(scored[method]["scores"]["ap"]["score"], abs=1e-4)
    probe = load_file(options["probe"])
    torch.testing.assert_close(probe["weights"], fitted.probe.weights, atol=1e-3, rtol=1e-3)
    assert metrics["probe_cost"] == fitted.cost


def test_the_script_of_the_priors_names_bad_masks_too(tmp_path, monkeypatch, capsys):
    spoilt = among(pictures(), bad_pictures())
    write(tmp_path / "pack", [with_mask(one, one.mask * 0) if one.key == "p00" else one for one in spoilt])
    options = recipes(tmp_path, tuning_pictures=100)
    run_script("score_priors.py", monkeypatch, **{name: options[name] for name in ("evaluation", "data", "output")})
    log = capsys.readouterr().out
    for key, reason in {**BAD, "p00": "the mask is empty"}.items():  # p00 is a training picture
        assert f"left out: {key}: {reason}" in log
    metrics = json.loads(options["output"].read_text())
    assert metrics["saliency"]["rejected"] == [list(entry) for entry in BAD.items()]
    assert {entry["scores"]["ap"]["n"] for entry in metrics["priors"].values()} == {
        metrics["saliency"]["test_pictures"]
    }


def test_the_script_says_of_a_run_that_failed_to_train_that_it_did(tmp_path, monkeypatch):
    write(tmp_path / "pack", pictures())
    options = recipes(tmp_path)
    run_script("score_saliency.py", monkeypatch, **options)
    assert "failed" not in json.loads(options["output"].read_text())
    save_file(backbone().state_dict(), options["model"], metadata={FAILED: "the loss is nan at step 3"})
    run_script("score_saliency.py", monkeypatch, **options)
    assert json.loads(options["output"].read_text())["failed"] == "the loss is nan at step 3"


def test_the_script_ends_with_one_line_where_no_mask_is_usable(tmp_path, monkeypatch, capsys):
    write(tmp_path / "pack", [with_mask(one, None) for one in pictures()])
    options = recipes(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run_script("score_saliency.py", monkeypatch, **options)
    assert ended.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert not options["output"].exists()
    assert not options["probe"].exists()


# Probes


def test_the_trained_probe_is_the_linear_probe(found, features):
    fitted, result = fit_probe(features, found.data, "trained"), linear_probe(*parts(found, features), 3)
    torch.testing.assert_close(fitted.probe.weights, result.fit.weights[0].T.float(), rtol=0, atol=0)
    scores = features.double() @ result.fit.weights[0] + result.fit.biases[0]
    mine = features @ fitted.probe.weights.T + fitted.probe.biases
    torch.testing.assert_close(mine.double(), scores, rtol=1e-4, atol=1e-4)
    assert (fitted.accuracy, fitted.cost) == (result.accuracy, result.cost)
    # So the numbers of the classes, by which maps are asked for, are those of the probe.
    test = found.data.positions["test"]
    predicted = mine[test].argmax(1)
    assert (predicted == found.classes(test.numpy())).double().mean().item() == pytest.approx(fitted.accuracy)


def test_the_shuffled_probe_is_fitted_at_the_same_cost_to_as_many_examples_of_each_class(found, features, monkeypatch):
    trained, calls = fit_probe(features, found.data, "trained"), []

    def recorded(*arguments):
        calls.append(arguments)
        return fit_logistic(*arguments)

    monkeypatch.setattr(evaluation, "fit_logistic", recorded)
    shuffled = fit_probe(features, found.data, "shuffled")
    (x, labels, classes, costs) = calls[0]
    train, val, _ = parts(found, features)
    whole = torch.cat([train.labels, val.labels])
    assert torch.equal(x, torch.cat([train.features, val.features]))
    assert not torch.equal(labels, whole)
    assert torch.equal(labels.bincount(), whole.bincount())
    assert (classes, costs) == (3, [trained.cost])
    assert (shuffled.cost, shuffled.accuracy) == (trained.cost, trained.accuracy)


@pytest.mark.parametrize("kind", ["shuffled", "random"])
def test_a_control_is_the_same_each_time_and_not_the_trained_probe(found, features, kind):
    first, again = fit_probe(features, found.data, kind).probe, fit_probe(features, found.data, kind).probe
    assert torch.equal(first.weights, again.weights)
    assert torch.equal(first.biases, again.biases)
    trained = fit_probe(features, found.data, "trained").probe
    assert first.weights.shape == trained.weights.shape
    assert first.weights.dtype == trained.weights.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(first.weights.flatten(), trained.weights.flatten(), dim=0)
    assert cosine.abs() < 0.8


# Maps


def test_maps_are_those_of_each_method_alone_whatever_the_batches(found, features):
    probe, methods = fit_probe(features, found.data, "trained").probe, [*CLOSED_FORMS, "agf", "packaged_grad_cam"]
    model = backbone()
    maps = maps_of(model, probe, found, found.scored, methods)
    assert list(maps) == methods
    images = found.images(found.scored.positions)
    rows = found.pictures.pack.rows
    own = torch.tensor([sorted({row.label for row in rows}).index(rows[p].label) for p in found.scored.positions])
    assert len(set(own.tolist())) == 3
    batched = maps_of(model, probe, found, found.scored, methods, batch_size=5)
    assert len(own) % 5
    for method in methods:
        alone = saliency_method(method)(model, probe, images, own).numpy()
        assert maps[method].shape == found.scored.masks.shape
        assert maps[method].dtype == np.float32
        scale = np.abs(alone).max()
        assert np.abs(maps[method] - alone).max() <= 1e-6 * scale, method
        assert np.abs(batched[method] - alone).max() <= 1e-4 * scale, method


def test_closed_forms_are_the_single_methods(found, features):
    probe, model = fit_probe(features, found.data, "trained").probe, backbone()
    images, classes = found.images(range(4)), torch.tensor([0, 2, 1, 0])
    together = closed_forms(CLOSED_FORMS[::-1], model, probe, images, classes)
    assert tuple(together) == CLOSED_FORMS[::-1]
    for name, maps in together.items():
        assert torch.equal(maps, saliency_method(name)(model, probe, images, classes)), name
    assert closed_forms([], model, probe, images, classes) == {}


def test_no_picture_is_read_for_no_method(found, monkeypatch):
    """Sets of the paper's size do not fit in memory: reading the tuning pictures in vain takes minutes."""
    monkeypatch.setattr(type(found), "images", lambda *_: pytest.fail("pictures were read"))
    assert maps_of(backbone(), None, found, found.training, []) == {}


# Scores


def informed_maps(*arguments):
    """In place of `maps_of`: rounded noise that knows the object, of which training pictures show more."""
    found, masks, methods = arguments[2:5]
    rng = np.random.default_rng(0)
    strength = 4 if masks is found.training else 1
    drawn = [np.round(rng.random(masks.masks.shape) + strength * (masks.masks == 1), 1) for _ in methods]
    return dict(zip(methods, [maps - 0.5 for maps in drawn], strict=True))


def test_thresholds_are_tuned_on_training_pictures_and_published_ones_are_the_methods(found, monkeypatch):
    monkeypatch.setattr(evaluation, "maps_of", informed_maps)
    scored = score_methods(None, None, found, ["grad_cam", "cam"], ["cam"])
    assert set(scored["grad_cam"]["scores"]) == set(BRIEF)
    assert "tuned_threshold" not in scored["grad_cam"]
    training = informed_maps(None, None, found, found.training, ["cam"])["cam"]
    maps = informed_maps(None, None, found, found.scored, ["grad_cam", "cam"])
    best, other = best_threshold(training, found.training.masks), best_threshold(maps["cam"], found.scored.masks)
    assert best.at != other.at
    assert scored["cam"]["tuned_threshold"] == best.at
    for method, published in (("cam", ZERO), ("grad_cam", MEAN)):
        expected = oracle.all_scores(maps[method], found.scored.masks, published, best)
        mine = {name: entry["score"] for name, entry in scored[method]["scores"].items()}
        assert mine == pytest.approx({name: expected[name] for name in mine}), method
    assert published_threshold("agf") == ZERO

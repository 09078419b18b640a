"""What a metrics file holds: each kind of protocol on a set, and the script that extracts features and scores them."""

import json
from pathlib import Path

import pytest
import torch
from conftest import run_script, shape_pictures
from safetensors.torch import save_file

from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, write_pack
from vlrepro.evaluation.adamw_probe import AdamWProtocol, adamw_probe
from vlrepro.evaluation.features import extract, load_backbone
from vlrepro.evaluation.few_shot import FewShotProtocol, draw_episodes, few_shot
from vlrepro.evaluation.linear import LabelledFeatures, LinearProtocol, linear_probe
from vlrepro.evaluation.protocols import SCORERS
from vlrepro.evaluation.sets import EvaluationSet, evaluation_set
from vlrepro.files import digest_of, read_json, write_json
from vlrepro.models.backbones import build_backbone

PROTOCOLS = {
    "linear": {"kind": "linear"},
    "linear_lgssl": {"kind": "linear", "penalty": "frobenius", "search": "bisection"},
    "adamw": {"kind": "adamw", "epochs": 4, "learning_rate": 0.1},
    "few": {"kind": "few_shot", "ways": 2, "shots": 3, "queries": 2, "episodes": 30},
}


@pytest.fixture
def data():
    """A set of 3 unequal classes, and features (160, 6) of its pictures in the index's mixed order."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), 160, replacement=True, generator=generator)
    order = torch.randperm(160, generator=generator)
    positions = dict(zip(("train", "val", "test"), order.split([80, 30, 50]), strict=True))
    features = 0.8 * torch.eye(6)[labels] + 0.5 * torch.randn(160, 6, generator=generator)
    return EvaluationSet(("a", "b", "c"), positions, {name: labels[at] for name, at in positions.items()}), features


@pytest.mark.parametrize("metric", ["accuracy", "mean_per_class"])
def test_linear_scores_are_those_of_the_probe(data, metric):
    data, features = data
    scored = SCORERS["linear"]("toy", data, features, {"search": "grid"}, metric)
    parts = [LabelledFeatures(features[data.positions[name]], data.labels[name]) for name in ("train", "val", "test")]
    result = linear_probe(*parts, 3, LinearProtocol(metric=metric, search="grid"))
    assert scored["score"] == scored[metric] == getattr(result, metric)
    assert scored["accuracy"] != scored["mean_per_class"]
    assert scored["cost"] == result.cost
    assert scored["converged"] is True
    assert sum(scored["examples"]) / 50 == pytest.approx(scored["accuracy"])
    assert scored["labels"] == data.labels["test"].tolist()
    assert scored["chance"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("metric", ["accuracy", "mean_per_class"])
def test_adamw_scores_are_those_of_a_probe_on_all_but_the_test_pictures(data, metric):
    data, features = data
    scored = SCORERS["adamw"]("toy", data, features, {"epochs": 6, "seed": 3}, metric)
    rows = torch.cat([data.positions["train"], data.positions["val"]])
    labels = torch.cat([data.labels["train"], data.labels["val"]])
    train = LabelledFeatures(features[rows], labels)
    test = LabelledFeatures(features[data.positions["test"]], data.labels["test"])
    result = adamw_probe(train, test, 3, AdamWProtocol(epochs=6, seed=3))
    assert len(labels) == 110
    assert scored["score"] == scored[metric] == getattr(result, metric)
    assert scored["accuracy"] != scored["mean_per_class"]
    assert scored["examples"] == result.correct.int().tolist()
    assert scored["labels"] == data.labels["test"].tolist()
    assert scored["chance"] == pytest.approx(1 / 3)


def test_few_shot_scores_are_those_of_the_episodes(data):
    data, features = data
    options = {"ways": 3, "shots": 2, "queries": 4, "episodes": 25, "pool": "all", "centre": False}
    scored = SCORERS["few_shot"]("toy", data, features, options, "accuracy")
    protocol = FewShotProtocol(**options)
    episodes = draw_episodes(data.labels["train"], data.labels["test"], protocol, "toy")
    result = few_shot(features[data.positions["train"]], features[data.positions["test"]], episodes, protocol)
    assert scored["score"] == scored["accuracy"] == result.accuracy
    assert len(scored["examples"]) == 25
    assert sum(scored["examples"]) / 25 == pytest.approx(result.accuracy, abs=1e-6)
    assert scored["chance"] == pytest.approx(1 / 3)


@pytest.fixture
def trained(tmp_path, recipe, monkeypatch):
    """A folder with a labelled pack, a run's recipe and weights and an evaluation's recipe."""
    write_pack(tmp_path / "data/shapes-1", shape_pictures(96, labelled=True))
    torch.manual_seed(0)
    save_file(build_backbone("resnet_small", width=4).state_dict(), tmp_path / "model.safetensors")
    write_json(tmp_path / "run.json", recipe)
    sets = {
        "shapes": {"pack": "shapes-1", "metric": "mean_per_class"},
        "again": {"pack": "shapes-1", "metric": "accuracy"},
    }
    pictures = recipe["pictures"]
    evaluation = {"sets": sets, "protocols": PROTOCOLS, "pictures": pictures, "threads": 1, "revisions": {}}
    write_json(tmp_path / "evaluation.json", evaluation)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(monkeypatch, output="metrics.json"):
    names = {"run": "simclr-seed0-12345678", "recipe": "run.json", "model": "model.safetensors"}
    run_script("evaluate.py", monkeypatch, **names, evaluation="evaluation.json", data="data", output=output)
    return read_json(output)


def test_one_metrics_file_holds_all_protocols_on_all_sets(trained, recipe, monkeypatch):
    metrics = evaluate(monkeypatch)
    assert metrics["run"] == "simclr-seed0-12345678"
    assert metrics["recipe"] == digest_of(recipe)
    assert metrics["evaluation"] == digest_of(read_json("evaluation.json"))
    assert metrics["feature_seconds"] >= 0
    model = load_backbone(recipe, "model.safetensors")
    assert metrics["backbone"] == {"parameters": sum(p.numel() for p in model.parameters()), "feature_width": 32}
    assert {name: entry["kind"] for name, entry in metrics["protocols"].items()} == {
        name: options["kind"] for name, options in PROTOCOLS.items()
    }
    for name, entry in metrics["protocols"].items():
        assert entry["seconds"] >= 0
        assert list(entry["sets"]) == ["again", "shapes"]
        for scored in entry["sets"].values():
            assert 0 <= scored["score"] <= 1
            assert (scored["classes"], scored["test_pictures"]) == (2, 24)
            assert len(scored["examples"]) == (30 if name == "few" else 24)
        assert entry["sets"]["shapes"]["metric"] == "mean_per_class"
    assert metrics["protocols"]["linear"]["sets"]["shapes"]["labels"].count(0) == 12


def test_evaluations_are_the_same_twice_but_for_the_clock(trained, monkeypatch):
    def timeless(metrics):
        del metrics["feature_seconds"]
        for entry in metrics["protocols"].values():
            del entry["seconds"]
        return json.dumps(metrics, sort_keys=True)

    assert timeless(evaluate(monkeypatch)) == timeless(evaluate(monkeypatch, "again.json"))


def test_what_is_scored_are_the_features_of_the_run(trained, recipe, monkeypatch):
    pack = Pack("data/shapes-1")
    features = extract(load_backbone(recipe, "model.safetensors"), Pictures(pack, 24), recipe["pictures"])
    data = evaluation_set(pack.rows, "shapes")
    metrics = evaluate(monkeypatch)
    for name, protocol in PROTOCOLS.items():
        options = {key: value for key, value in protocol.items() if key != "kind"}
        expected = SCORERS[protocol["kind"]]("shapes", data, features, options, "mean_per_class")
        scored = metrics["protocols"][name]["sets"]["shapes"]
        assert {key: scored[key] for key in expected} == expected


def test_weights_of_another_recipe_are_refused(trained, recipe, monkeypatch, capsys):
    write_json("run.json", recipe | {"backbone": {"name": "resnet_small", "width": 8}})
    with pytest.raises(SystemExit):
        evaluate(monkeypatch)
    assert "not the weights of this recipe" in capsys.readouterr().err
    assert not Path("metrics.json").exists()

"""What a training leaves in `model.safetensors`: names, weights and metadata, and who can read them."""

import pytest
import torch
from caption_training import caption_files, caption_recipe
from safetensors.torch import load_file

from vlrepro.evaluation.features import load_backbone
from vlrepro.frameworks import build_framework
from vlrepro.models.backbones import build_backbone
from vlrepro.training.loop import Files, train


@pytest.fixture
def trained(shape_pack, recipe, tmp_path):
    """A CLIP recipe and the file of its weights."""
    chosen = caption_recipe(recipe) | {"steps": 3}
    train(chosen, caption_files(tmp_path, shape_pack), tmp_path / "state", tmp_path / "out", 60)
    return chosen, tmp_path / "out/model.safetensors"


def test_frameworks_with_captions_keep_what_compares_them(trained):
    recipe, path = trained
    weights = load_file(path)
    joint = {name.removeprefix("joint/"): value for name, value in weights.items() if name.startswith("joint/")}
    assert set(joint) == {"projection.weight", "captions.projection.weight", "captions.log_scale"}
    framework = build_framework("clip", build_backbone("resnet_small", width=4), recipe["options"])
    backbone = {f"backbone.{name}": value for name, value in weights.items() if not name.startswith("joint/")}
    framework.load_state_dict(backbone | joint)  # every key, and none too many


def test_the_backbone_is_read_without_them(trained):
    recipe, path = trained
    weights = load_file(path)
    loaded = load_backbone(recipe, path).state_dict()
    assert loaded.keys() == {name for name in weights if not name.startswith("joint/")}
    assert all(torch.equal(weights[name], value) for name, value in loaded.items())


def test_frameworks_without_captions_keep_their_backbone_only(shape_pack, recipe, tmp_path):
    train(recipe | {"steps": 1}, Files(shape_pack), tmp_path / "state", tmp_path / "out", 60)
    names = load_file(tmp_path / "out/model.safetensors").keys()
    assert names == build_backbone("resnet_small", width=4).state_dict().keys()

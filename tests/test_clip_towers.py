"""CLIP's picture towers: published sizes, features that are the joint space, training with the same bits every time."""

import sys

import pytest
import torch
from caption_training import caption_files, caption_recipe
from safetensors.torch import load_file

from vlrepro.errors import UserError
from vlrepro.frameworks import build_framework
from vlrepro.models.backbones import build_backbone
from vlrepro.training.loop import train

SMALL = {
    "clip_resnet50": {"size": 32, "width": 8, "layers": [1, 1, 1, 1], "joint_width": 6},
    "clip_vit_b_16": {"size": 32, "width": 64, "layers": 1, "joint_width": 6},
    "clip_vit_b_32": {"size": 64, "width": 64, "layers": 1, "joint_width": 6},
    "vit": {"size": 32, "patch": 8, "layers": 1, "width": 8, "heads": 2},
}


@pytest.mark.parametrize(
    ("name", "millions", "width"),
    [("clip_resnet50", 38.32, 1024), ("clip_vit_b_32", 87.85, 512), ("clip_vit_b_16", 86.19, 512)],
)
def test_sizes_are_the_published_ones(name, millions, width):
    # Parameters of the picture towers in OpenCLIP's table of model profiles (docs/model_profile.csv).
    with torch.device("meta"):
        model = build_backbone(name)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == millions
    assert (model.feature_width, model.picture_size) == (width, 224)


@pytest.mark.parametrize("name", SMALL)
def test_features_are_as_wide_as_they_say(name):
    model = build_backbone(name, **SMALL[name])
    size = SMALL[name]["size"]
    features = model(torch.randn(3, 3, size, size))
    assert features.shape == (3, model.feature_width)
    assert model.picture_size == size
    assert features.std(0).min() > 0


def test_they_need_no_projection_of_ours():
    options = {"text_tower": {"name": "sentence", "width": 5}, "joint_width": None}
    backbone = build_backbone("clip_vit_b_32", **SMALL["clip_vit_b_32"])
    framework = build_framework("clip", backbone, options)
    x = torch.randn(3, 6)
    assert framework.projection(x) is x
    others = {name for name in framework.state_dict() if not name.startswith("backbone.")}
    assert others == {"captions.projection.weight", "captions.log_scale"}
    assert framework.captions.projection.weight.shape == (6, 5)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_they_train_to_the_same_bits(name, precision, shape_pack, recipe, tmp_path):
    """Under deterministic kernels, which refuse any operation that is not."""
    size = SMALL[name]["size"]
    joint = {"joint_width": 6 if name == "vit" else None}
    chosen = caption_recipe(recipe, **joint) | {"backbone": {"name": name, **SMALL[name]}, "precision": precision}
    chosen |= {"pictures": recipe["pictures"] | {"size": size}, "batch_size": 4, "steps": 2}
    for folder in "ab":
        train(chosen, caption_files(tmp_path, shape_pack), tmp_path / "state", tmp_path / folder, 60)
    one, same = ((tmp_path / folder / "model.safetensors").read_bytes() for folder in "ab")
    assert one == same
    torch.manual_seed(0)
    untrained = build_backbone(name, **SMALL[name]).state_dict()
    trained = load_file(tmp_path / "a/model.safetensors")
    assert untrained.keys() == {key for key in trained if not key.startswith("joint/")}


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("clip_resnet50", {"size": 48}, "size 48 must be a multiple of 32"),
        ("clip_resnet50", {"layers": [1, 1]}, "layers four numbers"),
        ("clip_vit_b_16", {"width": 96}, "width 96 of 64"),
        ("clip_vit_b_32", {"patch": 16}, "multiple values for argument 'patch'"),
        ("vit", {"size": 20, "patch": 8, "layers": 1, "width": 8, "heads": 2}, "size 20 must be a multiple of patch 8"),
        ("vit", {"size": 16}, "missing 4 required"),
    ],
)
def test_mistakes_are_named(name, options, words):
    with pytest.raises(UserError, match=f"backbone '{name}': .*{words}.*: mend its options"):
        build_backbone(name, **options)


def test_pictures_of_another_size_are_refused(shape_pack, recipe, tmp_path):
    for projection in ({}, {"projection": 8}):
        chosen = caption_recipe(recipe) | {"backbone": {"name": "vit", **SMALL["vit"], **projection}}
        with pytest.raises(UserError, match="'vit' reads pictures of 32 pixels but the recipe's are of 16: give it"):
            train(chosen, caption_files(tmp_path, shape_pack), tmp_path / "state", tmp_path / "out", 60)


def test_without_open_clip_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UserError, match="CLIP's towers need open_clip: pip install open_clip_torch"):
        build_backbone("clip_vit_b_32", **SMALL["clip_vit_b_32"])

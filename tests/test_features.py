"""Frozen features: every picture's, in index order, from the whole network that was trained."""

import pytest
import torch
from conftest import shape_pictures
from safetensors.torch import load_file, save_file

from vlrepro.data.augment import centre
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, write_pack
from vlrepro.errors import UserError
from vlrepro.evaluation.features import extract, load_backbone
from vlrepro.models.backbones import build_backbone


@pytest.fixture
def model(recipe, tmp_path):
    """A backbone whose batch norms have seen data, and the file of its weights."""
    torch.manual_seed(0)
    trained = build_backbone("resnet_small", width=4)
    with torch.no_grad():
        trained(torch.randn(64, 3, 16, 16))
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    return trained.eval(), tmp_path / "model.safetensors"


@pytest.fixture
def pictures(tmp_path):
    write_pack(tmp_path / "pack", shape_pictures(40))
    return Pictures(Pack(tmp_path / "pack"), 24)


def test_features_are_the_network_of_each_resized_picture(model, pictures, recipe):
    settings = recipe["pictures"]
    features = extract(model[0], pictures, settings)
    assert features.dtype == torch.float32
    assert features.shape == (40, 32)
    for position in (0, 17, 39):
        view = centre(pictures.batch([position]), settings["size"], settings["mean"], settings["std"])
        with torch.no_grad():
            torch.testing.assert_close(features[position], model[0](view)[0], rtol=1e-4, atol=1e-5)


def test_batches_change_features_by_rounding_only(model, pictures, recipe):
    whole = extract(model[0], pictures, recipe["pictures"])
    torch.testing.assert_close(extract(model[0], pictures, recipe["pictures"], 7), whole, rtol=1e-4, atol=1e-5)
    assert torch.equal(extract(model[0], pictures, recipe["pictures"]), whole)


def test_weights_come_back_and_only_whole(model, recipe):
    trained, place = model
    loaded = load_backbone(recipe, place)
    assert not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in trained.state_dict().items())
    part = load_file(place)
    part.popitem()
    save_file(part, place)
    with pytest.raises(UserError, match=r"model.safetensors: not the weights of this recipe"):
        load_backbone(recipe, place)

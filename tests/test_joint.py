"""The joint space of a trained framework: loaded whole from a run's weights, and computed as the framework does."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from vlrepro.errors import UserError
from vlrepro.evaluation.features import load_backbone
from vlrepro.evaluation.joint import load_joint, picture_features, text_features
from vlrepro.evaluation.zero_shot import class_vectors, outcomes, ranks
from vlrepro.frameworks import Batch, build_framework
from vlrepro.models.backbones import build_backbone

SENTENCES = {"text_tower": {"name": "sentence", "width": 5}, "joint_width": 6}
TOKENS = {"text_tower": {"name": "transformer", "layers": 2, "width": 8, "heads": 2, "context": 12, "vocabulary": 40}}
HEAD = {"hidden_width": 8}
FRAMEWORKS = {"clip": SENTENCES, "slip": SENTENCES | HEAD | {"output_width": 4}, "lgslip": SENTENCES | HEAD}
VIEWS = {"clip": 1, "slip": 3, "lgslip": 2}


def recipe_of(name, options):
    return {"framework": name, "options": options, "backbone": {"name": "resnet_small", "width": 4}}


def trained(name, options, path, texts=None):
    """A framework with fresh weights whose batch norms have seen data, written as a run's weights are."""
    torch.manual_seed(0)
    framework = build_framework(name, build_backbone("resnet_small", width=4), options)
    texts = torch.randn(16, 5) if texts is None else texts
    with torch.no_grad():
        framework(Batch(tuple(torch.randn(16, 3, 16, 16) for _ in range(VIEWS[name])), texts, 0))
    weights = {}
    for key, tensor in framework.state_dict().items():
        outside = not key.startswith("backbone.")
        weights[f"joint/{key}" if outside else key.removeprefix("backbone.")] = tensor
    save_file(weights, path)
    return framework.eval()


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_all_weights_come_back(name, tmp_path):
    saved = trained(name, FRAMEWORKS[name], tmp_path / "model.safetensors")
    loaded = load_joint(recipe_of(name, FRAMEWORKS[name]), tmp_path / "model.safetensors")
    assert not any(module.training for module in loaded.modules())
    assert loaded.state_dict().keys() == saved.state_dict().keys()
    assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in saved.state_dict().items())


@pytest.mark.parametrize("name", ["clip", "slip"])
def test_both_sides_are_the_projections(name, tmp_path):
    saved = trained(name, FRAMEWORKS[name], tmp_path / "model.safetensors")
    loaded = load_joint(recipe_of(name, FRAMEWORKS[name]), tmp_path / "model.safetensors")
    trunk, sentences = torch.randn(9, 32), torch.randn(7, 5)
    seen, said = picture_features(loaded, trunk), text_features(loaded, sentences)
    weights = saved.state_dict()
    expected = trunk.double().numpy() @ weights["projection.weight"].double().numpy().T
    torch.testing.assert_close(seen, torch.from_numpy(expected).float())
    expected = sentences.double().numpy() @ weights["captions.projection.weight"].double().numpy().T
    torch.testing.assert_close(said, torch.from_numpy(expected).float())
    assert not seen.requires_grad


def test_without_a_projection_pictures_pass_the_head(tmp_path):
    saved = trained("lgslip", FRAMEWORKS["lgslip"], tmp_path / "model.safetensors")
    loaded = load_joint(recipe_of("lgslip", FRAMEWORKS["lgslip"]), tmp_path / "model.safetensors")
    trunk, weights = torch.randn(9, 32), saved.state_dict()
    names = sorted({key.split(".")[1] for key in weights if key.startswith("head.")}, key=int)
    assert len(names) == 5  # two hidden layers with their norms, and the last
    hidden = trunk
    for linear, norm in (names[0:2], names[2:4]):
        hidden = hidden @ weights[f"head.{linear}.weight"].T
        mean, variance = weights[f"head.{norm}.running_mean"], weights[f"head.{norm}.running_var"]
        hidden = (hidden - mean) / (variance + 1e-5).sqrt()
        hidden = (hidden * weights[f"head.{norm}.weight"] + weights[f"head.{norm}.bias"]).clamp_min(0)
    expected = hidden @ weights[f"head.{names[4]}.weight"].T
    torch.testing.assert_close(picture_features(loaded, trunk), expected, rtol=1e-4, atol=1e-5)


def token_rows(count):
    """Start, two to nine words, end, zeros: (count, 12)."""
    rows = torch.zeros(count, 12, dtype=torch.int64)
    for row, words in zip(rows, torch.randint(2, 10, (count,)).tolist(), strict=True):
        row[0], row[1 : words + 1], row[words + 1] = 38, torch.randint(1, 38, (words,)), 39
    return rows


def test_token_ids_pass_the_trained_transformer(tmp_path, monkeypatch):
    torch.manual_seed(1)
    texts = token_rows(16)
    saved = trained("clip", TOKENS | {"joint_width": 6}, tmp_path / "model.safetensors", texts)
    loaded = load_joint(recipe_of("clip", TOKENS | {"joint_width": 6}), tmp_path / "model.safetensors")
    monkeypatch.setattr("vlrepro.evaluation.joint._BATCH", 5)
    with torch.no_grad():
        rows = [saved.captions.tower(text[None])[0] @ saved.captions.projection.weight.T for text in texts]
    torch.testing.assert_close(text_features(loaded, texts), torch.stack(rows), rtol=1e-4, atol=1e-5)


def test_zero_shot_gives_what_training_was_taught(tmp_path):
    """Six kinds of picture, six sentences: CLIP learns which is whose, and zero-shot reads it off the weights file."""
    torch.manual_seed(0)
    framework = build_framework("clip", build_backbone("resnet_small", width=4), SENTENCES)
    kinds, sentences = torch.randn(6, 3, 16, 16), torch.randn(6, 5)
    optimiser = torch.optim.AdamW(framework.parameters(), 0.01)
    for step in range(60):
        optimiser.zero_grad()
        framework(Batch((kinds + 0.3 * torch.randn_like(kinds),), sentences, step)).loss.backward()
        optimiser.step()
    weights = framework.state_dict()
    backbone = {key.removeprefix("backbone."): tensor for key, tensor in weights.items() if key.startswith("backbone.")}
    others = {f"joint/{key}": tensor for key, tensor in weights.items() if not key.startswith("backbone.")}
    save_file(backbone | others, tmp_path / "model.safetensors")
    recipe = recipe_of("clip", SENTENCES)
    loaded = load_joint(recipe, tmp_path / "model.safetensors")
    truth = torch.arange(48) % 6
    with torch.no_grad():
        trunk = load_backbone(recipe, tmp_path / "model.safetensors")(kinds[truth] + 0.3 * torch.randn(48, 3, 16, 16))
    classes = class_vectors(text_features(loaded, sentences).unsqueeze(1))
    right = outcomes(ranks(picture_features(loaded, trunk), classes, truth), 1, 6)
    assert right.float().mean() > 0.9


def test_the_backbone_alone_leaves_the_joint_space_aside(tmp_path):
    place, recipe = tmp_path / "model.safetensors", recipe_of("clip", SENTENCES)
    saved = trained("clip", SENTENCES, place)
    loaded = load_backbone(recipe, place)
    assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in saved.backbone.state_dict().items())
    save_file(load_file(place) | {"projection.weight": torch.zeros(1)}, place)
    with pytest.raises(UserError, match=r"model.safetensors: not the weights of this recipe"):
        load_backbone(recipe, place)


def test_weights_without_the_joint_space_ask_for_training_again(tmp_path):
    place, recipe = tmp_path / "model.safetensors", recipe_of("clip", SENTENCES)
    trained("clip", SENTENCES, place)
    whole = load_file(place)
    save_file({key: tensor for key, tensor in whole.items() if not key.startswith("joint/")}, place)
    with pytest.raises(UserError, match=r"model.safetensors: no weights of the joint space.*train again"):
        load_joint(recipe, place)
    save_file({key: tensor for key, tensor in whole.items() if key != "joint/captions.log_scale"}, place)
    with pytest.raises(UserError, match=r"model.safetensors: not the weights of this recipe.*train again"):
        load_joint(recipe, place)
    save_file(whole, place)
    with pytest.raises(UserError, match=r"model.safetensors: not the weights of this recipe"):
        load_joint(recipe_of("clip", SENTENCES | {"joint_width": 7}), place)
    place.write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"model.safetensors: not the weights of this recipe"):
        load_joint(recipe, place)


def test_a_framework_that_reads_no_captions_has_no_joint_space(tmp_path):
    with pytest.raises(UserError, match=r"model.safetensors: framework 'simclr' reads no captions"):
        load_joint(recipe_of("simclr", HEAD), tmp_path / "model.safetensors")


def test_texts_that_the_tower_does_not_read_are_refused(tmp_path):
    trained("clip", SENTENCES, tmp_path / "model.safetensors")
    loaded = load_joint(recipe_of("clip", SENTENCES), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"takes embeddings of width 5 but got embeddings \(3, 4\)"):
        text_features(loaded, torch.zeros(3, 4))

"""Parts of a batch and mixed precision: the gradients of the whole batch, and the same bits after a stop."""

import copy
from functools import partial

import pytest
import torch
from caption_training import assert_resumes, caption_files, caption_recipe
from pass_models import CASES, ROWS, batch_of, gradients_of, model_of, noisy, passes_of
from torch import nn
from torch.nn import functional

from vlrepro.errors import UserError
from vlrepro.models.backbones import build_backbone
from vlrepro.training.loop import train

VIT = {"size": 16, "patch": 8, "layers": 1, "width": 8, "heads": 2}


def towers():
    """Backbones without batch statistics, and one with."""
    torch.manual_seed(1)
    return {"vit": build_backbone("vit", **VIT), "norms": build_backbone("resnet_small", width=4)}


@pytest.mark.parametrize("parts", [2, 3, 12])
@pytest.mark.parametrize("case", CASES)
def test_parts_give_the_gradients_of_the_whole(case, parts):
    whole, cut = (model_of(case, towers()["vit"]) for _ in range(2))
    expected = whole(batch_of(case))
    expected.loss.backward()
    result, backward = passes_of(cut, accumulate=parts).forward(batch_of(case))
    backward()
    assert result.loss.item() == pytest.approx(expected.loss.item(), rel=1e-12)
    assert result.logs == pytest.approx(expected.logs, rel=1e-12)
    found = gradients_of(cut)
    for name, gradient in gradients_of(whole).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-13, msg=name)
    assert all(gradient.abs().sum() > 0 for gradient in found.values())


def test_no_part_keeps_its_activations(monkeypatch):
    """When the loss is there, nothing but the joined rows is left to go back to."""
    model, held = model_of("clip"), []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda batch: held.append(torch.is_grad_enabled()) or encode(batch))
    _, backward = passes_of(model, accumulate=3).forward(batch_of("clip"))
    assert held == [False] * 3
    backward()
    assert held == [False] * 3 + [True] * 3


def test_running_statistics_move_once_a_part():
    model = model_of("clip", towers()["norms"])
    expected = copy.deepcopy(model)
    batch = batch_of("clip")
    with torch.no_grad():
        for part in batch.views[0].split(4):
            expected.backbone(part)
    _, backward = passes_of(model, accumulate=3).forward(batch)
    backward()
    for name, buffer in expected.named_buffers():
        torch.testing.assert_close(dict(model.named_buffers())[name], buffer, rtol=1e-12, atol=1e-12)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    assert all(layer.track_running_stats and layer.num_batches_tracked == 3 for layer in norms)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_towers_are_coarse_and_the_loss_is_not(precision, parts):
    model = model_of("clip").float()
    batch = batch_of("clip")
    batch = batch._replace(views=(batch.views[0].float(),), texts=batch.texts.float())
    full = model(batch).loss.item()
    seen, contrast = [], model.contrast
    model.contrast = lambda rows, batch: seen.append(rows) or contrast(rows, batch)
    result, backward = passes_of(model, accumulate=parts, precision=precision).forward(batch)
    ((pictures, texts),) = seen
    assert pictures.dtype == texts.dtype == torch.float32
    coarse = getattr(torch, precision)
    assert torch.equal(pictures, pictures.to(coarse).float())  # they come out of half-precision towers
    similarities = model.captions.log_scale.double().exp() * pictures.double() @ texts.double().T
    own = torch.arange(ROWS)
    expected = functional.cross_entropy(similarities, own) + functional.cross_entropy(similarities.T, own)
    assert result.loss.item() == pytest.approx(expected.item() / 2, rel=1e-5)
    assert result.loss.item() == pytest.approx(full, rel=0.05)
    backward()
    assert all(gradient.dtype == torch.float32 for gradient in gradients_of(model).values())


def test_a_scaled_gradient_that_overflows_moves_nothing():
    """float16: the scale is halved for the next step."""
    model = model_of("clip").float()
    passes = passes_of(model, precision="float16")
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    before = copy.deepcopy(model.state_dict())
    passes.scaler.scale(sum(p.sum() for p in model.parameters())).backward()
    scale = passes.scaler.get_scale()
    model.projection.weight.grad[0, 0] = float("inf")
    passes.update(optimiser)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert passes.scaler.get_scale() == scale / 2
    optimiser.zero_grad()
    passes.scaler.scale(sum(p.sum() for p in model.parameters())).backward()
    passes.update(optimiser)  # a gradient of 1 everywhere
    assert torch.allclose(model.projection.weight, before["projection.weight"] - 0.1)


@pytest.mark.parametrize(
    "change",
    [
        {"accumulate": 4},
        {"precision": "bfloat16"},
        {"precision": "float16"},
        {"precision": "bfloat16", "accumulate": 2},
    ],
)
def test_stopped_and_resumed_gives_the_same_bits(change, shape_pack, recipe, tmp_path, monkeypatch):
    chosen = caption_recipe(recipe, "clip_label_noise", **noisy("permutation")) | change
    run = partial(train, chosen, caption_files(tmp_path, shape_pack), tmp_path / "state")

    def another_scale(trainer, batch):
        if batch.step == 3 and trainer.passes.scaler.is_enabled():
            trainer.passes.scaler.update(new_scale=256.0)  # one that a fresh scaler would not have

    assert_resumes(run, tmp_path, monkeypatch, another_scale)


@pytest.mark.parametrize(
    ("model", "recipe", "words"),
    [
        ("clip", {"accumulate": 5}, "batch_size 12 on 1 process cannot be cut into 5 equal parts each"),
        ("clip", {"batch_size": 1}, "a batch of 1 has nothing to tell a picture from: raise batch_size"),
        ("plain", {"accumulate": 2}, "framework 'x' does not part encoding from contrast"),
        ("plain", {"precision": "bfloat16"}, "framework 'x' does not part encoding from contrast"),
        ("norms", {"accumulate": 12}, "accumulate 12 leaves parts of one row, too few for BatchNorm"),
    ],
)
def test_what_cannot_be_cut_is_named(model, recipe, words):
    models = {
        "clip": partial(model_of, "clip"),
        "plain": partial(nn.Linear, 1, 1),
        "norms": lambda: model_of("clip", towers()["norms"]),
    }
    with pytest.raises(UserError, match=f"^run: {words}"):
        passes_of(models[model](), **recipe)


def test_as_many_processes_as_parts_of_a_batch(monkeypatch):
    monkeypatch.setattr("vlrepro.training.passes.world_size", lambda: 4)
    with pytest.raises(UserError, match="batch_size 12 on 4 processes cannot be cut into 2 equal parts each"):
        passes_of(model_of("clip"), accumulate=2)

"""Concept distillation in CLIP: the loss against loops, its laws, training to the same bits, and what is refused."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from caption_training import assert_resumes, caption_files, caption_recipe
from concept_packs import concept_file
from framework_steps import unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_models import OPTIONS, ROWS, WIDTH, Plain, batch_of, concepts_of, model_of
from torch.nn.functional import one_hot

from vlrepro import frameworks
from vlrepro.data.augment import Augment, AugmentationOptions
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.evaluation.joint import load_joint, picture_features, text_features
from vlrepro.frameworks import Batch, Concepts, build_framework, framework_module
from vlrepro.frameworks.clip_distillation import soft_cross_entropy
from vlrepro.frameworks.clip_hard_negatives import hn_nce
from vlrepro.training import views
from vlrepro.training.loop import train
from vlrepro.training.state import StateFolder
from vlrepro.training.trainer import Trainer
from vlrepro.training.views import Views, read_pairs

SIZES = {"objects": 7, "attributes": 5}


def looped(scores, places, weights):
    """The cross-entropy of soft targets, number by number."""
    total = 0.0
    for row, there, shares in zip(scores.tolist(), places.tolist(), weights.tolist(), strict=True):
        below = math.log(sum(math.exp(score) for score in row))
        total -= sum(share * (row[place] - below) for place, share in zip(there, shares, strict=True))
    return total / len(scores)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 6), st.integers(1, 5), st.floats(0.1, 20.0), st.integers(0, 1000))
def test_soft_cross_entropy_equals_the_formula(count, top, scale, seed):
    scores, concepts = scale * unit_rows(count, 8, seed), concepts_of(count, seed, objects=8)
    places, weights = concepts.objects[:, :top], concepts.object_weights[:, :top]
    found = soft_cross_entropy(scores, places, weights).item()
    assert found == pytest.approx(looped(scores, places, weights), rel=1e-9, abs=1e-12)
    turned = soft_cross_entropy(scores, places.flip(1), weights.flip(1)).item()  # the order of targets says nothing
    assert found == pytest.approx(turned, rel=1e-12)


def test_one_sure_target_is_the_cross_entropy_of_a_class_and_the_gradient_is_closed():
    scores = (5 * unit_rows(6, 8)).requires_grad_()
    labels = torch.arange(6)[:, None]
    sure = soft_cross_entropy(scores, labels, torch.ones(6, 1, dtype=torch.float64))
    assert sure.item() == pytest.approx(torch.nn.functional.cross_entropy(scores, labels[:, 0]).item(), abs=1e-12)
    concepts = concepts_of(6, 0, objects=8)
    loss = soft_cross_entropy(scores, concepts.objects, concepts.object_weights)
    targets = (one_hot(concepts.objects, 8) * concepts.object_weights[..., None]).sum(1)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert torch.allclose(gradient, (scores.softmax(1) - targets).detach() / 6, atol=1e-12)


def test_no_target_is_worth_less_than_its_entropy():
    concepts = concepts_of(4, 1)
    perfect = torch.full((4, 7), -1e9, dtype=torch.float64)
    perfect = perfect.scatter(1, concepts.objects, concepts.object_weights.log())
    entropy = -(concepts.object_weights * concepts.object_weights.log()).sum(1).mean().item()
    assert soft_cross_entropy(perfect, concepts.objects, concepts.object_weights).item() == pytest.approx(entropy)
    other = soft_cross_entropy(torch.randn(4, 7).double(), concepts.objects, concepts.object_weights)
    assert other.item() > entropy


def test_the_loss_is_the_papers_over_twice_the_rows():
    model, batch = model_of("clip_distillation"), batch_of("clip_distillation")
    pictures, texts, raw = model.encode(batch)
    similarities, own = model.captions.log_scale.exp() * pictures @ texts.T, torch.arange(ROWS)
    summed = ROWS * sum(hn_nce(rows, own, 1.0, 0.5).item() for rows in (similarities, similarities.T))
    seen = batch.concepts
    with torch.no_grad():
        objects, attributes = model.objects(raw), model.attributes(raw)
    found = [
        looped(objects, seen.objects, seen.object_weights),
        looped(attributes, seen.attributes, seen.attribute_weights),
    ]
    paper = summed + ROWS * (found[0] + 0.7 * found[1])
    loss, logs = model(batch)
    assert loss.item() == pytest.approx(paper / (2 * ROWS), rel=1e-10)
    assert [logs["object_loss"], logs["attribute_loss"]] == pytest.approx(found, rel=1e-10)
    rows = zip(seen.objects.tolist(), seen.object_weights.tolist(), strict=True)
    teacher = [places[shares.index(max(shares))] for places, shares in rows]
    student = [row.index(max(row)) for row in objects.tolist()]
    same = [one == other for one, other in zip(student, teacher, strict=True)]
    assert logs["object_agreement"] == pytest.approx(sum(same) / ROWS)
    assert torch.allclose(raw / raw.norm(dim=1, keepdim=True), pictures)


def test_without_weights_it_is_hard_negatives_and_without_beta_clip():
    batch = batch_of("clip")
    for name, options in (("clip_hard_negatives", {"beta": 0.5}), ("clip", None)):
        torch.manual_seed(0)
        other = build_framework(name, Plain(), OPTIONS | (options or {})).double()
        torch.manual_seed(0)
        silent = {"object_weight": 0.0, "attribute_weight": 0.0} | (options or {"beta": 0.0})
        ours = build_framework("clip_distillation", Plain(), OPTIONS | SIZES | silent).double()
        state = ours.state_dict()
        assert all(torch.equal(state[key], value) for key, value in other.state_dict().items())  # the same start
        losses = [model(batch).loss for model in (ours, other)]
        assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-12)
        for loss in losses:
            loss.backward()
        found = dict(ours.named_parameters())
        for key, parameter in other.named_parameters():
            assert torch.allclose(found[key].grad, parameter.grad, atol=1e-10), key


def test_a_student_learns_what_its_teacher_sees():
    """Targets that the picture decides are learnt, and the trunk learns with them."""
    model = model_of("clip_distillation").float()
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(ROWS, 3, 16, 16, generator=generator)
    batch = Batch((views,), torch.randn(ROWS, WIDTH, generator=generator), 0, concepts=concepts_of(ROWS, 0))
    batch = batch._replace(concepts=batch.concepts.map(lambda rows: rows.float() if rows.is_floating_point() else rows))
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.02)
    before, trunk = model(batch).logs, model.backbone[0].weight.detach().clone()
    for _ in range(250):
        optimiser.zero_grad()
        model(batch).loss.backward()
        optimiser.step()
    after = model(batch).logs
    shares = batch.concepts.object_weights
    least = -(shares * shares.log()).sum(1).mean().item()  # what no student can undercut
    assert least < after["object_loss"] < least + (before["object_loss"] - least) / 2
    assert after["object_agreement"] > before["object_agreement"]
    assert not torch.equal(model.backbone[0].weight, trunk)


def test_training_twice_and_resumed_gives_the_same_bits(shape_pack, recipe, tmp_path, monkeypatch):
    chosen = caption_recipe(recipe, "clip_distillation", **SIZES, beta=0.5)
    files = caption_files(tmp_path, shape_pack)._replace(concepts=concept_file(tmp_path / "concepts.parquet"))
    run = partial(train, chosen, files, tmp_path / "state")
    assert_resumes(run, tmp_path, monkeypatch)
    joint = load_joint(chosen, tmp_path / "whole/model.safetensors")
    assert picture_features(joint, torch.randn(3, 32)).shape == text_features(joint, torch.randn(3, WIDTH)).shape


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"objects": 1}, "objects is 1: give a whole number of at least 2"),
        ({"attributes": 2.5}, "attributes is 2.5: give a whole number of at least 2"),
        ({"object_weight": -1}, "object_weight is -1: give a number of at least 0"),
        ({"attribute_weight": math.inf}, "attribute_weight is inf: give a number of at least 0"),
        ({"alpha": 0.0}, "0 < alpha <= 1 and beta >= 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        build_framework("clip_distillation", Plain(), OPTIONS | SIZES | options)


def test_concepts_follow_their_pictures_in_one_process_and_in_several(shape_pack, monkeypatch):
    pictures = Pictures(Pack(shape_pack), 24)
    still = Augment(AugmentationOptions(size=24, scale=(1.0, 1.0), ratio=(1.0, 1.0), mean=(0, 0, 0), std=(1, 1, 1)))
    places = torch.arange(64)[:, None]  # each picture's one concept is its own number
    concepts = Concepts(places, places / 64, places, places / 64)
    arguments = (pictures, read_pairs(None, pictures), [still], 16, 0)
    batch = Views(*arguments, concepts=concepts).step(5)
    assert torch.equal(batch.views[0], pictures.batch(batch.concepts.objects[:, 0]) / 255)
    monkeypatch.setattr(views, "world_size", lambda: 4)
    parts = []
    for number in range(4):
        monkeypatch.setattr(views, "rank", lambda number=number: number)
        parts.append(Views(*arguments, concepts=concepts).step(5).concepts)
    for whole, rows in zip(batch.concepts, zip(*parts, strict=True), strict=True):
        assert [len(part) for part in rows] == [4] * 4
        assert torch.equal(torch.cat(rows), whole)


def test_concepts_go_where_the_model_is(recipe, tmp_path):
    trainer = Trainer(caption_recipe(recipe), StateFolder(tmp_path, "one"), torch.device("cpu"), "run")
    trainer.device = torch.device("meta")
    assert {rows.device.type for rows in trainer.placed(batch_of("clip_distillation")).concepts} == {"meta"}


def test_only_one_framework_distils():
    names = {path.stem for path in Path(frameworks.__file__).parent.glob("*.py")} - {"__init__"}
    assert {name for name in names if getattr(framework_module(name), "CONCEPTS", False)} == {"clip_distillation"}


def test_a_framework_that_distils_nothing_takes_no_concepts(shape_pack, recipe, tmp_path):
    chosen, files = caption_recipe(recipe), caption_files(tmp_path, shape_pack)
    for name, path in (("plain", None), ("given", concept_file(tmp_path / "concepts.parquet"))):
        train(chosen, files._replace(concepts=path), tmp_path / "state", tmp_path / name, 60)
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "given")]
    assert models[0] == models[1]


def test_sizes_and_concepts_are_needed():
    with pytest.raises(UserError, match="'clip_distillation' needs the option 'objects'"):
        build_framework("clip_distillation", Plain(), OPTIONS)
    with pytest.raises(UserError, match="learns what a teacher sees: set the recipe's concepts"):
        model_of("clip_distillation")(batch_of("clip_distillation")._replace(concepts=None))

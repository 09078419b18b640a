"""Concepts and teachers in the plan: what they are made of, which ids they change, what cannot be."""

from dataclasses import asdict

import pytest
from test_config_plan import ROOT, merged, planned

from vlrepro.captions.concepts import HeadOptions
from vlrepro.config import load_config
from vlrepro.config.data import HeadConfig
from vlrepro.errors import UserError
from vlrepro.tables.study import load_study


@pytest.fixture(scope="module")
def study():
    return load_study(ROOT / "config/papers/language_guidance.yaml")


@pytest.fixture
def values():
    return merged("config.yaml")


SEEN = {"captions": "original", "encoder": "visual", "objects": 50, "attributes": 20}
DISTILLED = {"framework": "clip_distillation", "concepts": "seen"}


def test_concepts_are_made_of_captions_and_a_teacher(values, study):
    before = planned(values, study)
    assert not before.concepts
    assert not before.parses
    values["concepts"] = {"seen": SEEN}
    values["recipes"]["clip"] |= DISTILLED
    after = planned(values, study)
    changed = {before.runs[key].recipe_name for key in set(before.runs) - set(after.runs)}
    assert changed == {"clip"}  # the recipes of all others are as they were
    run = next(run for run in after.runs.values() if run.recipe_name == "clip")
    assert (run.recipe["options"]["objects"], run.recipe["options"]["attributes"]) == (50, 20)
    recipe = after.concepts[run.concepts]
    assert run.recipe["concepts"] == run.concepts
    assert recipe["pack"] == run.pack == after.embeddings[recipe["embeddings"]]["pack"]
    assert after.parses[recipe["parses"]]["captions"] == run.captions
    assert HeadConfig().model_dump() == asdict(HeadOptions()) == recipe["head"]
    needed = after.needed([run.id])
    assert needed["concepts"] == [run.concepts]
    assert needed["parses"] == [recipe["parses"]]
    values["concepts"]["seen"] = SEEN | {"top": 3}
    assert run.id not in planned(values, study).runs


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder": "minilm"}, "concepts.seen.encoder: 'minilm' reads no pictures"),
        ({"captions": "elsewhere"}, "concepts.seen.captions: 'elsewhere' is of heldout, not of pretrain"),
        ({"captions": "nowhere"}, "concepts.seen.captions names 'nowhere', which is not under captions"),
        ({"objects": 1}, "concepts.seen.objects"),
        ({"held_out": 1}, "concepts.seen.held_out"),
        ({"heads": {}}, "concepts.seen.heads: unknown key"),
    ],
)
def test_concepts_that_cannot_be_made(values, study, change, words):
    values["captions"]["elsewhere"] = {"method": "clean", "pack": "heldout"}
    values["concepts"] = {"seen": SEEN | change}
    values["recipes"]["clip"] |= DISTILLED
    with pytest.raises(UserError, match=words):
        planned(values, study)


def test_a_teacher_is_known_by_its_weights_not_by_their_place(values, study):
    weights = {"path": "data/a.pth", "digest": "0" * 64, "size": 224}
    values["concepts"] = {"seen": SEEN | {"encoder": "swag"}}
    values["recipes"]["clip"] |= DISTILLED
    plans = []
    for change in ({}, {"path": "data/b.pth", "accept_licence": True}, {"size": 518}, {"digest": "1" * 64}):
        values["encoders"]["swag"] = {"kind": "torchvision", "model": "vit_h_14", "weights": weights | change}
        plans.append(planned(values, study))
    ids = [{run.id for run in plan.runs.values() if run.recipe_name == "clip"} for plan in plans]
    assert ids[0] == ids[1]
    assert not ids[0] & ids[2]
    assert not ids[0] & ids[3]
    (recipe,) = (recipe for recipe in plans[1].embeddings.values() if recipe["kind"] == "torchvision")
    assert recipe["encoder"] == weights | {"path": "data/b.pth", "accept_licence": True, "model": "vit_h_14"}
    values["recipes"]["clip"]["text_encoder"] = "swag"
    with pytest.raises(UserError, match=r"encoders.swag embeds pictures, and captions 'original' need one that reads"):
        planned(values, study)


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "torchvision", "model": "vit_h_14"},
        {"kind": "torchvision", "weights": {"path": "x", "digest": "0" * 64, "size": 224}},
        {"kind": "sentence", "model": "x", "weights": {"path": "x", "digest": "0" * 64, "size": 224}},
        {
            "kind": "torchvision",
            "model": "x",
            "digest": "0" * 64,
            "weights": {"path": "x", "digest": "0" * 64, "size": 1},
        },
    ],
)
def test_encoders_of_torchvision_have_weights_and_only_they(values, entry):
    values["encoders"]["swag"] = entry
    with pytest.raises(UserError, match=r"encoders.swag: kind"):
        load_config(values)

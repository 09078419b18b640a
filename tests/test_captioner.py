"""Captioners through the real loading code: BLIP-2 with random weights, resuming, and broken checkpoints."""

import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from conftest import shape_pictures
from tiny_checkpoints import save_bert, save_blip2, save_clip

from vlrepro.captions import captioner
from vlrepro.captions.captioner import caption_pack, load_captioner
from vlrepro.captions.scorer import load_scorer
from vlrepro.data.pack import Pack, write_pack
from vlrepro.errors import UserError


@pytest.fixture(scope="module")
def blip2(tmp_path_factory):
    return save_blip2(tmp_path_factory.mktemp("blip2"))


@pytest.fixture
def pack(tmp_path):
    """20 pictures in several shards."""
    write_pack(tmp_path / "pack", shape_pictures(20), shard_bytes=8000)
    return Pack(tmp_path / "pack")


@pytest.fixture
def asked():
    return {"revision": None, "prompt": "", "max_new_tokens": 5, "num_beams": 1, "batch_size": 4, "threads": 1}


def test_blip2_describes_pictures_whatever_the_batch(blip2, pack, asked, tmp_path):
    captions = caption_pack(asked, pack, blip2, tmp_path / "four")
    assert len(captions) == 20
    assert len(set(captions)) > 1
    assert all("<" not in caption for caption in captions)
    for size in (1, 7):
        assert caption_pack(asked | {"batch_size": size}, pack, blip2, tmp_path / str(size)) == captions


def test_beam_search_and_a_prompt(blip2, pack, asked, tmp_path):
    plain = caption_pack(asked, pack, blip2, tmp_path / "plain")
    prompted = caption_pack(asked | {"prompt": "a photo of", "num_beams": 3}, pack, blip2, tmp_path / "prompted")
    assert prompted != plain
    assert not any(caption.startswith("a photo of") for caption in prompted)


def test_resuming_equals_one_go(blip2, pack, asked, tmp_path, monkeypatch):
    whole = caption_pack(asked, pack, blip2, tmp_path / "whole")
    shards = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert len(shards) > 2
    real, calls = captioner.generate, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(captioner, "generate", failing)
    with pytest.raises(KeyboardInterrupt):
        caption_pack(asked, pack, blip2, tmp_path / "state")
    done = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "state").iterdir()}
    assert 0 < len(done) < len(shards)
    monkeypatch.setattr(captioner, "generate", real)
    assert caption_pack(asked, pack, blip2, tmp_path / "state") == whole
    assert all((tmp_path / "state" / name).stat().st_mtime_ns == time for name, time in done.items())


def test_another_recipe_or_a_damaged_shard_is_done_again(blip2, pack, asked, tmp_path):
    first = caption_pack(asked, pack, blip2, tmp_path / "state")
    shorter = caption_pack(asked | {"max_new_tokens": 1}, pack, blip2, tmp_path / "state")
    assert max(len(caption.split()) for caption in shorter) <= 1
    shard = next((tmp_path / "state").iterdir())
    shard.write_bytes(b"not Parquet")
    assert caption_pack(asked | {"max_new_tokens": 1}, pack, blip2, tmp_path / "state") == shorter
    assert pq.read_table(shard).num_rows > 0
    assert caption_pack(asked, pack, blip2, tmp_path / "state") == first


def test_an_unreadable_picture_has_no_caption(blip2, asked, tmp_path, capsys):
    pictures = shape_pictures(6)
    pictures[2] = replace(pictures[2], data=pictures[2].data[:60])
    write_pack(tmp_path / "broken", pictures)
    captions = caption_pack(asked, Pack(tmp_path / "broken"), blip2, tmp_path / "state")
    assert captions[2] == ""
    assert "unreadable: p0002: does not decode" in capsys.readouterr().out
    write_pack(tmp_path / "whole", shape_pictures(6))
    whole = caption_pack(asked, Pack(tmp_path / "whole"), blip2, tmp_path / "other")
    assert [captions[i] for i in (0, 1, 3, 4, 5)] == [whole[i] for i in (0, 1, 3, 4, 5)]


@pytest.mark.parametrize("load", [load_captioner, load_scorer], ids=["captioner", "scorer"])
def test_broken_checkpoints_are_one_line_each(load, tmp_path):
    role = load.__name__.removeprefix("load_")
    good = save_blip2(tmp_path / "good") if role == "captioner" else save_clip(tmp_path / "good")
    weights = (good / "model.safetensors").read_bytes()

    def error(location):
        with pytest.raises(UserError, match=role) as caught:
            load(location)
        message = str(caught.value)
        assert "\n" not in message
        assert str(location) in message
        return message

    assert "no such folder" in error(tmp_path / "nowhere")
    assert "no such folder" in error("../nowhere/at/all")
    assert "a bert model cannot be" in error(save_bert(tmp_path / "bert"))
    other = save_clip(tmp_path / "other") if role == "captioner" else save_blip2(tmp_path / "other")
    assert f"cannot be a {role}: name a model of the right kind" in error(other)
    assert "check the name and the network" in error("somebody/some-model-that-is-not-cached")
    (good / "model.safetensors").unlink()
    assert "copy or train it again" in error(good)
    (good / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert "copy or train it again" in error(good)
    (good / "model.safetensors").write_bytes(weights)
    load(good)
    (good / "config.json").unlink()
    assert "no config.json" in error(good)


def test_weights_that_are_left_out_are_not_made_up(blip2, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(blip2, tmp_path / "partial")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "qformer" in name)
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 weights are missing .first: .*qformer.*copy or train it again"):
        load_captioner(folder)

"""Scores through the real loading code: CLIP with random weights against the model's own forward pass."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import shape_pictures
from tiny_checkpoints import save_clip
from transformers import CLIPModel, CLIPProcessor

from vlrepro.captions.captioner import load_captioner
from vlrepro.captions.noise import Caption
from vlrepro.captions.score_files import read_scores, write_scores
from vlrepro.captions.scorer import load_scorer, score, score_pack
from vlrepro.captions.sources import write_captions
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, write_pack
from vlrepro.errors import UserError


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def captioned(tmp_path):
    """A pack of several shards and a caption file of all its pictures but two."""
    write_pack(tmp_path / "pack", shape_pictures(20), shard_bytes=8000)
    pack = Pack(tmp_path / "pack")
    usable = [(row, Caption(row.caption, "clean")) for row in pack.rows if row.key not in ("p0003", "p0011")]
    write_captions(tmp_path / "captions.parquet", usable, {})
    return pack, tmp_path / "captions.parquet"


RECIPE = {"revision": None, "batch_size": 4, "threads": 1}


def test_scores_are_clips_cosines(clip, captioned, tmp_path):
    pack, captions = captioned
    scores = score_pack(RECIPE, pack, captions, clip, tmp_path / "state")
    assert len(scores) == 18
    model, processor = CLIPModel.from_pretrained(clip).eval(), CLIPProcessor.from_pretrained(clip)
    picture = Pictures(pack, 24).batch([5])[0]
    with torch.inference_mode():
        output = model(**processor(images=picture, text=[pack.rows[5].caption], return_tensors="pt"))
        expected = (output.logits_per_image / model.logit_scale.exp()).item()

    assert scores["p0005"] == pytest.approx(expected, abs=1e-6)


def test_the_batch_hardly_matters_and_resuming_not_at_all(clip, captioned, tmp_path):
    pack, captions = captioned
    whole = score_pack(RECIPE, pack, captions, clip, tmp_path / "state")
    one = score_pack(RECIPE | {"batch_size": 1}, pack, captions, clip, tmp_path / "one")
    assert one == pytest.approx(whole, abs=1e-5)
    next((tmp_path / "state").iterdir()).unlink()
    assert score_pack(RECIPE, pack, captions, clip, tmp_path / "state") == whole


def test_other_captions_in_the_same_place_are_scored_again(clip, captioned, tmp_path):
    pack, captions = captioned
    before = score_pack(RECIPE, pack, captions, clip, tmp_path / "state")
    write_captions(captions, [(row, Caption("a photo of", "vague")) for row in pack.rows], {})
    after = score_pack(RECIPE, pack, captions, clip, tmp_path / "state")
    assert len(after) == 20
    assert after["p0000"] != before["p0000"]


def test_long_captions_are_cut_to_what_the_model_reads(clip, captioned):
    pack, _ = captioned
    picture = Pictures(pack, 24).batch([0])[0]
    scorer = load_scorer(clip)
    assert math.isfinite(score(scorer, [picture], ["red " * 300])[0])


def test_an_unreadable_picture_is_not_scored(clip, tmp_path):
    pictures = shape_pictures(6)
    pictures[2] = replace(pictures[2], data=b"no picture")
    write_pack(tmp_path / "broken", pictures)
    pack = Pack(tmp_path / "broken")
    write_captions(tmp_path / "c.parquet", [(row, Caption(row.caption, "clean")) for row in pack.rows], {})
    scores = score_pack(RECIPE, pack, tmp_path / "c.parquet", clip, tmp_path / "state")
    assert [key for key, value in scores.items() if not math.isfinite(value)] == ["p0002"]
    write_scores(tmp_path / "s.parquet", scores, RECIPE)
    again = read_scores(tmp_path / "s.parquet")
    assert list(again) == list(scores)
    assert math.isnan(again["p0002"])
    assert again["p0001"] == scores["p0001"]


def test_captions_of_another_pack_are_refused(clip, captioned, tmp_path):
    _, captions = captioned
    write_pack(tmp_path / "other", [replace(p, key=f"x{p.key}") for p in shape_pictures(4)])
    with pytest.raises(UserError, match=r"p0000 is no picture of .*other: make the captions again"):
        score_pack(RECIPE, Pack(tmp_path / "other"), captions, clip, tmp_path / "state")
    with pytest.raises(UserError, match=r"nothing.parquet: not readable"):
        score_pack(RECIPE, Pack(tmp_path / "other"), tmp_path / "nothing.parquet", clip, tmp_path / "state")


def test_a_scorer_is_no_captioner(clip):
    with pytest.raises(UserError, match="a clip model cannot be a captioner"):
        load_captioner(clip)

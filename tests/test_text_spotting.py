"""Reading text in pictures: rendered words are found, plain shapes are not, and a stopped job goes on."""

import io
import random
import sys

import numpy as np
import pytest
from conftest import shape_pictures
from PIL import Image, ImageDraw, ImageFont

from vlrepro.captions import text_spotting
from vlrepro.captions.text_spotting import (
    FLOOR,
    NOTHING,
    Spotted,
    load_spotter,
    models_digest,
    read_spotted,
    spot,
    spot_pack,
    write_spotted,
)
from vlrepro.data.decoding import decode_whole
from vlrepro.data.pack import Pack, Picture, write_pack
from vlrepro.errors import UserError

SIDE = 128
RECIPE = {"side": SIDE, "digest": None}
WORDS = ("STOP", "cat", "apple", "banana", "OPEN", "FREE", "taxi", "police", "tiger", "rocket", "violin", "dragon")


@pytest.fixture(scope="module")
def engine():
    return load_spotter(RECIPE)


def encoded(picture):
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def rendered(word, canvas, share, seed=0, mode="RGB"):
    """A PNG of a word in a dark colour that takes `share` of the width, at a random place on white or transparency."""
    rng = random.Random(f"{word} {canvas} {share} {seed}")
    picture = Image.new(mode, (canvas, canvas), "white" if mode == "RGB" else (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    width = draw.textlength(word, font=ImageFont.load_default(40))
    font = ImageFont.load_default(min(40 * share * canvas / width, canvas / 2))
    left, top, right, bottom = draw.textbbox((0, 0), word, font=font)
    x, y = rng.uniform(0, canvas - (right - left)) - left, rng.uniform(1, canvas - (bottom - top) - 1) - top
    draw.text((x, y), word, fill=rng.choice(["black", "darkred", "navy", "darkgreen"]), font=font)
    return encoded(picture)


@pytest.mark.parametrize(("canvas", "mode"), [(48, "RGB"), (48, "RGBA"), (72, "RGB")])
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_rendered_words_are_read(engine, canvas, mode, share):
    read = 0
    for word in WORDS:
        found = spot(engine, decode_whole(rendered(word, canvas, share, mode=mode), SIDE))
        read += any(
            text.casefold() == word.casefold() and confidence >= 0.8
            for text, confidence in zip(found.texts, found.confidences, strict=True)
        )
    assert read >= len(WORDS) - 1


def test_shapes_are_not_text(engine):
    found = [spot(engine, decode_whole(picture.data, SIDE)) for picture in shape_pictures(24)]
    assert sum(any(confidence >= 0.8 for confidence in entry.confidences) for entry in found) <= 1
    assert all(FLOOR <= confidence <= 1 for entry in found for confidence in entry.confidences)


def test_lines_come_from_top_to_bottom(engine):
    picture = Image.new("RGB", (96, 96), "white")
    for number, word in enumerate(("FIRST", "SECOND", "THIRD")):
        ImageDraw.Draw(picture).text((8, 4 + 30 * number), word, fill="black", font=ImageFont.load_default(20))
    assert spot(engine, decode_whole(encoded(picture), 192)).texts == ["FIRST", "SECOND", "THIRD"]


def test_long_pictures_are_not_cut(engine):
    picture = Image.new("RGB", (240, 40), "white")
    for x, word in ((2, "LEFT"), (182, "RIGHT")):
        ImageDraw.Draw(picture).text((x, 8), word, fill="black", font=ImageFont.load_default(20))
    data = encoded(picture)
    assert decode_whole(data, 480).shape == (80, 480, 3)
    assert spot(engine, decode_whole(data, 480)).texts == ["LEFT", "RIGHT"]
    for size in ((300, 1), (1, 300), (1, 1)):  # slivers are read like any other
        assert spot(engine, decode_whole(encoded(Image.new("RGB", size, "red")), SIDE)) == NOTHING


def test_whole_pictures_keep_their_shape_and_colours():
    halves = Image.new("RGBA", (20, 40), (255, 0, 0, 255))
    halves.paste((0, 0, 0, 0), (0, 20, 20, 40))
    pixels = decode_whole(encoded(halves), 80)
    assert pixels.shape == (80, 40, 3)
    assert (pixels[:30] == (255, 0, 0)).all()
    assert (pixels[50:] == 255).all()
    with pytest.raises(ValueError, match="does not decode"):
        decode_whole(b"GIF89a", 80)


def words_pack(folder, broken=()):
    pictures = [
        Picture(f"k{number}", b"no picture" if number in broken else rendered(word, 48, 0.9), ".png", 48, 48)
        for number, word in enumerate(WORDS[:6])
    ]
    write_pack(folder, pictures, shard_bytes=4000)
    return Pack(folder)


def test_a_pack_is_read_and_a_stopped_job_goes_on(tmp_path, monkeypatch, capsys):
    pack = words_pack(tmp_path / "pack", broken={3})
    assert len({row.shard for row in pack.rows}) > 1
    truth = spot_pack(RECIPE, pack, tmp_path / "whole")
    assert "unreadable: k3: does not decode" in capsys.readouterr().out
    assert list(truth) == [row.key for row in pack.rows]
    assert [" ".join(truth[f"k{at}"].texts) for at in (0, 1, 2, 3)] == ["STOP", "cat", "apple", ""]
    single, seen = text_spotting._spot_one, []

    def stopping(engine, opened, position, side):
        if position == len(opened) - 1 and len(seen) < len(opened):
            raise KeyboardInterrupt
        seen.append(position)
        return single(engine, opened, position, side)

    monkeypatch.setattr(text_spotting, "_spot_one", stopping)
    with pytest.raises(KeyboardInterrupt):
        spot_pack(RECIPE, pack, tmp_path / "state")
    before = len(seen)
    monkeypatch.setattr(text_spotting, "_spot_one", single)
    assert spot_pack(RECIPE, pack, tmp_path / "state") == truth
    assert "done before" in capsys.readouterr().out
    assert before > 0
    write_spotted(tmp_path / "s.parquet", truth, RECIPE)
    assert read_spotted(tmp_path / "s.parquet") == truth


def test_files_of_texts_are_read_back(tmp_path):
    spotted = {"a": Spotted(["été", "</b>"], [0.9, 0.5]), "b": NOTHING}
    write_spotted(tmp_path / "s.parquet", spotted, RECIPE)
    assert read_spotted(tmp_path / "s.parquet") == spotted
    (tmp_path / "s.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"s.parquet: not a readable file of spotted texts"):
        read_spotted(tmp_path / "s.parquet")


def test_other_models_and_a_missing_reader_are_one_line(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="not those of the config's digest: reinstall rapidocr_onnxruntime"):
        load_spotter(RECIPE | {"digest": "0" * 64})
    for name in "ba":
        (tmp_path / f"{name}.onnx").write_bytes(name.encode())
    first = models_digest(tmp_path)
    (tmp_path / "README").write_text("not a model")
    assert models_digest(tmp_path) == first
    (tmp_path / "a.onnx").write_bytes(b"c")
    assert models_digest(tmp_path) != first
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    monkeypatch.setattr(text_spotting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="the package rapidocr_onnxruntime is not installed: run make setup"):
        load_spotter(RECIPE)


def test_the_same_picture_gives_the_same_bits(engine):
    data = rendered("banana", 48, 0.9)
    first = spot(engine, decode_whole(data, SIDE))
    assert all(spot(load_spotter(RECIPE), decode_whole(data, SIDE)) == first for _ in range(2))
    assert np.array_equal(decode_whole(data, SIDE), decode_whole(data, SIDE))

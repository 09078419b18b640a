"""Packs: round trip, repeatable bytes, and every way in which one can be broken."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import shape_pictures
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from vlrepro.data.decoding import decode, decode_exactly
from vlrepro.data.fetch import fetch_pack
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, Picture, read_index, write_pack
from vlrepro.errors import UserError
from vlrepro.files import file_digest


def recipe_of(folder):
    return {"source": "local", "path": str(folder), "digest": file_digest(folder / "SHA256SUMS")}


def test_round_trip_and_readable_by_tar(shape_pack):
    pack = Pack(shape_pack)
    for position, picture in enumerate(shape_pictures(64)):
        assert pack.picture(position) == picture.data
        assert pack.rows[position].caption == picture.caption
        assert pack.rows[position].mask_offset == -1
    with tarfile.open(shape_pack / "shard-000000.tar") as tar:
        assert [member.name for member in tar][:2] == ["p0000.png", "p0000.json"]
        assert json.load(tar.extractfile("p0003.json"))["caption"] == "green rectangle"
        assert tar.extractfile("p0003.png").read() == pack.picture(3)


def test_same_pictures_same_bytes_and_shards_split(tmp_path):
    digests = {write_pack(tmp_path / name, shape_pictures(12)) for name in "ab"}
    assert len(digests) == 1
    write_pack(tmp_path / "c", shape_pictures(12), shard_bytes=8000)
    shards = sorted(path.name for path in (tmp_path / "c").glob("*.tar"))
    assert len(shards) > 1
    assert {row.shard for row in Pack(tmp_path / "c").rows} == set(shards)
    assert [Pack(tmp_path / "c").picture(i) for i in range(12)] == [p.data for p in shape_pictures(12)]


def test_masks_as_members(tmp_path):
    write_pack(tmp_path, [Picture("a", b"x", ".png", 1, 1, mask=b"mask"), Picture("b", b"y", ".png", 1, 1)])
    pack = Pack(tmp_path)
    assert pack.mask(0) == b"mask"
    assert pack.mask(1) is None


def test_equal_keys_are_refused(tmp_path):
    with pytest.raises(UserError, match="two pictures have the key 'a'"):
        write_pack(tmp_path, [Picture("a", b"x", ".png", 1, 1)] * 2)


def test_fetch_copies_and_verifies(shape_pack, tmp_path):
    assert fetch_pack(recipe_of(shape_pack), tmp_path / "out", 0.0) == (64, 0)
    assert (tmp_path / "out/rejected.csv").read_text() == "key,shard,reason\n"
    assert Pack(tmp_path / "out").picture(5) == Pack(shape_pack).picture(5)


def test_corrupt_shard_and_missing_file_and_wrong_digest(shape_pack, tmp_path):
    recipe = recipe_of(shape_pack)
    shard = shape_pack / "shard-000000.tar"
    good = shard.read_bytes()
    shard.write_bytes(good[:600] + b"\0" + good[601:])
    with pytest.raises(UserError, match=r"shard-000000.tar: the bytes are not those of SHA256SUMS.*git checkout"):
        fetch_pack(recipe, tmp_path / "out", 0.0)
    shard.unlink()
    with pytest.raises(UserError, match=r"shard-000000.tar: the file is missing"):
        fetch_pack(recipe, tmp_path / "out", 0.0)
    with pytest.raises(UserError, match="the config pins 0000"):
        fetch_pack(recipe | {"digest": "0" * 64}, tmp_path / "out", 0.0)
    with pytest.raises(UserError, match="no such pack"):
        fetch_pack(recipe | {"path": str(tmp_path / "nowhere")}, tmp_path / "out", 0.0)


@pytest.mark.parametrize("line", ["nonsense", "0" * 64 + "  ../evil.tar", "0" * 64 + "  a/b.tar"])
def test_manifests_cannot_name_other_folders(shape_pack, tmp_path, line):
    (shape_pack / "SHA256SUMS").write_text(line + "\n")
    with pytest.raises(UserError, match="not a manifest line"):
        fetch_pack(recipe_of(shape_pack), tmp_path / "out", 0.0)


def test_one_bad_picture_is_counted_listed_and_skipped_up_to_the_limit(tmp_path):
    pictures = shape_pictures(64)
    bad = Picture("broken", pictures[0].data[:40], ".png", 24, 24)
    write_pack(tmp_path / "pack", [*pictures[:10], bad, *pictures[10:]])
    recipe = recipe_of(tmp_path / "pack")
    assert fetch_pack(recipe, tmp_path / "out", 0.05) == (64, 1)
    assert "broken,shard-000000.tar,does not decode" in (tmp_path / "out/rejected.csv").read_text()
    assert [row.key for row in Pack(tmp_path / "out").rows] == [picture.key for picture in pictures]
    assert Pictures(Pack(tmp_path / "out"), 24).batch([12]).shape == (1, 3, 24, 24)
    with pytest.raises(UserError, match=r"1 of 65 pictures are unusable \(first: broken.*limits.bad_pictures"):
        fetch_pack(recipe, tmp_path / "other", 0.01)
    assert not (tmp_path / "other/rejected.csv").exists()


def test_index_errors_name_the_file_and_the_cure(shape_pack):
    index = shape_pack / "index.parquet"
    table = pq.read_table(index)
    pq.write_table(table.drop_columns(["caption"]), index)
    with pytest.raises(UserError, match=r"index.parquet: the index lacks the column caption: rebuild"):
        read_index(index)
    binary = pa.array([b"\xff\xfe"] * len(table), pa.binary())
    broken = pa.Array.from_buffers(pa.string(), len(binary), binary.buffers())
    pq.write_table(table.set_column(table.column_names.index("caption"), "caption", broken), index)
    with pytest.raises(UserError, match=r"index.parquet: text that is not UTF-8.*re-encode"):
        read_index(index)
    index.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"index.parquet: not a readable Parquet index"):
        read_index(index)


def test_shard_cut_short_after_fetching(shape_pack):
    shard = shape_pack / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"shard-000000.tar: picture p\d+: the shard is cut short.*fetch again"):
        Pictures(Pack(shape_pack), 24)


def test_a_source_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"source 'moon' has no file in vlrepro/data/sources"):
        fetch_pack({"source": "moon", "path": str(tmp_path), "digest": None}, tmp_path / "out", 0.0)


def encoded(picture, kind="PNG"):
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


def test_decode_composites_over_white_and_squares():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert np.all(decode(encoded(clear), 8) == 255)
    wide = Image.new("RGB", (40, 10), "blue")
    wide.paste("red", (0, 0, 10, 10))  # outside the central square
    assert decode(encoded(wide), 10).shape == (10, 10, 3)
    assert np.all(decode(encoded(wide), 10) == (0, 0, 255))
    assert decode(encoded(Image.new("L", (5, 9), 7)), 6).tolist() == [[[7, 7, 7]] * 6] * 6


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 24), st.sampled_from(["PNG", "JPEG"]))
def test_decode_exactly_is_torchvisions_resize_and_centre_crop(width, height, canvas, kind):
    rows = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    data = encoded(Image.fromarray(rows), kind)
    steps = (transforms.Resize(canvas, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(canvas))
    expected = transforms.Compose(steps)(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode_exactly(data, canvas), np.asarray(expected))


def test_decode_exactly_lays_transparency_over_white_and_refuses_what_memory_cannot_hold():
    assert np.all(decode_exactly(encoded(Image.new("RGBA", (9, 4), (0, 0, 0, 0))), 8) == 255)
    with pytest.raises(ValueError, match="1 x 5000 pixels: too narrow"):
        decode_exactly(encoded(Image.new("RGB", (1, 5000))), 224)
    with pytest.raises(ValueError, match="does not decode"):
        decode_exactly(b"no picture", 8)


def test_decode_refuses_a_decompression_bomb_by_its_header():
    bomb = bytearray(encoded(Image.new("1", (1, 1))))
    bomb[16:24] = (30_000).to_bytes(4, "big") * 2
    with pytest.raises(ValueError, match=r"too many|does not decode"):
        decode(bytes(bomb), 8)


def test_batches_do_not_depend_on_the_cache_or_threads(shape_pack):
    pack = Pack(shape_pack)
    cached, lazy = Pictures(pack, 20), Pictures(pack, 20, cache_bytes=0, threads=3)
    order = [5, 1, 63, 5]
    assert (cached.batch(order) == lazy.batch(order)).all()


def test_folder_source_packs_pictures_and_names_mistakes(tmp_path):
    source = tmp_path / "mine"
    (source / "sub").mkdir(parents=True)
    (source / "sub/a.png").write_bytes(encoded(Image.new("RGB", (9, 9), "red")))
    recipe = {"source": "folder", "path": str(source), "digest": None}
    with pytest.raises(UserError, match=r"index.csv: no such table"):
        fetch_pack(recipe, tmp_path / "out", 0.0)
    table = source / "index.csv"
    table.write_text("file,caption,label\nsub/a.png,a red square,red\n")
    assert fetch_pack(recipe, tmp_path / "out", 0.0) == (1, 0)
    row = Pack(tmp_path / "out").rows[0]
    assert (row.caption, row.label, row.width, row.source) == ("a red square", "red", 9, "sub/a.png")
    table.write_text("file\nsub/a.png\n")
    with pytest.raises(UserError, match=r"index.csv: the column caption is missing"):
        fetch_pack(recipe, tmp_path / "out", 0.0)
    table.write_bytes("file,caption\nsub/a.png,caf\xe9\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"index.csv: line 2 is not UTF-8: save the table as UTF-8"):
        fetch_pack(recipe, tmp_path / "out", 0.0)
    for file in ("../secret.png", "sub/none.png"):
        table.write_text(f"file,caption\n{file},x\n")
        with pytest.raises(UserError, match=r"index.csv: line 2: .* is no file below"):
            fetch_pack(recipe, tmp_path / "out", 0.0)

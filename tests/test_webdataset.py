"""Tar files of pictures and captions that another tool wrote, as a pack."""

import io
import json
import tarfile

import numpy as np
import pytest
from benchmark_archives import encoded
from PIL import Image

from vlrepro.data.fetch import REJECTED, fetch_pack
from vlrepro.data.pack import Pack
from vlrepro.data.sources import webdataset
from vlrepro.errors import UserError


def tar_of(path, members):
    """An uncompressed tar file of (name, bytes), written by Python's own module."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def sample(key, seed, caption="a caption", facts=None, height=40, width=50):
    members = [(f"{key}.jpg", encoded(seed, height=height, width=width)), (f"{key}.txt", caption.encode())]
    return members + ([(f"{key}.json", json.dumps(facts).encode())] if facts else [])


def fetched(path, folder, limit=0.0):
    return fetch_pack({"source": "webdataset", "path": str(path), "digest": None}, folder, limit)


def test_pairs_come_in_the_files_order_with_caption_and_source(tmp_path):
    url = {"url": "http://a/b.jpg", "caption": "not this"}
    tar_of(tmp_path / "in/train-0001.tar", sample("000010000", 1, " a  later\none ") + sample("000010001", 2))
    tar_of(tmp_path / "in/train-0000.tar", sample("000000000", 3, "a Böller", url) + sample("000000001", 4))
    (tmp_path / "in/train-0000_stats.json").write_text("{}")
    assert fetched(tmp_path / "in", tmp_path / "pack") == (4, 0)
    rows = Pack(tmp_path / "pack").rows
    assert [(row.key, row.caption, row.source) for row in rows] == [
        ("train-0000-000000000", "a Böller", "http://a/b.jpg"),
        ("train-0000-000000001", "a caption", "train-0000.tar/000000001.jpg"),
        ("train-0001-000010000", "a later one", "train-0001.tar/000010000.jpg"),
        ("train-0001-000010001", "a caption", "train-0001.tar/000010001.jpg"),
    ]
    for position, seed in enumerate((3, 4, 1, 2)):
        stored, sent = (
            Image.open(io.BytesIO(data))
            for data in (Pack(tmp_path / "pack").picture(position), encoded(seed, height=40, width=50))
        )
        assert np.array_equal(np.asarray(stored), np.asarray(sent))


def test_large_pictures_become_256_pixels_and_other_kinds_jpeg(tmp_path):
    png = [("b.png", encoded(2, "PNG", 30, 20)), ("b.json", json.dumps({"caption": "from json"}).encode())]
    tar_of(tmp_path / "in/0.tar", sample("a", 1, height=600, width=300) + png)
    assert fetched(tmp_path / "in", tmp_path / "pack") == (2, 0)
    pack = Pack(tmp_path / "pack")
    assert [(row.width, row.height, row.caption) for row in pack.rows] == [
        (256, 512, "a caption"),
        (20, 30, "from json"),
    ]
    assert [Image.open(io.BytesIO(pack.picture(i))).format for i in (0, 1)] == ["JPEG", "JPEG"]


def test_more_than_a_batch_keeps_its_order(tmp_path, monkeypatch):
    monkeypatch.setattr(webdataset, "_AT_ONCE", 3)
    tar_of(tmp_path / "in/0.tar", [member for i in range(8) for member in sample(f"{i:03d}", i, f"caption {i}")])
    fetched(tmp_path / "in", tmp_path / "pack")
    assert [row.caption for row in Pack(tmp_path / "pack").rows] == [f"caption {i}" for i in range(8)]


def test_members_may_lie_in_folders_and_their_keys_too(tmp_path):
    names = {"./a.v2/x.JPG": encoded(1), "./a.v2/x.txt": b"first", "b/x.jpg": encoded(2), "b/x.txt": b"second"}
    tar_of(tmp_path / "in/0.tar", names.items())
    assert fetched(tmp_path / "in", tmp_path / "pack") == (2, 0)
    rows = Pack(tmp_path / "pack").rows
    assert [(row.caption, row.key) for row in rows] == [("first", "0-a_v2-x"), ("second", "0-b-x")]


def test_what_is_no_picture_is_listed(tmp_path):
    tar_of(tmp_path / "in/0.tar", [*sample("a", 1), ("b.jpg", encoded(2)[:60]), ("b.txt", b"cut short")])
    assert fetched(tmp_path / "in", tmp_path / "pack", 0.5) == (1, 1)
    assert "0-b" in (tmp_path / "pack" / REJECTED).read_text()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.jpg", encoded(1))], r"0.tar: a.jpg has no caption"),
        ([("a.jpg", encoded(1)), ("a.txt", b" \n")], r"0.tar: a.jpg has no caption"),
        ([("a.jpg", encoded(1)), ("a.txt", b"\xff")], r"0.tar: a.txt is not UTF-8"),
        ([("a.jpg", encoded(1)), ("a.json", b"{")], r"0.tar: a.json is no JSON"),
        ([("a.jpg", encoded(1)), ("a.json", b"[1]")], r"0.tar: a.json is no JSON object"),
        (sample("a", 1) + sample("b", 2) + sample("a", 3), r"two pictures have the key '0-a'"),
    ],
)
def test_malformed_members_are_named(members, message, tmp_path):
    tar_of(tmp_path / "in/0.tar", members)
    with pytest.raises(UserError, match=message):
        webdataset.fetch(tmp_path / "in", tmp_path / "pack")


def test_tar_files_that_are_missing_or_cut_short_are_named(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match=r"no .*tar in the folder"):
        webdataset.fetch(tmp_path / "in", tmp_path / "pack")
    whole = tar_of(tmp_path / "in/0.tar", sample("a", 1) + sample("b", 2)).read_bytes()
    (tmp_path / "in/0.tar").write_bytes(whole[:1000])
    with pytest.raises(UserError, match=r"0.tar: not a whole tar file"):
        webdataset.fetch(tmp_path / "in", tmp_path / "pack")
    end = whole.index(b"b.jpg")  # between two members
    (tmp_path / "in/0.tar").write_bytes(whole[:end])
    with pytest.raises(UserError, match=r"0.tar: not a whole tar file \(its end is missing\)"):
        webdataset.fetch(tmp_path / "in", tmp_path / "pack")
    (tmp_path / "in/0.tar").write_bytes(b"<html>" * 200)
    with pytest.raises(UserError, match=r"0.tar: not a whole tar file"):
        webdataset.fetch(tmp_path / "in", tmp_path / "pack")


def test_a_published_set_of_files_is_whole_or_refused(tmp_path, monkeypatch):
    assert webdataset.PUBLISHED == {"cc3m-train-*.tar": 576}
    for number in range(3):
        tar_of(tmp_path / f"in/cc3m-train-{number:04d}.tar", sample(f"{number}", number))
    with pytest.raises(UserError, match=r"in: 3 files cc3m-train-\*.tar and 0 others instead of 576 alone: get all"):
        webdataset.fetch(tmp_path / "in", tmp_path / "pack")
    monkeypatch.setattr(webdataset, "PUBLISHED", {"cc3m-train-*.tar": 3})
    assert fetched(tmp_path / "in", tmp_path / "pack") == (3, 0)
    tar_of(tmp_path / "in/cc3m-validation-0000.tar", sample("x", 9))
    with pytest.raises(UserError, match=r"in: 3 files cc3m-train-\*.tar and 1 others instead of 3 alone: .* away"):
        webdataset.fetch(tmp_path / "in", tmp_path / "pack")


def test_a_member_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "in/0.tar"
    path.parent.mkdir()
    header = tarfile.TarInfo("a.jpg")
    header.size = 1 << 40
    path.write_bytes(header.tobuf() + bytes(1024))
    with pytest.raises(UserError, match=r"0.tar: a.jpg has 1,099,511,627,776 bytes"):
        webdataset.fetch(tmp_path / "in", tmp_path / "pack")

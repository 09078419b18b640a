"""Embedding files that are written block by block: the bytes of one that is written at once, whatever happens."""

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import run_script
from hypothesis import given, settings
from hypothesis import strategies as st

from vlrepro.errors import UserError
from vlrepro.files import write_json
from vlrepro.pairs import encoding
from vlrepro.pairs.embeddings import write_embeddings
from vlrepro.pairs.encoding import SentenceBlocks, embed
from vlrepro.pairs.slabs import write_in_blocks

RECIPE = {"kind": "sentence", "encoder": {"model": "letters"}, "threads": 1}


class Letters:
    """A sentence encoder: how often each letter stands in a caption. Counts what it is asked for."""

    def __init__(self):
        self.asked = []

    def encode(self, captions, batch_size, normalize_embeddings, show_progress_bar):
        self.asked.append(list(captions))
        counts = np.array([[text.count(letter) + 0.1 for letter in "abcdef "] for text in captions], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


@pytest.fixture
def letters(monkeypatch):
    model = Letters()
    monkeypatch.setattr(encoding, "load_sentences", lambda encoder: model)
    return model


def random_captions(count, seed):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("abcdef é"), rng.integers(0, 4))) for _ in range(count)]


def written_at_once(folder, rows):
    write_embeddings(folder / "whole.safetensors", torch.from_numpy(rows), RECIPE)
    return (folder / "whole.safetensors").read_bytes()


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 40), width=st.integers(1, 5), size=st.integers(1, 15), seed=st.integers(0, 99))
def test_blocks_in_any_places_make_the_file_that_is_written_at_once(tmp_path_factory, count, width, size, seed):
    folder = tmp_path_factory.mktemp("slabs")
    rng = np.random.default_rng(seed)
    rows, places = rng.normal(size=(count, width)).astype(np.float32), rng.permutation(count)
    made = [np.sort(places[start : start + size]) for start in range(0, count, size)]
    path = folder / "deep/rows.safetensors"
    shape = write_in_blocks(path, RECIPE, count, len(made), lambda n: (made[n], rows[made[n]]), folder / "state", "x")
    assert shape == (count, width)
    assert path.read_bytes() == written_at_once(folder, rows)
    assert not (folder / "state").exists()


def write(folder, rows, asked, identity="x", fails=None):
    def make(number):
        if number == fails:
            raise KeyboardInterrupt
        asked.append(number)
        return slice(4 * number, 4 * number + 4), rows[4 * number : 4 * number + 4]

    write_in_blocks(folder / "rows.safetensors", RECIPE, len(rows), 5, make, folder / "state", identity)


def test_what_is_made_is_kept_and_only_of_the_same_rows(tmp_path, capsys):
    rows = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    for fails, identity, first in ((3, "x", 0), (4, "x", 3), (2, "others", 0), (1, "x", 0)):
        asked = []
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, rows, asked, identity, fails)
        assert asked == list(range(first, fails))
        assert not (tmp_path / "rows.safetensors").exists()
    (tmp_path / "state/progress.json").write_text("{")
    asked = []
    write(tmp_path, rows, asked)
    assert asked == list(range(5))
    assert "progress.json: not readable" in capsys.readouterr().out
    assert (tmp_path / "rows.safetensors").read_bytes() == written_at_once(tmp_path, rows)


def test_a_full_disk_is_seen_before_anything_is_mapped(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write(tmp_path, np.zeros((20, 3), np.float32), [])
    assert caught.value.filename == str(tmp_path / "state/rows.safetensors")


def test_a_state_on_another_disk_is_copied(tmp_path, monkeypatch):
    move = Path.replace

    def replace(self, target):
        if self.name == "rows.safetensors":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return move(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    rows = np.ones((20, 3), np.float32)
    write(tmp_path, rows, [])
    assert (tmp_path / "rows.safetensors").read_bytes() == written_at_once(tmp_path, rows)
    assert not (tmp_path / "state").exists()


def test_nothing_to_embed_is_said(tmp_path, letters):
    blocks = SentenceBlocks(pa.array([], pa.string()), {})
    with pytest.raises(UserError, match=r"rows.safetensors: nothing to embed"):
        write_in_blocks(tmp_path / "rows.safetensors", RECIPE, 0, len(blocks), blocks.block, tmp_path / "state", "")


@pytest.mark.parametrize("size", [1, 4, 100])
def test_captions_are_encoded_once_each_in_order_whatever_the_blocks(letters, monkeypatch, size):
    captions = random_captions(60, 1)
    monkeypatch.setattr(encoding, "CAPTIONS", size)
    blocks = SentenceBlocks(pa.chunked_array([captions[:20], captions[20:]]), {})
    rows = np.full((60, 7), np.nan, np.float32)
    for number in range(len(blocks)):
        positions, found = blocks.block(number)
        assert np.isnan(rows[positions]).all()
        rows[positions] = found
    assert [text for asked in letters.asked for text in asked] == sorted(set(captions))
    assert max(map(len, letters.asked)) <= size
    assert np.array_equal(rows, embed(captions, {}))
    assert np.array_equal(rows, letters.encode(captions, 1, True, False))


def test_the_command_goes_on_and_writes_the_same_bytes(letters, tmp_path, monkeypatch):
    captions = random_captions(60, 2)
    pq.write_table(pa.table({"key": list(map(str, range(60))), "caption": captions}), tmp_path / "captions.parquet")
    write_json(tmp_path / "recipe.json", RECIPE)
    monkeypatch.setattr(encoding, "CAPTIONS", 10)
    files = {name: tmp_path / path for name, path in (("recipe", "recipe.json"), ("captions", "captions.parquet"))}
    files |= {"index": tmp_path / "index.parquet", "output": tmp_path / "rows.safetensors"}
    encode = Letters.encode

    def dies(self, *arguments, **options):
        if len(self.asked) == 3:
            raise KeyboardInterrupt
        return encode(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Letters, "encode", dies)
        with pytest.raises(KeyboardInterrupt):
            run_script("embed.py", monkeypatch, **files)
    assert len(letters.asked) == 3
    run_script("embed.py", monkeypatch, **files)
    assert [text for asked in letters.asked for text in asked] == sorted(set(captions))
    assert files["output"].read_bytes() == written_at_once(tmp_path, letters.encode(captions, 1, True, False))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["captions.parquet", "recipe.json", "rows.safetensors", "whole.safetensors"]
    )

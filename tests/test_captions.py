"""The caption noise model and what becomes of unusable captions."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import shape_pictures

from vlrepro.captions.noise import KINDS, Caption, noisy_captions
from vlrepro.captions.sources import original_captions, split_usable, write_captions
from vlrepro.data.pack import Pack, write_pack
from vlrepro.errors import UserError

RATES = {"vague": 0.22, "off_topic": 0.10, "wrong": 0.07, "other_language": 0.06, "short": 0.05}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pack")
    write_pack(folder, shape_pictures(1600))
    return Pack(folder).rows


def test_shares_are_those_of_the_rates(rows):
    counts = Counter(caption.kind for caption in noisy_captions(rows, RATES, 0.0, seed=0))
    for kind in KINDS:
        share = RATES[kind]
        deviation = (share * (1 - share) / len(rows)) ** 0.5
        assert counts[kind] / len(rows) == pytest.approx(share, abs=4 * deviation)
    assert counts["faithful"] / len(rows) == pytest.approx(0.5, abs=0.05)


def test_captions_are_a_function_of_seed_and_picture(rows):
    first = noisy_captions(rows, RATES, 0.5, seed=0)
    assert first == noisy_captions(rows, RATES, 0.5, seed=0)
    other = noisy_captions(rows, RATES, 0.5, seed=1)
    assert sum(a != b for a, b in zip(first, other, strict=True)) > len(rows) / 2


def test_no_noise_is_faithful_and_all_noise_is_not(rows):
    none = dict.fromkeys(KINDS, 0.0)
    for row, caption in zip(rows, noisy_captions(rows, none, 0.9, seed=0), strict=True):
        assert caption.kind == "faithful"
        assert any(word in caption.text for word in [*row.caption.split(), "shape"])
    everything = noisy_captions(rows, none | {"off_topic": 1.0}, 0.9, seed=0)
    assert {caption.kind for caption in everything} <= {"off_topic", "faithful"}
    assert sum(caption.kind == "faithful" for caption in everything) < len(rows)


def test_groups_differ_when_spread(rows):
    def noisy_share(spread, group):
        captions = noisy_captions(rows, RATES, spread, seed=0)
        kinds = [c.kind != "faithful" for c, row in zip(captions, rows, strict=True) if row.group == group]
        return sum(kinds) / len(kinds)

    shares = [noisy_share(0.9, group) for group in ("red", "green", "blue", "orange")]
    assert max(shares) - min(shares) > 0.2


def test_a_kind_that_cannot_be_falls_back_to_vague(tmp_path):
    from dataclasses import replace

    write_pack(tmp_path, [replace(p, captions_other="{}") for p in shape_pictures(8)])
    captions = noisy_captions(Pack(tmp_path).rows, dict.fromkeys(KINDS, 0.0) | {"other_language": 1.0}, 0.0, 0)
    assert {caption.kind for caption in captions} == {"vague"}


def test_unusable_captions_are_listed_up_to_the_limit(rows):
    some = rows[:40]
    captions = original_captions(some, {"method": "clean"})
    captions[3], captions[7] = Caption("  ", "clean"), Caption("caf\udce9", "clean")
    usable, rejected = split_usable(some, captions, 0.05, Path("pack"))
    assert len(usable) == 38
    assert rejected == [(some[3].key, "the caption is empty"), (some[7].key, "the caption is not UTF-8")]
    with pytest.raises(UserError, match=r"pack: 2 of 40 captions are unusable \(first: p0003.*limits.bad_captions"):
        split_usable(some, captions, 0.04, Path("pack"))


def test_caption_file_keeps_the_clean_caption_beside(rows, tmp_path):
    captions = [Caption(f"  caption   of {row.key} ", "vague") for row in rows[:5]]
    usable, _ = split_usable(rows[:5], captions, 0.0, tmp_path)
    write_captions(tmp_path / "captions.parquet", usable, {"method": "noise"})
    table = pq.read_table(tmp_path / "captions.parquet").to_pydict()
    assert table["caption"][2] == "caption of p0002"
    assert table["clean"] == [row.caption for row in rows[:5]]

"""The choice between two captions: its law, every bad case, and that no picture is lost."""

import math

import pyarrow.parquet as pq
import pytest
from conftest import shape_pictures
from hypothesis import given
from hypothesis import strategies as st

from vlrepro.captions.noise import Caption
from vlrepro.captions.refine import CASES, Candidate, choose, read_captions, refine, write_refined
from vlrepro.captions.sources import write_captions
from vlrepro.data.pack import Pack, write_pack
from vlrepro.errors import UserError

TEXTS = st.sampled_from(["", "  ", "red ellipse", "red  ellipse", "blue", "dog dog dog", "dog", "a drawing"])
SCORES = st.sampled_from([None, math.nan, math.inf, -math.inf, -0.2, 0.0, 0.1, 0.3])


@pytest.fixture
def rows(tmp_path):
    write_pack(tmp_path / "pack", shape_pictures(8))
    return Pack(tmp_path / "pack").rows


@pytest.mark.parametrize(
    ("original", "generated", "chosen", "case"),
    [
        (("a cat", 0.2), ("a dog", 0.3), "generated", "generated_better"),
        (("a cat", 0.3), ("a dog", 0.2), "original", "original_better"),
        (("a cat", 0.3), ("a dog", 0.3), "original", "tie"),
        (("a cat", 0.1), ("a  cat ", 0.3), "original", "same_caption"),
        (("a cat", 0.1), (" ", 0.9), "original", "generated_missing"),
        (("a cat", 0.1), ("dog dog", 0.9), "original", "generated_repeats"),
        (("a cat", 0.1), ("dog", 0.9), "generated", "generated_better"),
        (("a cat", math.nan), ("a dog", 0.9), "original", "not_scored"),
        (("a cat", 0.1), ("a dog", math.nan), "original", "not_scored"),
        (("a cat", 0.1), ("a dog", math.inf), "original", "not_scored"),
        (("a cat", None), ("a dog", 0.9), "original", "not_scored"),
        (("", None), ("a dog", math.nan), "generated", "original_missing"),
        (("", None), ("", None), "", "both_missing"),
        ((" ", 0.5), ("dog dog", 0.9), "", "both_missing"),
    ],
)
def test_every_case(original, generated, chosen, case):
    assert choose(Candidate(*original), Candidate(*generated)) == (chosen, case)


def test_margin():
    original, generated = Candidate("a cat", 0.25), Candidate("a dog", 0.5)
    assert choose(original, generated, 0.125) == ("generated", "generated_better")
    assert choose(original, generated, 0.25) == ("original", "within_margin")
    assert choose(original, Candidate("a dog", 0.25), 0.25) == ("original", "tie")
    assert choose(Candidate("", None), generated, 0.9) == ("generated", "original_missing")


@given(TEXTS, SCORES, TEXTS, SCORES)
def test_law(original, first, generated, second):
    chosen, case = choose(Candidate(original, first), Candidate(generated, second))
    assert case in CASES
    assert (chosen == "") == (case == "both_missing")
    if chosen:
        assert {"original": original, "generated": generated}[chosen].strip()
    if chosen == "generated" and original.strip():
        assert math.isfinite(first) and math.isfinite(second) and second > first  # noqa: PT018
    if case in ("generated_better", "original_better"):  # shifting both scores changes nothing
        assert choose(Candidate(original, first + 1), Candidate(generated, second + 1)).case == case


def captions_of(rows, text, kind):
    return {row.key: Caption(f"{text} {row.key}", kind) for row in rows}


def test_every_picture_is_in_exactly_one_case(rows, tmp_path):
    original, generated = captions_of(rows, "my", "vague"), captions_of(rows, "a", "generated")
    keys = [row.key for row in rows]
    scores = [dict.fromkeys(keys, 0.2), dict.fromkeys(keys, 0.3)]
    del original[keys[1]], scores[0][keys[1]]
    generated[keys[2]] = Caption("dog dog", "generated")
    scores[1][keys[3]] = math.nan
    del original[keys[4]], generated[keys[4]]
    scores[0][keys[5]] = 0.9
    refined = refine(rows, original, scores[0], generated, scores[1], 0.2, "pack")
    assert refined.cases.total() == len(rows) == len(refined.usable) + len(refined.left_out)
    assert {case: count for case, count in refined.cases.items() if count} == {
        "generated_better": 3,
        "original_missing": 1,
        "generated_repeats": 1,
        "not_scored": 1,
        "both_missing": 1,
        "original_better": 1,
    }
    assert set(refined.cases) == set(CASES)
    assert refined.left_out == [keys[4]]
    write_refined(tmp_path / "refined.parquet", refined, {"method": "refined"})
    table = pq.read_table(tmp_path / "refined.parquet").to_pydict()
    assert table["key"] == [key for key in keys if key != keys[4]]
    assert table["chosen"] == ["generated", "generated", "original", "original", "original", "generated", "generated"]
    assert table["caption"][4] == f"my {keys[5]}"
    assert table["kind"][:3] == ["generated", "generated", "vague"]
    assert table["original"][:2] == [f"my {keys[0]}", ""]
    assert table["score_original"][:2] == [pytest.approx(0.2), None]
    assert table["score_generated"][0] == pytest.approx(0.3)
    assert table["year"] == [row.date[:4] for row in rows if row.key != keys[4]]


def test_too_many_without_any_caption(rows):
    original = captions_of(rows[:6], "my", "vague")
    with pytest.raises(UserError, match=r"pack: 2 of 8 pictures have no usable caption \(first: p0006\).*raise limits"):
        refine(rows, original, {}, {}, {}, 0.2, "pack")
    assert refine(rows, original, {}, {}, {}, 0.25, "pack").cases["generated_missing"] == 6


def test_captions_of_other_pictures_are_refused(rows):
    with pytest.raises(UserError, match="pack: no picture of the pack has a caption"):
        refine(rows, {"q": Caption("a", "clean")}, {}, {}, {}, 1.0, "pack")


def test_caption_files_are_read_back(rows, tmp_path):
    write_captions(tmp_path / "c.parquet", [(row, Caption(row.caption, "clean")) for row in rows], {})
    assert read_captions(tmp_path / "c.parquet")["p0002"] == Caption(rows[2].caption, "clean")
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"c.parquet: not a readable caption file"):
        read_captions(tmp_path / "c.parquet")

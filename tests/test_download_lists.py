"""Which files and rows a list of URLs consists of, and whether a published one is whole."""

import hashlib
import json

import pytest
from benchmark_archives import put
from misbehaving_server import Server, told

from vlrepro.config.packs import WebConfig
from vlrepro.data.download import lists
from vlrepro.data.download.lists import check_whole, list_files, read_list
from vlrepro.data.download.options import Rules
from vlrepro.data.fetch import fetch_pack
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError

ANNOTATION = {
    **{"image_id": "x", "author": "someone", "raw_caption": "Itap", "caption": "itap", "subreddit": "itookapicture"},
    **{"score": 9, "created_utc": 1577836800, "permalink": "/r/x"},
}


def annotations(folder, *names):
    for i, name in enumerate(names):
        rows = [ANNOTATION | {"url": f"https://i.redd.it/{name}-{row}.jpg"} for row in range(i + 1)]
        put(folder / name, json.dumps({"info": {}, "annotations": rows}))


def test_a_years_files_are_chosen_by_their_names(tmp_path):
    names = ("cats_2019.json", "cats_2020.json", "dogs_2020.json", "year2020.json")
    annotations(tmp_path, *names)
    found = [entry.url.rpartition("/")[2] for entry in read_list(tmp_path, "redcaps", 2020)]
    assert found == [f"{name}-{row}.jpg" for i, name in enumerate(names) for row in range(i + 1) if "_2020." in name]
    assert [path.name for path in list_files(tmp_path, 2020)] == ["cats_2020.json", "dogs_2020.json"]
    assert [path.name for path in list_files(tmp_path)] == list(names)
    with pytest.raises(UserError, match=r"no \*_2018.json in the folder: unpack"):
        list(read_list(tmp_path, "redcaps", 2018))


def test_published_lists_are_whole_or_refused(tmp_path, monkeypatch):
    """By rows where the number is published, by files where their names are; lists of one's own are as they are."""
    table = tmp_path / "Validation_GCC-1.1.0-Validation.tsv"
    check_whole(table, 15_840)
    check_whole(tmp_path / "mine.tsv", 3)
    with pytest.raises(UserError, match=r"Validation.tsv: 15,839 rows instead of 15,840: get the whole list again"):
        check_whole(table, 15_839)
    annotations(tmp_path, "cats_2020.json", "dogs_2020.json", "dogs_2019.json")
    check_whole(tmp_path, 3)
    with pytest.raises(UserError, match=r"2 files \*_2020.json instead of 350: unpack all of them"):
        check_whole(tmp_path, 3, 2020)
    names = hashlib.sha256(b"cats_2020.json\ndogs_2020.json\n").hexdigest()
    monkeypatch.setitem(lists.PUBLISHED_FILES, 2020, (2, names))
    check_whole(tmp_path, 3, 2020)
    (tmp_path / "cats_2020.json").rename(tmp_path / "bats_2020.json")
    with pytest.raises(UserError, match=r"\*_2020.json do not have the names of release 1.0"):
        check_whole(tmp_path, 3, 2020)
    check_whole(tmp_path / "dogs_2020.json", 2, 2020)
    with pytest.raises(UserError, match=r"dogs_2019.json: no file \*_2020.json: name one, or their folder"):
        check_whole(tmp_path / "dogs_2019.json", 3, 2020)


def test_a_downloads_identity_knows_the_year_only_where_one_is_chosen():
    rules = WebConfig(format="redcaps").rules()
    assert "year" not in rules
    assert Rules(**rules).identity() == rules
    chosen = WebConfig(format="redcaps", year=2020).rules()
    assert Rules(**chosen).identity() == chosen == rules | {"year": 2020}


def test_a_downloaded_year_is_a_pack_and_the_other_years_are_not_asked_for(tmp_path, monkeypatch):
    with Server() as server:
        for name, page in (("cats_2019", "gone"), ("cats_2020", "picture"), ("dogs_2020", "png")):
            row = ANNOTATION | {"url": server.url(page), "subreddit": name.partition("_")[0]}
            put(tmp_path / f"annotations/{name}.json", json.dumps({"info": {}, "annotations": [row]}))
        rules, pace = told(format="redcaps", year=2020)
        recipe = {"source": "web", "path": str(tmp_path / "annotations"), "digest": None, "web": rules}
        with pytest.raises(UserError, match=r"2 files .* instead of 350"):
            fetch_pack(recipe, tmp_path / "pack", 0.0, tmp_path / "state", pace)
        monkeypatch.delitem(lists.PUBLISHED_FILES, 2020)
        assert fetch_pack(recipe, tmp_path / "pack", 0.0, tmp_path / "state", pace) == (2, 0)
    rows = Pack(tmp_path / "pack").rows
    assert [(row.group, row.date) for row in rows] == [("cats", "2020-01-01"), ("dogs", "2020-01-01")]

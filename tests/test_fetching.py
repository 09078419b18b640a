"""Archives of a pack are brought together, one failure stops no other; the checklist tells packs that were not made."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import yaml

from vlrepro.data.archives.bringing import bring_all, sizes_text
from vlrepro.data.archives.checklist import as_text, checklist, incomplete
from vlrepro.data.archives.wanted import Wanted, about_of, record_of
from vlrepro.data.sources import web_lists
from vlrepro.data.sources.about import About, Archive
from vlrepro.errors import UserError
from vlrepro.preflight import budget

SET = About("A set", "https://example.org", "MIT", "accuracy", "official", ())


def wanted(folder: Path, name: str, to: str, body: bytes | None = None) -> Wanted:
    """An archive that a person put into its folder, of the size that `body` has."""
    return Wanted(SET, Archive(name, None, to, bytes=None if body is None else len(body)), folder)


def test_archives_come_side_by_side_and_each_failure_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "member").write_bytes(b"1")
    for number in range(9):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            tar.add(tmp_path / "member", f"set{number}/a")
    (tmp_path / "3.tar").write_bytes(b"no tar")
    (tmp_path / "set5").write_bytes(b"a file where a folder belongs")  # the disk's own error
    found = bring_all([wanted(tmp_path, f"{number}.tar", f"set{number}/a") for number in range(9)])
    reasons = [found[wanted(tmp_path, f"{number}.tar", "").key] for number in range(9)]
    assert [number for number, reason in enumerate(reasons) if reason] == [3, 5]
    assert "3.tar: damaged" in str(reasons[3])
    assert str(reasons[5]).startswith(f"{tmp_path}/set5")
    assert not any("\n" in str(reason) for reason in reasons)
    assert [(tmp_path / f"set{number}/a").exists() for number in range(9)] == [not reason for reason in reasons]
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(
        reason or f"{tmp_path}/{number}.tar: there" for number, reason in enumerate(reasons)
    )


def test_sizes_are_said_before_anything_is_brought(tmp_path: Path) -> None:
    known = [wanted(tmp_path, f"{number}", "", bytes(5_000_000)) for number in range(3)]
    assert sizes_text(known) == f"3 archives to bring, {3 * 5e6 / 1e9:.2f} GB"
    assert sizes_text([*known, wanted(tmp_path, "x", "")]).endswith("GB and 1 of unpublished size")


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("reading\nerror: data/x: 3 pictures instead of 5: bring it again\n", "data/x: 3 pictures instead of 5: bring"),
        ("Traceback (most recent call last)\nMemoryError\n", "MemoryError"),
        ("", "stopped without a word"),
    ],
)
def test_a_pack_that_was_not_made_of_what_is_there_is_told_with_its_logs_last_words(
    tmp_path: Path, log: str, reason: str
) -> None:
    entry = {"source": "benchmarks.caltech101", "path": str(tmp_path / "caltech"), "revision": "1"}
    entry |= {"index": str(tmp_path / "index.parquet"), "log": str(tmp_path / "pack.log")}
    (tmp_path / "caltech/101_ObjectCategories").mkdir(parents=True)
    assert incomplete(checklist({"caltech": entry}, {})) == []  # nobody tried
    Path(entry["log"]).write_text(log, encoding="utf-8")
    (item,) = incomplete(checklist({"caltech": entry}, {}))
    assert (item.pack, item.state, item.name, item.folder) == ("caltech", "failed", "", entry["path"])
    assert item.reason.startswith(reason)
    told = as_text(checklist({"caltech": entry}, {}))
    assert f"not made of {entry['path']}: {item.reason}" in told
    assert entry["log"] in told
    assert told.endswith("0 packs whole, 1 not\n")
    Path(entry["index"]).touch()
    assert incomplete(checklist({"caltech": entry}, {})) == []


def test_the_text_names_a_few_of_many_files_and_the_items_name_all(tmp_path: Path) -> None:
    entry = {"source": "webdataset", "path": str(tmp_path / "cc3m"), "revision": "1", "index": "none", "log": "none"}
    items = checklist({"cc3m": entry}, {})
    assert len(incomplete(items)) == len(items) == 576
    text = as_text(items)
    assert text.count("\n      put ") == 5
    assert "and 571 more, up to cc3m-train-0575.tar: all are in checklist.json" in text


def test_the_budget_reads_the_records_that_archives_are_fetched_by() -> None:
    keys = {"path": None, "revision": None, "web": None}
    packs = yaml.safe_load(Path("config/paper.yaml").read_text(encoding="utf-8"))["packs"]
    for name, entry in packs.items():
        source, record = record_of(keys | entry)
        assert budget.about_of(source, name=record) == about_of(keys | entry), name
    for form, own in (("conceptual_captions", "data/my.tsv"), ("redcaps", "data/my_subreddits")):
        assert about_of({"source": "web", "path": own, "web": {"format": form}}) is None
    assert budget.about_of("web_lists", name="") is None
    with pytest.raises(UserError, match="karpathy: set it to one of"):
        record_of({"source": "karpathy", "path": "data/coco", "revision": "1"})


def test_redcaps_annotations_need_nobody() -> None:
    (archive,) = web_lists.REDCAPS.archives
    entry = {"source": "web", "path": "data/redcaps/annotations", "web": {"format": "redcaps"}}
    assert about_of(entry) is web_lists.REDCAPS
    assert Wanted(web_lists.REDCAPS, archive, Path("data/redcaps")).automatic
    assert Path("data/redcaps") / archive.unpacks_to == Path(entry["path"])
    assert archive.sha256 is not None

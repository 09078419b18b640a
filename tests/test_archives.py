"""Published archives: brought whole or not at all, unpacked safely, and told in one checklist."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from vlrepro.data.archives.checklist import as_text, checklist, incomplete
from vlrepro.data.archives.client import Tries, bring
from vlrepro.data.archives.unpack import Bounds, is_unpacked, unpack
from vlrepro.data.archives.wanted import about_of, all_wanted, is_ready
from vlrepro.data.sources.about import Archive
from vlrepro.errors import UserError

BODY = bytes(range(256)) * 4000
UNMADE = {"index": "results/data/none/index.parquet", "log": "logs/none.log"}
QUICK = Tries(attempts=3, pause=0.0, allow_private=True)


class Site(ThreadingHTTPServer):
    """Serves `body` in whole and by range; cuts the first `cuts` answers in their middle; counts what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag, self.cuts, self.failures = BODY, '"1"', 0, 0
        self.ranges: list[str | None] = []

    def url(self, name: str = "a.bin") -> str:
        """The address of a file here."""
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    """One request to a `Site`."""

    server: Site

    def do_GET(self) -> None:
        """Answer with the file, a part of it, an error or a redirect."""
        site = self.server
        asked = self.headers.get("Range")
        site.ranges.append(asked)
        if site.failures:
            site.failures -= 1
            self.send_error(503)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/a.bin")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(asked[6:-1]) if asked and self.headers.get("If-Range") == site.etag else 0
        body = site.body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(site.body) - 1}/{len(site.body)}")
        self.send_header("ETag", site.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if site.cuts:
            site.cuts -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def published(url: str | None, body: bytes = BODY, name: str = "a.bin", to: str = "a.bin") -> Archive:
    return Archive(name, url, to, len(body), hashlib.sha256(body).hexdigest())


def test_a_cut_download_goes_on_where_it_was(site: Site, tmp_path: Path) -> None:
    site.cuts = 1
    assert bring(published(site.url()), tmp_path, QUICK).read_bytes() == BODY
    assert len(site.ranges) == 2
    assert site.ranges[0] is None
    assert site.ranges[1] is not None
    assert int(site.ranges[1][6:-1]) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_file_that_changed_meanwhile_is_taken_from_its_beginning(site: Site, tmp_path: Path) -> None:
    site.cuts = 1
    with pytest.raises(UserError, match="after 1 tries"):
        bring(published(site.url()), tmp_path, Tries(attempts=1, allow_private=True))
    site.body, site.etag = bytes(reversed(BODY)), '"2"'
    assert bring(published(site.url(), site.body), tmp_path, QUICK).read_bytes() == site.body


def test_errors_that_pass_are_tried_again_and_a_second_call_asks_nothing(site: Site, tmp_path: Path) -> None:
    site.failures = 2
    archive = published(site.url("moved"))
    bring(archive, tmp_path, QUICK)
    asked = len(site.ranges)
    assert asked == 4  # two failures, the redirect, the file
    bring(archive, tmp_path, QUICK)
    assert len(site.ranges) == asked


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (Archive("a.bin", "", "a.bin", bytes=len(BODY) + 1), "bytes, published are"),
        (Archive("a.bin", "", "a.bin", bytes=len(BODY) - 1), "bytes, published are"),
        (Archive("a.bin", "", "a.bin", sha256="0" * 64), "its sha256 is"),
        (Archive("a.bin", "", "a.bin", md5="0" * 32), "its md5 is"),
    ],
)
def test_other_bytes_than_the_published_ones_are_not_kept(
    site: Site, tmp_path: Path, archive: Archive, words: str
) -> None:
    wrong = Archive(archive.name, site.url(), archive.unpacks_to, archive.bytes, archive.sha256, archive.md5)
    with pytest.raises(UserError, match=words):
        bring(wrong, tmp_path, QUICK)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/a", "http://127.0.0.1/a", "http://[::1]/a"])
def test_other_schemes_and_private_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="not a"):
        bring(published(url), tmp_path, Tries(attempts=1))


def test_a_file_brought_by_hand_is_checked_and_kept(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"another release")
    with pytest.raises(UserError, match="published are"):
        bring(published(None), tmp_path, QUICK)
    assert (tmp_path / "a.bin").read_bytes() == b"another release"


def tar_of(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz") -> None:
    with tarfile.open(path, mode) as tar:
        for info, body in members:
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_a_plain_tar_named_gz_and_an_archive_in_an_archive_unpack(tmp_path: Path) -> None:
    tar_of(tmp_path / "inner.tar.gz", [(member("set/a.txt"), b"a")], "w")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.write(tmp_path / "inner.tar.gz", "x/inner.tar.gz")
    archive = Archive("outer.zip", None, "set", inner="x/inner.tar.gz")
    unpack(archive, tmp_path)
    assert (tmp_path / "set/a.txt").read_bytes() == b"a"
    assert is_unpacked(archive, tmp_path)
    (tmp_path / "outer.zip").unlink()
    unpack(archive, tmp_path)  # nothing to do, so nothing is read


@pytest.mark.parametrize(
    "info",
    [
        member("../out.txt"),
        member("/out.txt"),
        member("set/../../out.txt"),
        member("set/link", tarfile.SYMTYPE, "/etc"),
        member("set/link", tarfile.LNKTYPE, "set/a"),
        member("set/device", tarfile.CHRTYPE),
        member("set/pipe", tarfile.FIFOTYPE),
    ],
)
def test_hostile_tars_are_refused_and_the_partial_copy_is_seen(tmp_path: Path, info: tarfile.TarInfo) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    tar_of(folder / "a.tgz", [(member("set/first"), b"1"), (info, b"")])
    archive = Archive("a.tgz", None, "set")
    with pytest.raises(UserError, match="bring the published archive"):
        unpack(archive, folder)
    assert not is_unpacked(archive, folder)
    assert not (tmp_path / "out.txt").exists()
    tar_of(folder / "a.tgz", [(member("set/first"), b"2")])
    unpack(archive, folder)
    assert is_unpacked(archive, folder)
    assert (folder / "set/first").read_bytes() == b"2"


def test_zips_that_lead_out_link_or_grow_too_large_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("set/link")
    link.external_attr = 0o120777 << 16
    for number, (name, bounds) in enumerate([("../out", Bounds()), (link, Bounds()), ("set/a", Bounds(bytes=2))]):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            archive.writestr(name, "abc")
        with pytest.raises(UserError, match="bring the published archive"):
            unpack(Archive(f"{number}.zip", None, "set"), tmp_path, bounds)
    assert not (tmp_path.parent / "out").exists()


def test_a_damaged_archive_and_one_of_something_else_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match=r"a\.tar: damaged"):
        unpack(Archive("a.tar", None, "set"), tmp_path)
    tar_of(tmp_path / "b.tgz", [(member("other/a"), b"1")])
    with pytest.raises(UserError, match="holds no set"):
        unpack(Archive("b.tgz", None, "set"), tmp_path)


def paper_packs() -> dict[str, dict]:
    keys = {"path": None, "revision": None, "web": None}
    packs = yaml.safe_load(Path("config/paper.yaml").read_text(encoding="utf-8"))["packs"]
    return {name: keys | entry for name, entry in packs.items()}


def test_every_pack_of_official_archives_has_a_record() -> None:
    for name, entry in paper_packs().items():
        if entry["source"].startswith("benchmarks.") or entry["source"] in ("karpathy", "imagenet_s", "web"):
            about = about_of(entry)
            assert about is not None, name
            assert about.archives, name
            assert about.home_page.startswith("http"), name
            by_hand = [archive.name for archive in about.archives if archive.url is None]
            assert bool(by_hand) <= bool(about.by_hand), name


def test_published_digests_and_addresses_are_well_formed() -> None:
    for wanted in all_wanted(paper_packs().values()).values():
        archive = wanted.archive
        assert archive.url is None or archive.url.startswith(("http://", "https://"))
        for digest, length in ((archive.sha256, 64), (archive.md5, 32)):
            assert digest is None or (len(digest) == length and set(digest) <= set("0123456789abcdef"))


def test_consent_is_never_stepped_around() -> None:
    named = {name: about_of(entry) for name, entry in paper_packs().items()}
    for name in ("imagenet", "imagenet_probe"):
        about = named[name]
        assert about is not None
        assert all(archive.url is None and archive.arranged for archive in about.archives)


def test_the_documents_name_every_archive() -> None:
    text = Path("docs/packs.md").read_text(encoding="utf-8")
    for name, entry in paper_packs().items():
        if entry["source"].startswith("benchmarks.") and f"`{entry['source']}`" in text:
            line = next(line for line in text.splitlines() if line.startswith(f"| `{entry['source']}`"))
            about = about_of(entry)
            assert about is not None
            for archive in about.archives:
                assert f"`{archive.name}`" in line, (name, archive.name)


def test_the_checklist_says_what_is_there_and_what_belongs_where(tmp_path: Path) -> None:
    packs = {
        "flowers": {"source": "benchmarks.flowers102", "path": str(tmp_path / "flowers"), "revision": "1"} | UNMADE,
        "cars": {"source": "benchmarks.stanford_cars", "path": str(tmp_path / "cars"), "revision": "1"} | UNMADE,
        "mine": {"source": "folder", "path": str(tmp_path / "mine"), "revision": "1"} | UNMADE,
    }
    wanted = {one.archive.name: one for one in all_wanted([packs["flowers"]]).values()}
    for made in ("flowers/jpg", "flowers/imagelabels.mat", "mine"):
        (tmp_path / made).mkdir(parents=True)
    failures = {wanted["102flowers.tgz"].key: None, wanted["setid.mat"].key: "no answer"}
    items = checklist(packs, failures)
    states = {item.name: item.state for item in items if item.pack == "flowers"}
    assert states == {"102flowers.tgz": "fetched", "imagelabels.mat": "there", "setid.mat": "failed"}
    assert {item.state for item in items if item.pack == "cars"} == {"missing"}
    text = as_text(items)
    assert f"put {tmp_path}/cars/cars_train.tgz, or unpacked as {tmp_path}/cars/cars_train (979,269,282 bytes" in text
    assert "tried: no answer" in text
    assert "[x] mine: there" in text
    assert "1 packs whole, 2 not" in text
    assert not is_ready(packs["flowers"])
    assert is_ready(packs["mine"])
    (tmp_path / "flowers/setid.mat").touch()
    assert is_ready(packs["flowers"])
    assert incomplete(checklist({"flowers": packs["flowers"]}, {})) == []
    (tmp_path / "index.parquet").touch()
    made = packs["cars"] | {"index": str(tmp_path / "index.parquet")}
    assert incomplete(checklist({"cars": made}, {})) == []  # archives of a pack that is made may be deleted


def test_the_scripts_bring_what_they_can_and_then_tell_what_is_missing(tmp_path: Path) -> None:
    source = tmp_path / "data/caltech101"
    source.mkdir(parents=True)
    (source / "caltech-101.zip").write_bytes(b"a partial copy")
    cars = tmp_path / "data/cars"
    cars.mkdir()
    tar_of(cars / "car_devkit.tgz", [(member("devkit/a"), b"1")])
    packs = {
        "caltech101": {"source": "benchmarks.caltech101", "path": str(source), "revision": "1"} | UNMADE,
        "cars": {"source": "benchmarks.stanford_cars", "path": str(cars), "revision": "1"} | UNMADE,
    }
    out = tmp_path / "fetch"
    keys = {one.archive.name: key for key, one in all_wanted(packs.values()).items()}
    reasons = {}
    for pack, entry in packs.items():
        output = out / f"archives/{pack}.json"
        ran = script("fetch_archives", "--name", pack, "--pack", json.dumps(entry), "--output", str(output))
        assert ran.returncode == 0, ran.stderr  # what failed must not stop the others
        assert f"{pack}: 1 archives to bring, " in ran.stdout
        reasons |= json.loads(output.read_text())["archives"]
    wrong = hashlib.md5(b"a partial copy", usedforsecurity=False).hexdigest()[:12]
    assert reasons.keys() == {keys["caltech-101.zip"], keys["car_devkit.tgz"]}
    assert f"its md5 is {wrong}" in reasons[keys["caltech-101.zip"]]
    assert "published are 330,960" in reasons[keys["car_devkit.tgz"]]
    table = out / "packs.json"
    table.write_text(json.dumps(packs))
    places = ["--packs", str(table), "--folder", str(out)]
    ran = script("write_checklist", *places)
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "5 files to supply or mend for caltech101, cars" in ran.stderr
    assert list((out / "archives").iterdir()) == []  # the next run tries again
    table.write_text(json.dumps(packs))
    for name in ("caltech101/101_ObjectCategories", "cars/devkit", "cars/cars_train", "cars/cars_test"):
        (tmp_path / "data" / name).mkdir()
    (cars / "cars_test_annos_withlabels.mat").touch()
    ran = script("write_checklist", *places)
    assert ran.returncode == 0, ran.stderr
    assert "2 packs whole, 0 not" in ran.stdout


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"workflow/scripts/{name}.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": "src"}, check=False)

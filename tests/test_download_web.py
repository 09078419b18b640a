"""Downloading from a server that misbehaves: every way ends as the ledger's word for it, and nothing else suffers."""

import hashlib
import io
import json
import shutil
import socket
import subprocess
import time

import pyarrow.parquet as pq
import pytest
from conftest import run_script
from misbehaving_server import LONG_CUT, PICTURE, Server, encoded, gif, list_of, told
from PIL import Image

from vlrepro.data.download import addresses
from vlrepro.data.fetch import fetch_pack
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.files import write_json


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


def fetched(folder, urls, **changes):
    """The ledger's rows, after a download of `urls` into <folder>/pack."""
    rules, pace = told(**changes)
    source = list_of(folder / "list.tsv", urls)
    recipe = {"source": "web", "path": str(source), "digest": None, "web": rules}
    fetch_pack(recipe, folder / "pack", 0.0, folder / "state", pace)
    return pq.read_table(folder / "pack/ledger.parquet").to_pylist()


def closed_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


# path -> (reason, status, tries)
WAYS = {
    "picture": ("ok", 200, 1),
    "wrong_type": ("ok", 200, 1),
    "png": ("ok", 200, 1),
    "webp": ("ok", 200, 1),
    "bmp": ("ok", 200, 1),
    "gif": ("ok", 200, 1),
    "gzipped": ("ok", 200, 1),
    "robots_other": ("ok", 200, 1),
    "busy_then_ok": ("ok", 200, 2),
    "busy_until_date": ("ok", 200, 2),
    "error_then_ok": ("ok", 200, 2),
    "chain/5": ("ok", 200, 1),
    "bildschön/ü?q=a b": ("ok", 200, 1),
    "chain/6": ("redirect", 302, 1),
    "loop": ("redirect", 302, 1),
    "nowhere": ("redirect", 302, 1),
    "to/file": ("scheme", 0, 1),
    "to/data": ("scheme", 0, 1),
    "to/removed": ("removed_placeholder", 0, 1),
    "reset_at_once": ("reset", 0, 3),
    "close_at_once": ("reset", 0, 3),
    "reset_mid_body": ("cut_short", 0, 3),
    "chunk_cut": ("cut_short", 0, 3),
    "long_length": ("cut_short", 0, 3),
    "truncated": ("decode", 200, 1),
    "gzip_broken": ("decode", 200, 1),
    "drip": ("timeout", 0, 2),
    "drip_headers": ("timeout", 0, 2),
    "silence": ("timeout", 0, 2),
    "header_flood": ("bad_response", 0, 1),
    "html_as_jpeg": ("not_image", 200, 1),
    "svg": ("not_image", 200, 1),
    "empty": ("empty", 200, 1),
    "tiny": ("too_small", 200, 1),
    "png_bomb": ("bomb", 200, 1),
    "gif_bomb": ("bomb", 200, 1),
    "gzip_bomb": ("too_big", 200, 1),
    "declared_big": ("too_big", 200, 1),
    "endless": ("too_big", 200, 1),
    "robots": ("robots", 200, 1),
    "robots_us": ("robots", 200, 1),
    "not_modified": ("http_304", 304, 1),
    "forbidden": ("http_403", 403, 1),
    "missing": ("http_404", 404, 1),
    "gone": ("http_410", 410, 1),
    "not_implemented": ("http_501", 501, 1),
    "unavailable": ("http_503", 503, 3),
}
SLOW = {path for path, (reason, _, _) in WAYS.items() if reason == "timeout"}


def test_every_way_of_misbehaving_has_its_reason(server, tmp_path):
    """All at once, on connections that are used again: no way spoils another's."""
    quick = [path for path in WAYS if path not in SLOW]
    rows = fetched(tmp_path, map(server.url, quick))
    found = {path: (row["reason"], row["http_status"], row["attempts"]) for path, row in zip(quick, rows, strict=True)}
    assert found == {path: WAYS[path] for path in quick}
    assert [row["status"] for row in rows] == ["ok" if WAYS[path][0] == "ok" else "failed" for path in quick]
    pack = Pack(tmp_path / "pack")
    assert [row.key for row in pack.rows] == [f"{i:09d}" for i, path in enumerate(quick) if WAYS[path][0] == "ok"]
    assert pack.rows[0].caption == "caption 0"
    assert pack.rows[0].source == server.url("picture")
    assert rows[0]["sha256"] == hashlib.sha256(PICTURE).hexdigest()
    assert (rows[0]["bytes"], rows[0]["width"], rows[0]["height"]) == (len(PICTURE), 40, 30)
    counts = json.loads((tmp_path / "pack/ledger.summary.json").read_text())
    assert counts["ok"] == sum(reason == "ok" for reason, _, _ in WAYS.values())
    assert counts["share_missing"] == pytest.approx(1 - counts["ok"] / len(quick), abs=1e-6)
    assert sum(counts["by_reason"].values()) == counts["urls"] == len(quick)
    assert not (tmp_path / "state").exists()


def test_what_timing_decides_is_either_of_two(server, tmp_path):
    """A kept connection that breaks may be replaced within a try; what follows a body's end may be seen or not."""
    rows = fetched(tmp_path, [server.url("reset_once"), server.url("short_length"), server.url("picture")])
    assert (rows[0]["reason"], rows[0]["attempts"] in (1, 2)) == ("ok", True)
    assert rows[1]["reason"] in ("decode", "bad_response")
    assert rows[2]["reason"] == "ok"


def test_slow_servers_hold_no_connection_longer_than_the_deadline(server, tmp_path):
    start = time.monotonic()
    paths = [*sorted(SLOW), "picture"]
    rows = fetched(tmp_path, map(server.url, paths), attempts=2)
    found = {path: (row["reason"], row["http_status"], row["attempts"]) for path, row in zip(paths, rows, strict=True)}
    assert found == {path: WAYS[path] for path in paths}
    assert time.monotonic() - start < 30  # the slowest would take for ever
    assert all(row["seconds"] < 15 for row in rows)


def test_what_is_no_web_address_is_not_asked_for(server, tmp_path):
    urls = {
        "file:///etc/passwd": "scheme",
        "ftp://127.0.0.1/a.jpg": "scheme",
        "data:image/png;base64,AAAA": "scheme",
        "javascript:1": "scheme",
        "": "scheme",
        "just words": "scheme",
        "http:///picture": "url",
        "http://user:secret@127.0.0.1/picture": "url",
        "http://[::1/picture": "url",
        "http://127.0.0.1:99999/picture": "url",
        f"http://127.0.0.1:{closed_port()}/picture": "connect",
        "http://no.such.host.invalid/picture": "dns",
        server.url("picture"): "ok",
    }
    rows = fetched(tmp_path, urls, attempts=1)
    assert {row["url"]: row["reason"] for row in rows} == urls


def test_private_addresses_are_refused_however_they_are_written(server, tmp_path):
    """No request arrives, whether the address stands in the URL, hides behind a name, a number or a redirect."""
    hosts = ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0")
    urls = [server.url("private_probe", host) for host in hosts]
    with pytest.raises(UserError, match=r"URLs brought a picture .*private_address"):
        fetched(tmp_path, urls, allow_private=False)
    rows = pq.read_table(tmp_path / "pack/ledger.parquet").to_pylist()
    assert {row["reason"] for row in rows} <= {"private_address", "url"}
    assert rows[1]["reason"] == "private_address"
    assert server.counts["/private_probe"] == 0


def test_redirects_to_private_addresses_are_refused(server, tmp_path, monkeypatch):
    """The first address counts as public here; the one redirected to does not."""
    monkeypatch.setattr("vlrepro.data.download.client._private_literal", lambda host: False)
    judge = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1" or judge(address))
    rows = fetched(tmp_path, [server.url("to/private"), server.url("picture")], allow_private=False)
    assert [row["reason"] for row in rows] == ["private_address", "ok"]


def test_names_are_judged_by_the_addresses_that_would_be_connected_to(server, tmp_path, monkeypatch):
    """Whatever a name said before (DNS rebinding), each of its addresses is checked as the connection is made."""
    original = socket.getaddrinfo

    def rebound(host, port, *rest, **options):
        if host == "rebind.example":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port)) for place in ("10.0.0.1", "127.0.0.1")]
        return original(host, port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    url = server.url("rebind_probe", "rebind.example")
    with pytest.raises(UserError, match=r"URLs brought a picture .*private_address"):
        fetched(tmp_path, [url], allow_private=False)
    assert pq.read_table(tmp_path / "pack/ledger.parquet")["reason"].to_pylist() == ["private_address"]
    assert server.counts["/rebind_probe"] == 0
    (tmp_path / "b").mkdir()
    assert fetched(tmp_path / "b", [url])[0]["reason"] == "ok"  # the name does lead there where that is allowed


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate that nobody vouches for")
def test_certificates_are_checked(server, tmp_path):
    own = tmp_path / "own.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
    subprocess.run([*command.split(), "-keyout", own, "-out", tmp_path / "cert"], check=True, capture_output=True)
    own.write_text(own.read_text() + (tmp_path / "cert").read_text())
    with Server(certificate=own) as secure:
        url = f"https://localhost:{secure.port}/picture"
        rows = fetched(tmp_path, [url, server.url("picture")])
        assert [row["reason"] for row in rows] == ["tls", "ok"]
        assert not secure.seen


def test_requests_say_who_asks_and_carry_no_secrets(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    rules, pace = told()
    pace |= {"home_page": "https://example.org/us", "contact": "a@example.org"}
    source = list_of(tmp_path / "list.tsv", [server.url("who")])
    recipe = {"source": "web", "path": str(source), "digest": None, "web": rules}
    assert fetch_pack(recipe, tmp_path / "pack", 0.0, tmp_path / "state", pace) == (1, 0)
    (headers,) = (headers for path, headers in server.seen if path == "/who")
    assert headers["user-agent"].startswith("vlrepro/")
    assert "+https://example.org/us" in headers["user-agent"]
    assert "a@example.org" in headers["user-agent"]
    assert headers["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "referer"} & set(headers)


def test_retry_after_is_honoured_up_to_the_longest_wait(server, tmp_path):
    start = time.monotonic()
    fetched(tmp_path, [server.url("busy_then_ok/1")])
    assert time.monotonic() - start >= 1.0
    start = time.monotonic()
    (tmp_path / "b").mkdir()
    fetched(tmp_path / "b", [server.url("busy_for_long/2")], longest_wait=0.2)
    assert time.monotonic() - start < 3600  # it came at all


def test_pack_bytes_do_not_depend_on_timing(tmp_path):
    urls = [f"row/{number}" for number in range(40)]
    digests = set()
    for name, moment, connections in (("a", 0.0, 1), ("b", 0.02, 32)):
        with Server(moment) as server:
            (tmp_path / name).mkdir()
            fetched(tmp_path / name, map(server.url, urls), per_host=connections)
            pack = Pack(tmp_path / name / "pack")
            digests.add(tuple(hashlib.sha256(pack.picture(row)).hexdigest() for row in range(40)))
            assert [row.caption for row in pack.rows] == [f"caption {number}" for number in range(40)]
    assert len(digests) == 1


def test_the_script_downloads_and_dead_links_do_not_count_as_bad_pictures(server, tmp_path, monkeypatch):
    rules, pace = told()
    source = list_of(tmp_path / "list.tsv", map(server.url, ("missing", "picture", "html_as_jpeg", "gone")))
    write_json(tmp_path / "recipe.json", {"source": "web", "path": str(source), "digest": None, "web": rules})
    options = {"recipe": tmp_path / "recipe.json", "limit": 0, "output": tmp_path / "pack/index.parquet"}
    with pytest.raises(SystemExit):
        run_script("fetch_pack.py", monkeypatch, **options)
    run_script("fetch_pack.py", monkeypatch, **options, state=tmp_path / "state", pace=json.dumps(pace))
    assert [row.key for row in Pack(tmp_path / "pack").rows] == ["000000001"]
    assert (tmp_path / "pack/rejected.csv").read_text() == "key,shard,reason\n"


def test_helpers_make_what_they_say():
    """The traps are traps: else the tests above would prove nothing."""
    assert Image.open(io.BytesIO(gif(60))).n_frames == 60
    assert Image.open(io.BytesIO(LONG_CUT)).size == (200, 200)
    assert Image.open(io.BytesIO(encoded("PNG"))).format == "PNG"

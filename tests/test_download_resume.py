"""Interrupted downloads: killed, cut short, without a network, with decoders that die; nothing lost, nothing twice."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, astuple
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from misbehaving_server import PICTURE, Server, list_of, told

from vlrepro.data.download import decoders, run
from vlrepro.data.download.decoders import Decoders
from vlrepro.data.download.journal import Journal
from vlrepro.data.download.options import Pace, Rules
from vlrepro.data.download.outcomes import Outcome
from vlrepro.data.download.pictures import pack_picture
from vlrepro.data.fetch import bring
from vlrepro.errors import UserError
from vlrepro.files import file_digest

ROWS = 120
# The journal is written every eight rows, so that a kill finds some written and some not.
CHILD = """
import functools, json, sys
from vlrepro.data.sources import web
web.Journal = functools.partial(web.Journal, rows=8)
path, folder, rules, state, pace = sys.argv[1:]
web.fetch(path, folder, json.loads(rules), state, json.loads(pace))
"""


def ledger(folder):
    """The rows without their seconds, which no two downloads share."""
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in pq.read_table(folder / "ledger.parquet").to_pylist()
    ]


def journal_lines(state):
    path = state / "journal.jsonl"
    return path.read_bytes().splitlines(keepends=True)[1:] if path.exists() else []


def start(source, folder, state):
    rules, pace = told(connections=6)
    command = [sys.executable, "-c", CHILD, source, folder, json.dumps(rules), state, json.dumps(pace)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([str(part) for part in command], env=environment)


def test_killed_downloads_lose_and_double_nothing(tmp_path):
    """SIGKILL after a quarter and after a half, then to the end: the same files as without, each row once."""
    with Server(moment=0.03) as server:
        source = list_of(tmp_path / "list.tsv", (server.url(f"numbered/{row}") for row in range(ROWS)))
        state = tmp_path / "state"
        for part in (ROWS // 4, ROWS // 2):
            child = start(source, tmp_path / "killed", state)
            while len(journal_lines(state)) < part:
                assert child.poll() is None, "ended before it could be killed"
                time.sleep(0.01)
            child.send_signal(signal.SIGKILL)
            child.wait()
        written = len(journal_lines(state))
        assert ROWS // 2 <= written < ROWS
        asked = sum(server.counts.values())
        assert start(source, tmp_path / "killed", state).wait() == 0
        assert sum(server.counts.values()) - asked == ROWS - written  # what was written down is not asked for again
        rows = [json.loads(line)[0] for line in journal_lines(state)]
        assert sorted(rows) == list(range(ROWS))
        rules, pace = told()
        bring({"source": "web", "path": source, "digest": None, "web": rules}, tmp_path / "whole", tmp_path / "s", pace)
    assert ledger(tmp_path / "killed") == ledger(tmp_path / "whole")
    assert [row["key"] for row in ledger(tmp_path / "killed")] == [f"{row:09d}" for row in range(ROWS)]
    names = {path.name for path in (tmp_path / "whole").iterdir()} - {"ledger.parquet"}
    assert names == {"SHA256SUMS", "index.parquet", "shard-000000.tar", "ledger.summary.json"}
    assert all(file_digest(tmp_path / "killed" / name) == file_digest(tmp_path / "whole" / name) for name in names)


def test_journals_survive_being_cut_anywhere(tmp_path):
    """Whatever prefix of the lines and whatever beyond it of the pictures reached the disk."""
    with Journal(tmp_path / "whole", "us") as journal:
        for row in range(5):
            journal.add(Outcome(row, "ok"), b"picture %d" % row)
            journal.add(Outcome(row + 10, "http_404", http=404))
    lines = (tmp_path / "whole/journal.jsonl").read_bytes()
    pictures = (tmp_path / "whole/pictures.bin").read_bytes()
    for number, cut in enumerate(range(0, len(lines) + 1, 7)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(lines[:cut])
        (folder / "pictures.bin").write_bytes(pictures + b"not yet written down")
        with Journal(folder, "us") as journal:
            assert len(journal.outcomes) == max(0, lines[:cut].count(b"\n") - 1)
            for row in range(5):
                if row not in journal.outcomes:
                    journal.add(Outcome(row, "ok"), b"picture %d" % row)
        with Journal(folder, "us") as journal:
            assert [journal.picture(journal.outcomes[row]) for row in range(5)] == [b"picture %d" % i for i in range(5)]


def test_journals_of_others_and_damaged_ones_are_refused(tmp_path):
    with Journal(tmp_path, "us") as journal:
        journal.add(Outcome(0, "ok"), PICTURE)
        with pytest.raises(AssertionError, match="row 0 ended twice"):
            journal.add(Outcome(0, "dns"))
    with pytest.raises(UserError, match=r"another list or under other rules: delete the folder.*another revision"):
        Journal(tmp_path, "them")
    path = tmp_path / "journal.jsonl"
    lines = path.read_bytes()
    for line in (b"[1, 2]\n", b"nonsense\n", b"{}\n"):
        path.write_bytes(lines + line)
        with pytest.raises(UserError, match=r"line 3 of journal.jsonl is damaged: delete the folder"):
            Journal(tmp_path, "us")
    path.write_bytes(lines)
    (tmp_path / "pictures.bin").write_bytes(PICTURE[:-1])
    with pytest.raises(UserError, match=r"pictures.bin is shorter than the journal says"):
        Journal(tmp_path, "us")
    path.write_bytes(b"[]\n")
    with pytest.raises(UserError, match=r"journal.jsonl is damaged"):
        Journal(tmp_path, "us")


def test_lines_are_written_after_what_they_point_at(tmp_path, monkeypatch):
    """A line on disk never points beyond the pictures on disk, whenever the power fails."""
    seen = []

    def sync(handle):
        sizes = [(tmp_path / name).stat().st_size for name in ("journal.jsonl", "pictures.bin")]
        seen.append((Path(f"/proc/self/fd/{handle}").readlink().name, *sizes))

    monkeypatch.setattr(os, "fsync", sync)
    with Journal(tmp_path, "us", rows=3) as journal:
        for row in range(7):
            journal.add(Outcome(row, "ok"), bytes(10))
    assert [name for name, *_ in seen] == ["journal.jsonl", *["pictures.bin", "journal.jsonl"] * 3]
    assert [size for name, _, size in seen if name == "pictures.bin"] == [30, 60, 70]
    growth = [size for name, size, _ in seen if name == "journal.jsonl"]
    assert growth == sorted(growth)
    assert len(astuple(Outcome(0, "ok"))) == len(json.loads(journal_lines(tmp_path)[0]))


def test_an_outage_is_not_taken_for_dead_links(tmp_path, monkeypatch):
    """With no network all names fail: the download stops and says so; the next one asks for them again."""
    monkeypatch.setattr(run, "OUTAGE", 30)
    monkeypatch.setattr(run, "OUTAGE_HOSTS", 10)
    rules, pace = told(attempts=1)
    with Server() as server:
        urls = [server.url(f"row/{row}") for row in range(5)]
        dead = [f"http://127.0.1.{number % 20 + 1}:9/{number}" for number in range(60)]
        with Journal(tmp_path, "us") as journal:
            run.download(iter(urls), journal, Rules(**rules), Pace(**pace))
            with pytest.raises(UserError, match=r"no host of the last 30 URLs can be reached: mend the network"):
                run.download(itertools.chain(urls, dead), journal, Rules(**rules), Pace(**pace))
            assert sorted(journal.outcomes) == [0, 1, 2, 3, 4]
        mixed = [url for pair in zip(dead[:10], urls * 2, strict=True) for url in pair]
        with Journal(tmp_path / "b", "us") as journal:
            run.download(iter(mixed), journal, Rules(**rules), Pace(**pace))
            reasons = [journal.outcomes[row].reason for row in range(20)]
    assert reasons == ["connect", "ok"] * 10


def test_a_decoder_that_dies_or_stalls_costs_one_picture(monkeypatch, tmp_path):
    """The worker here dies at pictures that begin with D and stalls at those with S."""
    program = tmp_path / "fragile.py"
    program.write_text(
        "import os, time\nfrom vlrepro.data.download import worker\npack = worker.pack_picture\n"
        "def fragile(data, rules):\n"
        "    if data[:1] == b'D':\n        os._exit(1)\n"
        "    if data[:1] == b'S':\n        time.sleep(60)\n"
        "    return pack(data, rules)\n"
        "worker.pack_picture = fragile\nworker.main()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    rules = Rules(**told()[0])

    real = decoders.worker
    fragile = SimpleNamespace(
        __name__="fragile", READY=real.READY, LENGTH=real.LENGTH, LENGTHS=real.LENGTHS, decode_answer=real.decode_answer
    )
    monkeypatch.setattr(decoders, "worker", fragile)

    async def all_of():
        async with Decoders(rules, 2, seconds=2.5) as pool:
            return await asyncio.gather(*map(pool.pack, [PICTURE, b"D", PICTURE, b"S", PICTURE, b"D", PICTURE, b"x"]))

    found = [packed.reason for packed in asyncio.run(all_of())]
    assert found == ["ok", "decode", "ok", "decode", "ok", "decode", "ok", "not_image"]


def test_workers_that_do_not_start_are_an_error_not_a_bad_picture(monkeypatch):
    monkeypatch.setattr(decoders, "worker", SimpleNamespace(__name__="no_such_module", READY=b"R"))
    with pytest.raises(UserError, match="-m no_such_module: it does not start: run it to see why"):
        asyncio.run(packed(PICTURE))


async def packed(data):
    async with Decoders(Rules(**told()[0]), 1) as pool:
        return await pool.pack(data)


def test_workers_say_what_the_function_says():
    assert asdict(asyncio.run(packed(PICTURE))) == asdict(pack_picture(PICTURE, Rules(**told()[0])))

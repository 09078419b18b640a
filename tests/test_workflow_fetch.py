"""`snakemake fetch` as a user runs it: what is there is packed, what a person must supply is told last."""

import io
import json
import os
import re
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from PIL import Image
from workflow_runs import ROOT, TINY, make_clone, planned_jobs, snakemake

pytestmark = pytest.mark.workflow

FEW = {"tables": ["captions"]}  # three packs: reference, digits, openmoji_line
# In the folder that jobs' Python looks into first: a set of two archives on this machine's own server.
SITE = """
from vlrepro.data.archives import client
from vlrepro.data.sources import webdataset
from vlrepro.data.sources.about import About, Archive

client.is_public, client.guarded_socket = (lambda host: True), None
archives = tuple(Archive(name, f"{url}/{{name}}", name, bytes=size) for name, size in {sizes})
webdataset.ABOUT = About("Two files", "https://example.org", "CC0-1.0", "", "none", archives)
"""


@pytest.fixture
def clone(tmp_path):
    return make_clone(tmp_path / "clone")


def configure(clone, name, packs):
    """Options of a tiny configuration of few packs, some of them from elsewhere."""
    entries = {pack: {"revision": "1", "digest": None} | entry for pack, entry in packs.items()}
    (clone / name).write_text(yaml.safe_dump(FEW | {"packs": entries}), encoding="utf-8")
    return (*TINY, name)


def jobs_run(ran):
    """The rule of every job that a run started, sorted, less those that write recipes."""
    rules = re.findall(r"^local(?:rule|checkpoint) (\w+):", ran.stdout + ran.stderr, re.MULTILINE)
    return sorted(rule for rule in rules if rule != "write_recipe")


def items_of(clone):
    return json.loads((clone / "results/tiny/fetch/checklist.json").read_text(encoding="utf-8"))


def test_missing_files_are_told_after_all_else_is_done(clone):
    cars = {"source": "benchmarks.stanford_cars", "path": "data/cars"}
    ran = snakemake(clone, "fetch", "--cores", 1, *configure(clone, "cars.yaml", {"digits": cars}), check=False)
    assert ran.returncode != 0
    assert "4 files to supply or mend for digits" in ran.stdout + ran.stderr
    assert {item["folder"] for item in items_of(clone) if item["pack"] == "digits"} == {"data/cars"}
    made = {path.parent.name.rpartition("-")[0] for path in clone.glob("results/data/*/index.parquet")}
    assert made == {item["pack"] for item in items_of(clone)} - {"digits"} == {"reference", "openmoji_line"}


def tar_of_pictures(keys):
    """A tar file of pictures and captions as WebDataset has them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for key in keys:
            picture = io.BytesIO()
            Image.new("RGB", (32, 32), (key, 90, 200)).save(picture, "JPEG")
            for name, body in ((f"{key:03d}.jpg", picture.getvalue()), (f"{key:03d}.txt", b"a blue square")):
                info = tarfile.TarInfo(name)
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


@pytest.fixture
def server():
    """Serves the files of `bodies`, counts what it is asked in `asked`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path[1:]
            self.server.asked.append(name)
            body = self.server.bodies.get(name, b"")
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.asked, site.bodies = [], {"a.tar": tar_of_pictures(range(3)), "b.tar": tar_of_pictures(range(3, 5))}
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.shutdown()
    thread.join()
    site.server_close()


def test_archives_are_brought_once_and_what_was_left_over_or_cannot_be_packed_stops_nothing(clone, server, tmp_path):
    sizes = [(name, len(body)) for name, body in server.bodies.items()]
    (tmp_path / "site").mkdir()
    text = SITE.format(url=f"http://127.0.0.1:{server.server_port}", sizes=sizes)
    (tmp_path / "site/sitecustomize.py").write_text(text, encoding="utf-8")

    def fetch(*arguments):
        library = os.pathsep.join([str(tmp_path / "site"), str(ROOT / "src")])
        return snakemake(clone, "fetch", "--cores", 2, *arguments, check=False, library=library)

    two = {"source": "webdataset", "path": "data/two"}
    (clone / "data/stl10/stl10_binary").mkdir(parents=True)  # another set's folder, without what should be in it
    mixed = {"reference": two, "digits": {"source": "benchmarks.stl10", "path": "data/stl10"}, "openmoji_line": two}
    options = configure(clone, "mixed.yaml", mixed)
    whole = server.bodies.copy()
    del server.bodies["b.tar"]
    # As an interrupted run leaves it: what was tried is written down, and nobody was told.
    stopped = fetch("--until", "archives", *options)
    assert stopped.returncode == 0, stopped.stderr
    (record,) = (clone / "results/tiny/fetch/archives").iterdir()  # two packs of one folder, one job
    left = json.loads(record.read_text(encoding="utf-8"))["archives"]
    assert left["data-two-a.tar"] is None
    assert "HTTP status 404" in left["data-two-b.tar"]
    assert sorted(server.asked) == ["a.tar", "b.tar"]

    server.bodies |= whole
    ran = fetch(*options)
    assert ran.returncode == 1
    assert "MissingOutputException" not in ran.stderr  # the script's own failure counts, though `tee` succeeds
    assert server.asked[2:] == ["b.tar"]
    states = {(item["pack"], item["name"]): item["state"] for item in items_of(clone)}
    assert states["reference", "a.tar"] == states["openmoji_line", "a.tar"] == "there"
    assert states["reference", "b.tar"] == states["openmoji_line", "b.tar"] == "fetched"
    assert states["digits", ""] == "failed"
    said = (ran.stdout + ran.stderr).splitlines()
    assert "[x] reference: there; fetched: b.tar" in said
    assert "[ ] digits: STL-10" in said
    assert [line for line in said if line.startswith("      not made of data/stl10: data/stl10/stl10_binary/")]
    assert "2 packs whole, 1 not" in said
    assert sum(line.startswith("error: results/tiny/fetch/checklist.txt") for line in said) == 1

    del mixed["digits"]  # the one that ships with the project
    ran = fetch(*configure(clone, "whole.yaml", mixed))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 packs whole, 0 not" in ran.stdout + ran.stderr
    assert len(server.asked) == 3
    assert jobs_run(ran) == ["archives", "fetch", "fetch_pack"]  # of digits: nothing is brought or packed again
    assert not list((clone / "results/tiny/fetch/archives").iterdir())


def test_archives_are_a_job_a_pack_in_a_dry_run_at_paper_scale(clone):
    jobs = planned_jobs(snakemake(clone, "-n", "fetch", "--configfile", "config/paper.yaml").stdout)
    assert jobs["archives"] == jobs["fetch"] == 1
    assert 20 <= jobs["fetch_archives"] <= len(yaml.safe_load((clone / "config/paper.yaml").read_text())["packs"])

"""`snakemake fetch` as a user runs it: what is there is packed, what a person must supply is told last."""

import json

import pytest
import yaml
from workflow_runs import TINY, make_clone, planned_jobs, snakemake

pytestmark = pytest.mark.workflow


@pytest.fixture
def clone(tmp_path):
    return make_clone(tmp_path / "clone")


def test_missing_files_are_told_after_all_else_is_done_and_then_nothing_is_missing(clone):
    name = "digits"
    missing = {"packs": {name: {"source": "benchmarks.stanford_cars", "path": "data/cars", "digest": None}}}
    missing["packs"][name]["revision"] = "1"
    (clone / "missing.yaml").write_text(yaml.safe_dump(missing), encoding="utf-8")
    ran = snakemake(clone, "fetch", "--cores", 1, "--configfile", "config/config.yaml", "missing.yaml", check=False)
    assert ran.returncode != 0
    assert "4 files to supply for digits" in ran.stdout + ran.stderr
    items = json.loads((clone / "results/pocket/fetch/checklist.json").read_text(encoding="utf-8"))
    assert {item["folder"] for item in items if item["pack"] == "digits"} == {"data/cars"}
    made = {path.parent.name.rpartition("-")[0] for path in clone.glob("results/data/*/index.parquet")}
    assert made == {item["pack"] for item in items} - {"digits"}
    whole = snakemake(clone, "fetch", "--cores", 1)
    assert f"{len(made) + 1} packs whole, 0 not" in whole.stdout + whole.stderr


def test_every_archive_is_a_job_of_its_own_in_a_dry_run_at_paper_scale(clone):
    jobs = planned_jobs(snakemake(clone, "-n", "fetch", "--configfile", "config/paper.yaml").stdout)
    assert jobs["archives"] == jobs["fetch"] == 1
    assert jobs["fetch_archive"] >= 26
    assert "fetch_archive" not in planned_jobs(snakemake(clone, "-n", "fetch", *TINY).stdout)

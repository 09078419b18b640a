"""Runs of the workflow as a user starts them, in a checkout of their own."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml
from snakemake.utils import update_config

from vlrepro.config import load_config
from vlrepro.plan import make_plan
from vlrepro.tables.study import load_study

ROOT = Path(__file__).parents[1]
TINY = ("--configfile", "config/tiny.yaml")
LINKED = ("Snakefile", "envs", "profiles", "report", "resources", "slurm", "workflow")


def make_clone(folder):
    """A checkout without results: everything linked but the configuration, which tests edit."""
    folder.mkdir()
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "config", folder / "config")
    return folder


def snakemake(clone, *arguments, check=True, library=ROOT / "src", python=Path(sys.executable).parent, **options):
    """Run snakemake in `clone`; its jobs find `python` in that folder first, which is the environment's own."""
    path = os.pathsep.join((str(python), str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(library), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "snakemake", *map(str, arguments)]
    result = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, **options)
    assert not check or result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def configure(clone, name, recipe, **values):
    """Write `config/<name>.yaml` of one table, read over the tiny scale's; the run of a recipe, and its pack."""
    table = {"papers": ["language_guidance"], "tables": ["table1"]}
    (clone / f"config/{name}.yaml").write_text(yaml.safe_dump(table | values))
    merged = {}
    for path in ("config.yaml", "tiny.yaml", f"{name}.yaml"):
        update_config(merged, yaml.safe_load((clone / "config" / path).read_text()))
    study = load_study(clone / "config/papers/language_guidance.yaml")
    plan = make_plan(load_config(merged), {study.slug: study})
    return next((run, planned.pack) for run, planned in plan.runs.items() if planned.recipe_name == recipe)


def until(condition, process=None, seconds=150):
    """Wait for something, which must come before a process ends, if one is named."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        assert process is None or process.poll() is None, "the run ended before"
        time.sleep(0.1)


def planned_jobs(output):
    """Rule -> number of jobs, as a dry-run prints them."""
    table = output.split("Job stats:")[1].split("\n\n")[0] if "Job stats:" in output else ""
    return {name: int(count) for name, count in re.findall(r"^([\w-]+)\s+(\d+)$", table, re.MULTILINE)}

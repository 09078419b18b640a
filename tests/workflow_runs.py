"""Runs of the workflow as a user starts them, in a checkout of their own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

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


def planned_jobs(output):
    """Rule -> number of jobs, as a dry-run prints them."""
    table = output.split("Job stats:")[1].split("\n\n")[0] if "Job stats:" in output else ""
    return {name: int(count) for name, count in re.findall(r"^([\w-]+)\s+(\d+)$", table, re.MULTILINE)}

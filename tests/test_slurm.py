"""The tiny scale on a real Slurm of one node: from pictures to the report; trainings that are ended in every way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import one_node_slurm
import pytest
import yaml
from snakemake.utils import update_config
from workflow_runs import TINY, make_clone

from vlrepro.config import load_config
from vlrepro.files import read_json
from vlrepro.plan import make_plan
from vlrepro.tables.study import load_study
from vlrepro.training.state import newest_step

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).parents[1]
FILES = ("model.safetensors", "history.jsonl")
TABLE = {"papers": ["language_guidance"], "tables": ["table1"]}
# This cluster keeps no accounts, and its jobs are short: it is asked often, by squeue.
FAST = (
    *("--profile", "slurm", "--cores", "64", "--slurm-status-command", "squeue", "--slurm-no-account"),
    *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"),
    *("--latency-wait", "5", "--max-jobs-per-timespan", "1000/1m", "--max-status-checks-per-second", "10"),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The folder of a cluster that runs."""
    one_node_slurm.install()
    if lacking := one_node_slurm.missing():
        pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("cluster")
    one_node_slurm.up(folder, cpus=4)
    yield folder
    one_node_slurm.down(folder)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A checkout whose results the tests share."""
    return make_clone(tmp_path_factory.mktemp("checkout") / "clone")


class User:
    """Someone with a cluster and a checkout."""

    def __init__(self, cluster, clone):
        self.cluster, self.clone = cluster, clone
        path = f"{cluster}/bin{os.pathsep}{Path(sys.executable).parent}{os.pathsep}"
        environment = one_node_slurm.environment(cluster)
        environment |= {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
        self.environment = environment | {"PATH": path + environment["PATH"]}

    def command(self, *words, **options):
        """What a command prints."""
        options = {"cwd": self.clone, "env": self.environment, "text": True} | options
        done = subprocess.run([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    def snakemake(self, name, *words):
        """The command line of a run with `config/<name>.yaml` over the tiny scale's."""
        return [sys.executable, "-m", "snakemake", *TINY, f"config/{name}.yaml", *FAST, *words]

    def start(self, name, *words):
        """Run it in the background, in a process group of its own; what it prints goes to a file."""
        with open(self.clone / f"{name}.log", "a") as log:
            command = self.snakemake(name, *words)
            return subprocess.Popen(
                command, cwd=self.clone, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def jobs(self):
        """(number, state) of the trainings that the cluster knows, the oldest first."""
        lines = self.command("squeue", "--states=all", "--noheader", "--format=%i %T %k").splitlines()
        found = [line.split(maxsplit=2) for line in lines]
        return sorted((int(number), state) for number, state, words in found if "train_" in words)

    def configure(self, name, recipe, **values):
        """Write a configuration of one table; returns the run of one of its recipes."""
        (self.clone / f"config/{name}.yaml").write_text(yaml.safe_dump(TABLE | values))
        merged = {}
        for path in ("config.yaml", "tiny.yaml", f"{name}.yaml"):
            update_config(merged, yaml.safe_load((self.clone / "config" / path).read_text()))
        study = load_study(self.clone / "config/papers/language_guidance.yaml")
        plan = make_plan(load_config(merged), {study.slug: study})
        return next(run for run, planned in plan.runs.items() if planned.recipe_name == recipe)

    def alone(self, run, folder):
        """What the recipe of a run gives in one uninterrupted training, without a cluster."""
        recipe = self.clone / f"results/recipes/runs/{run}.json"
        index = self.clone / f"results/data/{read_json(recipe)['pack']}/index.parquet"
        options = ["--recipe", recipe, "--index", index, "--state", folder / "state"]
        self.command(sys.executable, "workflow/scripts/train.py", *options, "--model", folder / "model.safetensors")
        return [(folder / name).read_bytes() for name in FILES]


@pytest.fixture(scope="module")
def user(cluster, clone):
    return User(cluster, clone)


def until(condition, process=None, seconds=150):
    """Wait for something, which must come before a process ends, if one is named."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        assert process is None or process.poll() is None, "the run ended before"
        time.sleep(0.1)


def test_a_training_that_exceeds_its_limit_twice_ends_with_the_same_bits(user, tmp_path):
    """All of its minute is in reserve, so each job takes one step, saves and ends; three make the training."""
    resources = {"runs_per_training": 1, "train_minutes": 1, "reserve_seconds": 60, "train_retries": 2}
    run = user.configure("limited", "simclr", recipes={"simclr": {"steps": 3}}, resources=resources)
    user.command(*user.snakemake("limited", f"results/runs/{run}/model.safetensors"))
    assert [state for _, state in user.jobs()] == ["FAILED", "FAILED", "COMPLETED"]
    assert f"{run}: resumed at step 2" in (user.clone / f"logs/train_model/{run}.log").read_text()
    assert user.alone(run, tmp_path) == [(user.clone / f"results/runs/{run}" / name).read_bytes() for name in FILES]
    assert not (user.clone / f"results/state/{run}").exists()


def test_cancelled_jobs_and_killed_controllers_end_with_the_same_bits(user, tmp_path):
    """A job is cancelled, then Slurm's controller is killed, then Snakemake, whose job goes on; each comes back."""
    resources = {"runs_per_training": 1, "checkpoint_seconds": 0.2, "train_retries": 1}
    long = {"recipes": {"simsiam": {"steps": 600}}, "training": {"max_epochs": 10**4}, "resources": resources}
    run = user.configure("long", "simsiam", **long)
    target, state = f"results/runs/{run}/model.safetensors", user.clone / f"results/state/{run}"
    before = user.jobs()
    first = user.start("long", target)
    until(lambda: newest_step(state) > 0, first)
    user.command("scancel", user.jobs()[-1][0])
    until(lambda: len(user.jobs()) == len(before) + 2 and user.jobs()[-1][1] == "RUNNING", first)
    log = user.clone / f"logs/train_model/{run}.log"
    until(lambda: log.exists() and "resumed at step" in log.read_text(), first)

    one_node_slurm.stop(user.cluster, "slurmctld", signal.SIGKILL)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    one_node_slurm.start_controller(user.cluster)
    until(lambda: user.jobs()[-1][1] in ("RUNNING", "COMPLETED"))

    user.command(*user.snakemake("long", "--unlock"))
    second = user.start("long", target)
    assert second.wait(timeout=300) == 0, (user.clone / "long.log").read_text()[-4000:]
    assert user.alone(run, tmp_path) == [(user.clone / f"results/runs/{run}" / name).read_bytes() for name in FILES]
    assert "CANCELLED" in [state for _, state in user.jobs()[len(before) :]]
    assert not state.exists()


def test_the_tiny_scale_ends_with_its_tables_and_the_report(user):
    (user.clone / "config/whole.yaml").write_text(yaml.safe_dump({"resources": {"train_retries": 0}}))
    user.command(*user.snakemake("whole"))
    planned = user.command(*user.snakemake("whole", "--dry-run", "--quiet"))
    tables = {path.stem for path in user.clone.glob("results/tiny/tables/*/*.csv")}
    assert tables >= set(yaml.safe_load((user.clone / "config/tiny.yaml").read_text())["tables"])
    assert (user.clone / "results/tiny/report/index.html").exists()
    assert "Nothing to be done" in planned

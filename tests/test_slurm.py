"""The tiny scale on a real Slurm of one node: from pictures to the report; trainings that are ended in every way."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import one_node_slurm
import pytest
import yaml
from workflow_runs import TINY, configure, make_clone, until

from vlrepro.files import read_json
from vlrepro.training.lock import LOCK
from vlrepro.training.state import newest_step

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).parents[1]
FILES = ("model.safetensors", "history.jsonl")
# This cluster keeps no accounts, and its jobs are short: it is asked often, by squeue.
FAST = (
    *("--profile", "slurm", "--cores", "64", "--slurm-status-command", "squeue", "--slurm-no-account"),
    *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"),
    *("--latency-wait", "5", "--max-jobs-per-timespan", "1000/1s", "--max-status-checks-per-second", "10"),
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
        return [sys.executable, ROOT / "tests/impatient_snakemake.py", *TINY, f"config/{name}.yaml", *FAST, *words]

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

    def running(self):
        """Whether a training runs, as far as the cluster knows."""
        return any(state in ("RUNNING", "COMPLETING") for _, state in self.jobs())

    def trainer(self, run, controller, after=None):
        """Wait until a process other than `after` has gone on with a run and saved a state; returns its number."""
        state, log = self.clone / f"results/state/{run}", self.clone / f"logs/train_model/{run}.log"
        found, steps = after, 0

        def goes_on():
            nonlocal found, steps
            with contextlib.suppress(OSError, ValueError):
                holder = read_json(state / LOCK)["pid"]
                if holder != found:
                    found, steps = holder, newest_step(state)
            return found != after and newest_step(state) > max(steps, 0)

        until(goes_on, controller)
        assert after is None or "resumed at step" in log.read_text()
        return found

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


def test_a_training_that_exceeds_its_limit_twice_ends_with_the_same_bits(user, tmp_path):
    """All of its minute is in reserve, so each job takes one step, saves and ends; three make the training."""
    resources = {"runs_per_training": 1, "train_minutes": 1, "reserve_seconds": 60, "train_retries": 2}
    run, _ = configure(user.clone, "limited", "simclr", recipes={"simclr": {"steps": 3}}, resources=resources)
    user.command(*user.snakemake("limited", f"results/runs/{run}/model.safetensors"))
    assert [state for _, state in user.jobs()] == ["FAILED", "FAILED", "COMPLETED"]
    assert f"{run}: resumed at step 2" in (user.clone / f"logs/train_model/{run}.log").read_text()
    assert user.alone(run, tmp_path) == [(user.clone / f"results/runs/{run}" / name).read_bytes() for name in FILES]
    assert not (user.clone / f"results/state/{run}").exists()


def test_trainings_that_are_ended_from_outside_end_with_the_same_bits(user, tmp_path):
    """By Slurm's limit, by scancel, with its node, and with both controllers: each time it goes on from its state."""
    resources = {"runs_per_training": 1, "train_minutes": 1, "reserve_seconds": 0, "train_retries": 4}
    resources |= {"checkpoint_seconds": 0.2}
    long = {"recipes": {"simsiam": {"steps": 600}}, "training": {"max_epochs": 10**4}, "resources": resources}
    run, _ = configure(user.clone, "long", "simsiam", **long)
    target, state = f"results/runs/{run}/model.safetensors", user.clone / f"results/state/{run}"
    before = len(user.jobs())
    first = user.start("long", target)

    trainer = user.trainer(run, first)
    os.kill(trainer, signal.SIGSTOP)  # it hangs, so that Slurm's limit of a minute comes before its own
    until(lambda: user.jobs()[before][1] == "TIMEOUT", first)

    trainer = user.trainer(run, first, after=trainer)
    user.command("scancel", user.jobs()[-1][0])
    until(lambda: user.jobs()[before + 1][1] == "CANCELLED", first)

    trainer = user.trainer(run, first, after=trainer)
    one_node_slurm.kill_node(user.cluster)
    until(lambda: not user.running(), first)
    one_node_slurm.resume_node(user.cluster)
    number, pending = user.jobs()[-1]
    assert pending == "PENDING"  # Slurm itself starts it again, and would wait until its first credential has expired
    user.command("scontrol", "update", f"jobid={number}", "starttime=now")

    trainer = user.trainer(run, first, after=trainer)
    one_node_slurm.stop(user.cluster, "slurmctld", signal.SIGKILL)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    one_node_slurm.start_controller(user.cluster)
    until(lambda: user.jobs()[-1][1] in ("RUNNING", "COMPLETED"))

    user.command(*user.snakemake("long", "--unlock"))
    second = user.start("long", target)
    assert second.wait(timeout=300) == 0, (user.clone / "long.log").read_text()[-4000:]
    assert user.alone(run, tmp_path) == [(user.clone / f"results/runs/{run}" / name).read_bytes() for name in FILES]
    assert not state.exists()


def test_the_tiny_scale_ends_with_its_tables_and_the_report(user):
    (user.clone / "config/whole.yaml").write_text(yaml.safe_dump({"resources": {"train_retries": 0}}))
    user.command(*user.snakemake("whole"))
    planned = user.command(*user.snakemake("whole", "--dry-run", "--quiet"))
    tables = {path.stem for path in user.clone.glob("results/tiny/tables/*/*.csv")}
    assert tables >= set(yaml.safe_load((user.clone / "config/tiny.yaml").read_text())["tables"])
    assert (user.clone / "results/tiny/report/index.html").exists()
    assert "Nothing to be done" in planned

"""Two people start the same training: in one working folder, and in two that share their results."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import shape_pictures
from workflow_runs import ROOT, TINY, configure, make_clone, snakemake, until

from vlrepro.data.pack import write_pack
from vlrepro.files import read_json
from vlrepro.training.lock import LOCK
from vlrepro.training.state import newest_step

pytestmark = pytest.mark.workflow
STEPS = 200
SETTINGS = {
    "recipes": {"simsiam": {"steps": STEPS}},
    "training": {"max_epochs": 10**4},
    "resources": {"runs_per_training": 1, "checkpoint_seconds": 0.01},
}
WORDS = (*TINY, "config/mine.yaml", "--cores", "1")


@contextmanager
def started(clone, target):
    """A run of the workflow in the background; it and its jobs are killed at the end."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "snakemake", *WORDS, target]
    with open(clone / "printed.log", "w") as log:
        process = subprocess.Popen(command, cwd=clone, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_second_controller_leaves_the_first_alone(tmp_path):
    """The first one's training is held up after its first state, for as long as the others come and look."""
    mine, theirs = make_clone(tmp_path / "mine"), make_clone(tmp_path / "theirs")
    run, pack = configure(mine, "mine", "simsiam", **SETTINGS)
    configure(theirs, "mine", "simsiam", **SETTINGS)
    write_pack(mine / "results/data" / pack, shape_pictures(64))
    (theirs / "results").symlink_to(mine / "results")
    target, state, log = (
        f"results/runs/{run}/model.safetensors",
        mine / f"results/state/{run}",
        f"logs/train_model/{run}.log",
    )

    with started(mine, target) as first:
        until(lambda: newest_step(state) > 0, first)
        os.kill(training := read_json(state / LOCK)["pid"], signal.SIGSTOP)

        refused = snakemake(mine, *WORDS, target, check=False)
        assert refused.returncode == 1
        assert "Directory cannot be locked" in refused.stderr
        assert str(mine) in refused.stderr
        assert "--unlock" in refused.stderr

        with started(theirs, target) as second:
            until(lambda: (theirs / log).exists() and "waiting for it" in (theirs / log).read_text(), second)
            assert f"process {training} on" in (theirs / log).read_text()
            os.kill(training, signal.SIGCONT)
            assert first.wait(timeout=120) == 0, (mine / "printed.log").read_text()
            model = (mine / target).stat()
            assert second.wait(timeout=120) == 0, (theirs / "printed.log").read_text()

    assert "finished in the meantime" in (theirs / log).read_text()
    assert (mine / target).stat().st_ino == model.st_ino  # not written again: Snakemake may set its time
    assert len((mine / f"results/runs/{run}/history.jsonl").read_text().splitlines()) == STEPS
    assert not state.exists()

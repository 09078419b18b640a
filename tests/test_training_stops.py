"""Trainings that end before their end: time limits, SIGTERM, attempts that help nothing, and two at one training."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from conftest import SCRIPTS, run_script
from hypothesis import given, settings
from hypothesis import strategies as st

from vlrepro.errors import UserError
from vlrepro.files import write_json
from vlrepro.training import lock as locks
from vlrepro.training.attempts import ATTEMPT, noted
from vlrepro.training.launch import AGAIN
from vlrepro.training.lock import LOCK, locked
from vlrepro.training.loop import Files, Job, train, train_together
from vlrepro.training.state import StateFolder, newest_step
from vlrepro.training.stopping import Stop, Unfinished, time_limit

FILES = ("model.safetensors", "history.jsonl")


def left(folder):
    return [(folder / name).read_bytes() for name in FILES]


def command(folder, pack, recipe, **more):
    """The options of a training in `folder`."""
    write_json(folder / "recipe.json", recipe)
    options = {"recipe": folder / "recipe.json", "index": pack / "index.parquet", "state": folder / "state"}
    return options | {"model": folder / "run/model.safetensors"} | more


def as_options(options):
    """As a command line names them."""
    return {name.replace("_", "-"): value for name, value in options.items()}


def in_process(options):
    listed = [str(part) for name, value in as_options(options).items() for part in (f"--{name}", value)]
    return [sys.executable, SCRIPTS / "train.py", *listed]


def test_a_time_limit_of_three_attempts_gives_the_same_bits(shape_pack, recipe, tmp_path, monkeypatch, capsys):
    """No second is left to any attempt, so each takes a step, which is the least that it may."""
    recipe = recipe | {"steps": 3}
    train(recipe, Files(shape_pack), tmp_path / "state", tmp_path / "whole", 60)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    options = command(tmp_path, shape_pack, recipe, minutes=1, reserve_seconds=60)
    for attempt in (1, 2):
        with pytest.raises(SystemExit) as ended:
            run_script("train.py", monkeypatch, **as_options(options), attempt=attempt)
        assert ended.value.code == AGAIN == 75
        assert newest_step(tmp_path / "state") == attempt
        assert f"run: the time limit of 1 minutes is near: saved after step {attempt}" in capsys.readouterr().out
    run_script("train.py", monkeypatch, **as_options(options), attempt=3)
    assert left(tmp_path / "run") == left(tmp_path / "whole")
    assert not (tmp_path / "state").exists()


def test_without_a_scheduler_no_limit_counts(shape_pack, recipe, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    options = command(tmp_path, shape_pack, recipe, minutes=1, reserve_seconds=60)
    run_script("train.py", monkeypatch, **as_options(options))
    assert (tmp_path / "run/model.safetensors").exists()


def test_the_scheduler_knows_best_when_the_job_ends(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 600))
    assert time_limit(60) == pytest.approx(10, abs=0.1)
    monkeypatch.delenv("SLURM_JOB_END_TIME")
    assert time_limit(60) == 60
    monkeypatch.delenv("SLURM_JOB_ID")
    assert time_limit(60) is None


def test_several_runs_of_a_job_stop_and_go_on_together(shape_pack, recipe, tmp_path):
    recipes = {"short": recipe | {"steps": 2}, "long": recipe | {"steps": 4}}
    for name, one in recipes.items():
        train(one, Files(shape_pack), tmp_path / "none", tmp_path / "alone" / name, 60)
    jobs = [Job(one, tmp_path / "state" / name, tmp_path / name, name) for name, one in recipes.items()]
    for steps in ({"short": 1, "long": 1}, {"short": 2, "long": 2}, {"short": 2, "long": 3}):
        with pytest.raises(Unfinished):
            train_together(jobs, Files(shape_pack), 60, Stop(0))
        assert {name: newest_step(tmp_path / "state" / name) for name in recipes} == steps
        assert not any((tmp_path / name).exists() for name in recipes)
    train_together(jobs, Files(shape_pack), 60, Stop(0))
    assert all(left(tmp_path / name) == left(tmp_path / "alone" / name) for name in recipes)


def test_told_to_end_it_saves_and_goes_on_to_the_same_bits(shape_pack, recipe, tmp_path):
    """What Slurm sends before it kills a job: SIGTERM, here after the first state is there."""
    recipe = recipe | {"steps": 300, "max_epochs": 400}
    options = command(tmp_path, shape_pack, recipe, checkpoint_seconds=0)
    process = subprocess.Popen(in_process(options), stdout=subprocess.PIPE, text=True)
    while newest_step(tmp_path / "state") < 1:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    rest = process.stdout.read()
    assert process.wait() == AGAIN, rest
    step = newest_step(tmp_path / "state")
    assert f"it was told to end (SIGTERM): saved after step {step}" in rest
    assert not (tmp_path / "state" / LOCK).exists()
    train(recipe, Files(shape_pack), tmp_path / "state", tmp_path / "run", 60)
    train(recipe, Files(shape_pack), tmp_path / "none", tmp_path / "whole", 60)
    assert 0 < step < 300
    assert left(tmp_path / "run") == left(tmp_path / "whole")


def test_a_killed_training_leaves_a_lock_that_the_next_one_takes(shape_pack, recipe, tmp_path, monkeypatch, capsys):
    recipe = recipe | {"steps": 300, "max_epochs": 400}
    options = command(tmp_path, shape_pack, recipe)
    process = subprocess.Popen(in_process(options | {"checkpoint_seconds": 0}), stdout=subprocess.DEVNULL)
    while newest_step(tmp_path / "state") < 1:
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert json.loads((tmp_path / "state" / LOCK).read_text())["pid"] == process.pid
    run_script("train.py", monkeypatch, **options, attempt=2)
    assert "resumed at step" in capsys.readouterr().out
    train(recipe, Files(shape_pack), tmp_path / "none", tmp_path / "whole", 60)
    assert left(tmp_path / "run") == left(tmp_path / "whole")


def test_an_attempt_that_cannot_help_is_not_made(shape_pack, recipe, tmp_path, monkeypatch, capsys):
    """The first is a person's wish; the second would meet the same wall."""
    options = command(tmp_path, shape_pack, recipe | {"steps": 10**6})
    for attempt, words in ((1, "allow"), (2, "run: attempt 1 left no newer state"), (1, "allow")):
        with pytest.raises(SystemExit):
            run_script("train.py", monkeypatch, **as_options(options), attempt=attempt)
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert words in error
        assert error.count("\n") == 1


def attempt(states, number, outcome):
    with noted([states.folder], number + 1, "a"):
        if outcome == "saved":
            states.save(number, {})
        raise KeyboardInterrupt if outcome == "killed" else Unfinished("why")


@given(outcomes=st.lists(st.sampled_from(["saved", "stuck", "killed"]), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_attempts_go_on_until_one_ends_where_it_began(tmp_path_factory, outcomes):
    folder = tmp_path_factory.mktemp("state")
    states = StateFolder(folder, "recipe")
    for number, outcome in enumerate(outcomes):
        refused = number > 0 and outcomes[number - 1] == "stuck"
        with pytest.raises(UserError if refused else (Unfinished, KeyboardInterrupt)):
            attempt(states, number, outcome)
        if refused:
            return
    assert (folder / ATTEMPT).exists()


def test_the_second_waits_for_the_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "BEAT", 0.01)
    order = []

    def hold(name):
        with locked(tmp_path / "state", name) as waited:
            order.append((name, "in", waited))
            time.sleep(0.2)
            order.append((name, "out", waited))

    with locked(tmp_path / "state", "first"):
        threads = [threading.Thread(target=hold, args=(name,)) for name in ("second", "third")]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        assert not order
    for thread in threads:
        thread.join()
    assert [what for _, what, _ in order] == ["in", "out"] * 2
    assert all(waited for _, _, waited in order)
    assert f"second: process {os.getpid()} on {socket.gethostname()} is training this run" in capsys.readouterr().out
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("holder", "age", "taken"),
    [
        ({"host": "elsewhere", "pid": 1}, 0, False),
        ({"host": "elsewhere", "pid": 1}, 10**4, True),
        ({"host": socket.gethostname(), "pid": os.getppid()}, 0, False),
        ({"host": socket.gethostname(), "pid": 2**22 + 1}, 0, True),
        ("", 0, False),  # being written
        ("", 60, True),  # cut short
        ("[1]", 60, True),
    ],
)
def test_a_lock_is_taken_from_who_is_gone(tmp_path, holder, age, taken, monkeypatch):
    path = tmp_path / LOCK
    path.write_text(holder if isinstance(holder, str) else json.dumps(holder))
    os.utime(path, (time.time() - age,) * 2)
    stop = Stop(0)

    def waiting():
        if why := stop.why_here():
            raise Unfinished(why)

    if taken:
        with locked(tmp_path, "run", waiting) as waited:
            assert json.loads(path.read_text())["pid"] == os.getpid()
            assert not waited
        assert not path.exists()
    else:
        with pytest.raises(Unfinished), locked(tmp_path, "run", waiting):
            pytest.fail("two hold the lock")
        assert path.exists()


def test_what_another_finished_is_not_trained_again(shape_pack, recipe, tmp_path, monkeypatch, capsys):
    """A controller that died started the first; the one after it starts the same training."""
    options = command(tmp_path, shape_pack, recipe)
    train(recipe, Files(shape_pack), tmp_path / "other", tmp_path / "run", 60)
    before = (tmp_path / "run/model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(locks, "BEAT", 0.01)
    first = locked(tmp_path / "state", "first")
    first.__enter__()
    threading.Timer(0.5, first.__exit__, (None, None, None)).start()
    run_script("train.py", monkeypatch, **options)
    assert "finished in the meantime" in capsys.readouterr().out
    assert (tmp_path / "run/model.safetensors").stat().st_mtime_ns == before


def test_a_lock_that_another_took_in_the_meantime_is_put_back(tmp_path):
    path = tmp_path / LOCK
    path.write_text(json.dumps({"host": "elsewhere", "pid": 2}))
    locks._take_away(path, {"host": "elsewhere", "pid": 1})
    assert json.loads(path.read_text())["pid"] == 2
    locks._take_away(path, {"host": "elsewhere", "pid": 2})
    assert list(tmp_path.iterdir()) == []

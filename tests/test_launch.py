"""Several processes of one command: who prints, how errors end all, exit codes, signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import shape_pictures

from vlrepro.data.pack import write_pack
from vlrepro.errors import UserError
from vlrepro.files import write_json
from vlrepro.training.launch import launch
from vlrepro.training.loop import Files, train

ROOT = Path(__file__).parents[1]
START = """
import os, signal, sys, time
sys.path.insert(0, {src!r})
from vlrepro.errors import UserError
from vlrepro.training.launch import reported
rank = int(os.environ["RANK"])
with reported():
"""


def program(folder: Path, body: str) -> list[str]:
    """A command whose processes run `body`, which knows `rank`; light, as it imports no torch."""
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    (folder / "program.py").write_text(START.format(src=str(ROOT / "src")) + lines)
    return [sys.executable, str(folder / "program.py")]


def test_all_run_and_only_the_first_prints(tmp_path, capfd):
    body = f"open(os.path.join({str(tmp_path)!r}, f'rank{{rank}}'), 'w').write(os.environ['WORLD_SIZE'])\nprint(rank)"
    launch(program(tmp_path, body), 3)
    assert [(tmp_path / f"rank{rank}").read_text() for rank in range(3)] == ["3"] * 3
    assert capfd.readouterr() == ("0\n", "")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("if rank == 1: raise UserError('the thing: mend it')\ntime.sleep(60)", "the thing: mend it"),
        ("raise UserError('all find it')", "all find it"),
        ("if rank == 1: raise UserError('the cause')\nraise RuntimeError('peer closed the connection')", "the cause"),
        ("if rank == 0: open('/nowhere/file')\ntime.sleep(60)", "/nowhere/file: No such file or directory"),
        ("if rank == 1: os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)", "process 1 of 2 was killed by SIGKILL"),
    ],
)
def test_what_the_user_can_mend_ends_all_with_one_line(body, words, tmp_path, capfd):
    start = time.monotonic()
    with pytest.raises(UserError, match=words):
        launch(program(tmp_path, body), 2)
    assert time.monotonic() - start < 30
    assert capfd.readouterr() == ("", "")


def test_a_defect_shows_one_traceback(tmp_path, capfd):
    with pytest.raises(SystemExit) as end:
        launch(program(tmp_path, "raise RuntimeError('ours')"), 2)
    assert end.value.code == 1
    assert capfd.readouterr().err.count("RuntimeError: ours") == 1


@pytest.mark.parametrize("body", ["raise SystemExit(75)", "if rank == 0: raise SystemExit(75)\ntime.sleep(60)"])
def test_to_be_started_again_is_passed_on(body, tmp_path):
    with pytest.raises(SystemExit) as end:
        launch(program(tmp_path, body), 2)
    assert end.value.code == 75


@pytest.mark.parametrize("again", [True, False])
def test_sigterm_reaches_all(again, tmp_path):
    """Processes that save and ask for more time end the launcher with 75, others as the signal does."""
    handler = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n" if again else ""
    ready = f"open(os.path.join({str(tmp_path)!r}, f'ready{{rank}}'), 'w').close()\ntime.sleep(60)"
    command = program(tmp_path, handler + ready)
    code = f"import sys; from vlrepro.training.launch import launch; launch({command!r}, 2)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    started = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("ready*"))) < 2:
        assert started.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    started.send_signal(signal.SIGTERM)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == (75 if again else 128 + signal.SIGTERM)
    assert errors == ""


def test_the_real_command_trains_by_two_processes(recipe, tmp_path):
    write_pack(tmp_path / "shapes", shape_pictures(64))
    write_json(tmp_path / "recipe.json", recipe)
    command = [sys.executable, ROOT / "workflow/scripts/train.py", "--recipe", tmp_path / "recipe.json"]
    command += ["--index", tmp_path / "shapes/index.parquet", "--state", tmp_path / "state"]
    command += ["--model", tmp_path / "2/model.safetensors", "--processes", "2"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.count("12/12") == 1
    assert result.stderr == ""
    train(recipe, Files(tmp_path / "shapes"), tmp_path / "none", tmp_path / "1", 60)
    files = (tmp_path / f"{processes}/history.jsonl" for processes in (1, 2))
    one, two = ([json.loads(line)["loss"] for line in path.read_text().splitlines()] for path in files)
    assert two == pytest.approx(one, rel=1e-5, abs=1e-5)

"""The `python` of test_workflow's long run does what an ordinary one does, with packages that are there already."""

import os
import subprocess
import sys

import pytest
from warm_interpreter import warm_python

SCRIPT = """
import os, sys
how = sys.argv[1]
print(sys.argv, os.getcwd(), os.environ.get("WORD"), os.environ.get("HOME"), sys.path[0], __name__)
print(sys.stdin.read(), file=sys.stderr)
if how == "warm":
    print("package" in sys.modules)
if how == "raise":
    raise ValueError("wrong")
if how == "kill":
    sys.stdout.flush()
    os.kill(os.getpid(), 9)
if how != "end":
    sys.exit(int(how) if how.isdigit() else how)
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("warm")
    (folder / "package.py").write_text("")
    with warm_python(folder / "bin", folder, ["package"]) as path:
        yield path / "python"


def run(python, folder, how):
    """What a shell sees of the script: output, the last line of errors, exit code."""
    (folder / "script.py").write_text(SCRIPT)
    command = ["bash", "-c", '"$@"; exit $?', "bash", str(python), "script.py", how, "a b", ""]
    environment = {"WORD": "ä b", "PATH": os.environ["PATH"]}
    result = subprocess.run(
        command, cwd=folder, env=environment, input="typed", capture_output=True, text=True, timeout=60
    )
    return result.stdout, result.stderr.rstrip().splitlines()[-1], result.returncode


@pytest.mark.parametrize("how", ["end", "0", "3", "a last word", "raise"])
def test_a_script_runs_as_by_an_ordinary_python(how, warm, tmp_path):
    assert run(warm, tmp_path, how) == run(sys.executable, tmp_path, how)


def test_a_killed_script_is_reported_as_a_shell_reports_it(warm, tmp_path):
    printed, _, code = run(warm, tmp_path, "kill")
    ordinary = run(sys.executable, tmp_path, "kill")
    assert (printed, code) == (ordinary[0], ordinary[2])
    assert code == 128 + 9


def test_packages_are_there_and_jobs_share_nothing(warm, tmp_path):
    assert run(warm, tmp_path, "warm")[0].endswith("True\n")
    assert run(sys.executable, tmp_path, "warm")[0].endswith("False\n")
    none = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    together = [subprocess.Popen([warm, "absent.py"], cwd=tmp_path, **none) for _ in range(3)]
    assert [process.wait(60) for process in together] == [1, 1, 1]
    assert run(warm, tmp_path, "end")[2] == 0


def test_it_ends_with_its_block(tmp_path):
    (tmp_path / "package.py").write_text("")
    with warm_python(tmp_path / "bin", tmp_path, ["package"]) as path:
        assert run(path / "python", tmp_path, "end")[2] == 0
    assert run(path / "python", tmp_path, "end")[2] == 1

"""Files are whole or absent; a user's mistake is one line and exit code 1."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vlrepro.files import atomic_path, digest_of, write_json, write_text

ROOT = Path(__file__).parents[1]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail_half_way():
        with atomic_path(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "file.txt", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o640


def test_digests_do_not_depend_on_key_order_or_spacing():
    assert digest_of({"a": 1, "b": [1.5, "é"]}) == digest_of({"b": [1.5, "é"], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 1.5})


def run_script(name, *arguments, **options):
    command = [sys.executable, ROOT / "workflow/scripts" / name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_a_full_disk_is_one_line_and_leaves_nothing(shape_pack, tmp_path):
    write_json(tmp_path / "recipe.json", {"source": "local", "path": str(shape_pack), "digest": None})
    result = run_script(
        *("fetch_pack.py", "--recipe", tmp_path / "recipe.json", "--limit", 0),
        *("--output", tmp_path / "out/index.parquet"),
        # No file may grow over 4 kB: writing fails in the middle, as on a full disk.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/out/")
    assert "free some space" in line
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix in (".part", ".tar")]


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists() or os.geteuid() != 0, reason="mounts a small disk")
def test_a_really_full_disk(shape_pack, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk]).returncode:
        pytest.skip("this container may not mount; the test above covers the same path")
    try:
        write_json(tmp_path / "recipe.json", {"source": "local", "path": str(shape_pack), "digest": None})
        result = run_script(
            *("fetch_pack.py", "--recipe", tmp_path / "recipe.json", "--limit", 0),
            *("--output", disk / "out/index.parquet"),
        )
        assert result.returncode == 1
        assert "No space left on device: free some space" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert not list((disk / "out").glob("*.tar"))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_mistake_is_one_line_and_debug_shows_the_traceback(tmp_path):
    write_json(tmp_path / "recipe.json", {"source": "local", "path": str(tmp_path / "none"), "digest": None})
    arguments = ("--recipe", tmp_path / "recipe.json", "--limit", 0, "--output", tmp_path / "out/index.parquet")
    result = run_script("fetch_pack.py", *arguments)
    assert result.returncode == 1
    assert result.stderr == f"error: {tmp_path}/none/SHA256SUMS: no such manifest: fetch or rebuild the pack\n"
    result = run_script("fetch_pack.py", *arguments, env=os.environ | {"VLREPRO_DEBUG": "1"})
    assert "Traceback" in result.stderr


def test_make_names_a_python_that_cannot_be_used(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "envs").mkdir()
    for name in ("envs/constraints.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    python = tmp_path / "python-without-venv"
    python.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    result = subprocess.run(["make", "setup", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode != 0
    assert "has no venv module: install it (Debian: apt install python3-venv)" in result.stderr
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    result = subprocess.run(["make", "setup", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True)
    assert "is older than Python 3.11: set PYTHON" in result.stderr
    assert not (tmp_path / ".venv").exists()

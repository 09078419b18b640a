"""Results folders that are full or read-only: one line that names the path and the cure, and nothing half-written."""

import errno
import os
import subprocess

import pytest
import torch
from conftest import run_script

from vlrepro.files import write_json
from vlrepro.training.loop import Files, train

FILES = ("model.safetensors", "history.jsonl")


def options(folder, pack, recipe):
    write_json(folder / "recipe.json", recipe)
    paths = {"recipe": folder / "recipe.json", "index": pack / "index.parquet", "state": folder / "results/state"}
    return paths | {"model": folder / "results/run/model.safetensors", "checkpoint-seconds": 0}


def fails(monkeypatch, capsys, **given):
    """Its one line."""
    with pytest.raises(SystemExit) as ended:
        run_script("train.py", monkeypatch, **given)
    error = capsys.readouterr().err
    assert ended.value.code == 1
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != "attempt.json")


def test_a_full_disk_keeps_the_last_state_and_goes_on(shape_pack, recipe, tmp_path, monkeypatch, capsys):
    """The fourth state does not fit: its beginning is written, then the disk is full."""
    given, save = options(tmp_path, shape_pack, recipe), torch.save

    def full(state, path):
        if state["step"] == 4:
            path.write_bytes(b"PK")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(state, path)

    monkeypatch.setattr(torch, "save", full)
    error = fails(monkeypatch, capsys, **given)
    assert "step-00000004.pt: No space left on device: free some space or choose another results folder" in error
    assert files(tmp_path / "results") == ["step-00000002.pt", "step-00000003.pt"]
    monkeypatch.setattr(torch, "save", save)
    run_script("train.py", monkeypatch, **given)
    assert "resumed at step 3" in capsys.readouterr().out
    train(recipe, Files(shape_pack), tmp_path / "none", tmp_path / "whole", 60)
    assert [(tmp_path / "results/run" / name).read_bytes() for name in FILES] == [
        (tmp_path / "whole" / name).read_bytes() for name in FILES
    ]


@pytest.fixture
def mounted(tmp_path):
    """A results folder on a file system of its own, of 256 KB; it can be mounted again with other options."""
    folder = tmp_path / "results"
    folder.mkdir()

    def mount(*words):
        return subprocess.run(["mount", *words, str(folder)], capture_output=True, check=False).returncode == 0

    if os.geteuid() != 0 or not mount("-t", "tmpfs", "-o", "size=256k", "none"):
        pytest.skip("mounting a small file system needs root")
    yield mount
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_really_full(shape_pack, recipe, tmp_path, monkeypatch, capsys, mounted):
    filler = tmp_path / "results/filler"
    filler.write_bytes(bytes(160 * 1024))
    given = options(tmp_path, shape_pack, recipe)
    wide = recipe | {"backbone": {"name": "resnet_small", "width": 32}}
    write_json(given["recipe"], wide)
    error = fails(monkeypatch, capsys, **given)
    assert f"{tmp_path}/results/" in error
    assert "No space left on device: free some space or choose another results folder" in error
    assert files(tmp_path / "results") == ["filler"]


def test_a_read_only_folder_is_named(shape_pack, recipe, tmp_path, monkeypatch, capsys, mounted):
    assert mounted("-o", "remount,ro")
    error = fails(monkeypatch, capsys, **options(tmp_path, shape_pack, recipe))
    assert (
        f"error: {tmp_path}/results/state: Read-only file system: make it writable or choose another results folder"
        in error
    )
    assert not files(tmp_path / "results")

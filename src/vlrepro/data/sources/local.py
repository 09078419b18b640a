"""A pack that is already on disk, such as the pictures that ship with the project."""

from __future__ import annotations

import shutil
from pathlib import Path

from vlrepro.data.pack import MANIFEST, read_manifest
from vlrepro.errors import UserError
from vlrepro.files import atomic_path, file_digest


def fetch(path: str | Path, folder: str | Path) -> None:
    """Copy the pack at `path` into `folder`, every file checked against the pack's SHA256SUMS.

    Raises `UserError` naming the file that is missing or whose bytes are others.
    """
    path, folder = Path(path), Path(folder)
    for name, digest in read_manifest(path).items():
        if not (path / name).is_file():
            raise UserError(f"{path / name}: the file is missing: restore it (git checkout {path}) and run again")
        if file_digest(path / name) != digest:
            cure = f"restore the file (git checkout {path}) and run again"
            raise UserError(f"{path / name}: the bytes are not those of {MANIFEST}: {cure}")
        with atomic_path(folder / name) as part:
            shutil.copyfile(path / name, part)

"""Unpack tar and zip archives of unknown origin: nothing outside the folder, no links or devices, bounded.

A marker stands in the folder while an archive is unpacked into it, so that a partial copy is seen and repeated.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from vlrepro.data.sources.about import Archive
from vlrepro.errors import UserError

_PACKED = (".tar", ".tar.gz", ".tgz", ".zip")


@dataclass(frozen=True)
class Bounds:
    """The most that an archive may unpack to: bytes and members."""

    bytes: int = 400 * 10**9  # ImageNet's training pictures are 148 GB
    members: int = 2_000_000


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    stream: IO[bytes] | None  # None: a folder


def is_packed(name: str) -> bool:
    """Whether a file of this name is unpacked rather than read as it is."""
    return name.endswith(_PACKED)


def marker(archive: Archive, folder: Path) -> Path:
    """What exists while `archive` is unpacked into `folder`, or when that was interrupted."""
    return folder / f".{archive.name}.unpacking"


def is_unpacked(archive: Archive, folder: Path) -> bool:
    """Whether what `archive` unpacks to is whole in `folder`."""
    return (folder / archive.unpacks_to).exists() and not marker(archive, folder).exists()


def unpack(archive: Archive, folder: str | Path, bounds: Bounds = Bounds()) -> None:
    """Unpack the file of `archive` that lies in `folder` there; nothing where that is done already.

    Raises `UserError` where a member leads out of the folder, is a link or a device, the archive is over `bounds`, is
    damaged, or does not hold what it should.
    """
    folder = Path(folder)
    if is_unpacked(archive, folder) or not is_packed(archive.name):
        return
    marker(archive, folder).touch()
    _extract(folder / archive.name, folder, bounds)
    if archive.inner:
        inner = folder / archive.inner
        if not inner.is_file():
            raise UserError(f"{folder / archive.name}: has no {archive.inner}: bring the published archive")
        _extract(inner, folder, bounds)
        inner.unlink()
    if not (folder / archive.unpacks_to).exists():
        raise UserError(f"{folder / archive.name}: holds no {archive.unpacks_to}: bring the published archive")
    marker(archive, folder).unlink()


def _extract(path: Path, folder: Path, bounds: Bounds) -> None:
    count, total = 0, 0
    try:
        for member in _members(path):
            count, total = count + 1, total + member.size
            if count > bounds.members or total > bounds.bytes:
                raise UserError(f"{path}: unpacks to more than {bounds}: bring the published archive")
            _place(member, path, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"{path}: damaged ({error}): delete it and bring it again") from error


def _place(member: _Member, path: Path, folder: Path) -> None:
    target = folder / member.name
    name = PurePosixPath(member.name)
    outside = name.is_absolute() or ".." in name.parts or "\\" in member.name
    if outside or not target.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{path}: {member.name!r} leads out of the folder: bring the published archive")
    if member.stream is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with member.stream, target.open("wb") as written:
        shutil.copyfileobj(member.stream, written, 1 << 20)


def _members(path: Path) -> Iterator[_Member]:
    if path.name.endswith(".zip"):
        yield from _zip_members(path)
    else:
        yield from _tar_members(path)


def _tar_members(path: Path) -> Iterator[_Member]:
    # The mode finds the compression: ImageNetV2's .tar.gz is a plain tar.
    with tarfile.open(path, "r:*") as tar:
        for entry in tar:
            if not (entry.isfile() or entry.isdir()):
                raise UserError(f"{path}: {entry.name!r} is a link or device: bring the published archive")
            yield _Member(entry.name, entry.size, tar.extractfile(entry) if entry.isfile() else None)


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(f"{path}: {entry.filename!r} is a link or device: bring the published archive")
            yield _Member(entry.filename, entry.file_size, None if entry.is_dir() else archive.open(entry))

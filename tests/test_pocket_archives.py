"""The pocket pack's archives: nothing escapes, nothing unpinned gets in, nothing explodes."""

from __future__ import annotations

import hashlib
import io
import shutil
import struct
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlrepro.data.sources.pocket_build import archives, drawing
from vlrepro.data.sources.pocket_build.archives import Archive, fetch, unpack
from vlrepro.data.sources.pocket_build.designs import EVALUATION, PRETRAIN
from vlrepro.data.sources.pocket_build.transfer import clipart
from vlrepro.errors import UserError


def tar_with(path: Path, member: tarfile.TarInfo, data: bytes = b"") -> Path:
    member.size = len(data)
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(member, io.BytesIO(data))
    return path


def escaping_members() -> list[tarfile.TarInfo]:
    link = tarfile.TarInfo("package/link")
    link.type, link.linkname = tarfile.SYMTYPE, "../../../outside"
    return [tarfile.TarInfo("../evil"), tarfile.TarInfo("package/../../evil"), link]


@pytest.mark.parametrize("number", range(3))
def test_unpacking_refuses_members_that_leave_the_folder(tmp_path: Path, number: int) -> None:
    archive = tar_with(tmp_path / "evil.tgz", escaping_members()[number])
    with pytest.raises(UserError, match=r"evil\.tgz: refused to unpack"):
        unpack(archive, tmp_path / "inside")
    assert not (tmp_path / "evil").exists()


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_unpacking_a_debian_package_refuses_escapes_too(tmp_path: Path) -> None:
    data = tar_with(tmp_path / "data.tar.gz", tarfile.TarInfo("../evil")).read_bytes()
    control = tar_with(
        tmp_path / "control.tar.gz", tarfile.TarInfo("./control"), b"Package: x\nVersion: 1\n"
    ).read_bytes()
    deb = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n"), ("control.tar.gz", control), ("data.tar.gz", data)):
        deb += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
            + content
            + b"\n" * (len(content) % 2)
        )
    (tmp_path / "evil.deb").write_bytes(deb)
    with pytest.raises(UserError, match=r"evil\.deb: refused to unpack"):
        unpack(tmp_path / "evil.deb", tmp_path / "inside")
    assert not (tmp_path / "evil").exists()


def test_an_archive_with_another_digest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thing-1.tgz").write_bytes(b"not it")
    wanted = Archive("npm", "thing", "1", "thing-1.tgz", "0" * 64)
    with pytest.raises(UserError, match="SHA-256 is not the pinned one"):
        fetch(wanted, tmp_path)
    right = replace(wanted, sha256=hashlib.sha256(b"not it").hexdigest())
    assert fetch(right, tmp_path) == tmp_path / "thing-1.tgz"


def test_archives_are_pinned_and_name_no_host() -> None:
    assert all(len(archive.sha256) == 64 and archive.version[0].isdigit() for archive in archives.ARCHIVES)
    assert {design.package for design in (*PRETRAIN, *EVALUATION)} <= set(archives.BY_NAME)


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", width, height, 8, 6, 0, 0, 0, 0)


def test_a_decompression_bomb_is_skipped_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(200_000, 200_000))
    assert drawing.open_png(tmp_path / "bomb.png") is None
    (tmp_path / "cut.png").write_bytes(png_header(10, 10))
    with pytest.raises(UserError, match=r"cut\.png: the PNG does not decode"):
        drawing.open_png(tmp_path / "cut.png")
    (tmp_path / "text.png").write_bytes(b"hello")
    with pytest.raises(UserError, match="not a PNG file"):
        drawing.open_png(tmp_path / "text.png")


def test_clip_art_counts_bombs_and_broken_files_and_caps_classes(tmp_path: Path) -> None:
    folder = tmp_path / "animals/birds"
    folder.mkdir(parents=True)
    for number in range(45):
        pixels = np.full((9, 9, 4), 255, np.uint8)
        pixels[number // 9, number % 9, :3] = 0
        Image.fromarray(pixels).save(folder / f"bird_{number}.png")
    (folder / "bomb.png").write_bytes(png_header(99_999, 99_999))
    (folder / "broken.png").write_bytes(b"")
    (folder / "link.png").symlink_to("bird_0.png")
    counts: Counter[str] = Counter()
    items = clipart(tmp_path, counts)
    assert len(items) == 40
    assert {item.picture.label for item in items} == {"animals-birds"}
    assert len({item.unit for item in items}) == 1
    assert set(counts) <= {"decompression bombs skipped", "openclipart files that do not decode"}

"""The pocket pack's source archives: pinned, fetched by ordinary clients, verified and unpacked safely."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from vlrepro.errors import UserError
from vlrepro.files import file_digest


@dataclass(frozen=True)
class Archive:
    """A source archive: the client that fetches it (`npm` or `apt`), name, version, file name and SHA-256."""

    client: str
    name: str
    version: str
    file: str
    sha256: str

    @property
    def reference(self) -> str:
        """The package and its version as written into the rows' `source`."""
        return f"{self.name}@{self.version}"


def _npm(name: str, version: str, sha256: str) -> Archive:
    return Archive("npm", name, version, f"{name.lstrip('@').replace('/', '-')}-{version}.tgz", sha256)


ARCHIVES = (
    _npm("emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a"),
    _npm("@iconify-json/emojione", "1.2.3", "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e"),
    _npm("@iconify-json/emojione-v1", "1.2.3", "6641d59d48a42823fdc2b84e7427e9f302944eb98d2c7d94d6e67c139e7b37b3"),
    _npm("@iconify-json/fxemoji", "1.2.2", "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef"),
    _npm("@iconify-json/noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"),
    _npm("@iconify-json/noto-v1", "1.2.5", "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37"),
    _npm(
        "@iconify-json/streamline-emojis", "1.2.4", "5dac87c876b322500989828c5823143e0100d78881627a2e4081a4b897cbfdbc"
    ),
    _npm("@iconify-json/twemoji", "1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7"),
    _npm("@iconify-json/openmoji", "1.2.29", "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5"),
    _npm("openmoji", "17.0.0", "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68"),
    _npm(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    ),
    _npm(
        "@iconify-json/fluent-emoji-high-contrast",
        "1.2.6",
        "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
    ),
    Archive(
        "apt",
        "openclipart-png",
        "1:0.18+dfsg-19",
        "openclipart-png_1%3a0.18+dfsg-19_all.deb",
        "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
    ),
)
BY_NAME = {archive.name: archive for archive in ARCHIVES}


def fetch(archive: Archive, folder: Path) -> Path:
    """Return the verified archive in `folder`, fetching it with `npm pack` or `apt-get download` if it is absent.

    Raises `UserError` when the client is missing or fails, or when the file's SHA-256 is not the pinned one.
    """
    path = folder / archive.file
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        if archive.client == "npm":
            _run(["npm", "pack", "--silent", archive.reference], folder)
        else:
            _run(["apt-get", "download", f"{archive.name}={archive.version}"], folder)
    if not path.is_file():
        raise UserError(f"{path}: {archive.reference} was not delivered: download it into {folder} by hand")
    if file_digest(path) != archive.sha256:
        raise UserError(
            f"{path}: the SHA-256 is not the pinned one: delete the file and fetch {archive.reference} again"
        )
    return path


def unpack(path: Path, folder: Path) -> Path:
    """Unpack a `.tgz` (npm) or `.deb` archive into the empty `folder` and return the folder.

    Members that would land outside `folder`, links that point outside and device files are refused with a
    `UserError` that names the archive and the member.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if path.suffix == ".deb":
            _unpack_deb(path, folder)
        else:
            with tarfile.open(path, "r:gz") as tar:
                tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{path}: refused to unpack ({error}): fetch the archive again from its origin") from error
    return folder


def unpack_all(sources: Path, folder: Path) -> dict[str, Path]:
    """Fetch, verify and unpack every archive of `ARCHIVES`: package name -> folder of its files."""
    roots = {}
    for number, archive in enumerate(ARCHIVES):
        root = unpack(fetch(archive, sources), folder / f"{number:02d}")
        roots[archive.name] = root / "package" if archive.client == "npm" else root / "usr/share/openclipart/png"
    return roots


def _unpack_deb(path: Path, folder: Path) -> None:
    command = [_client("dpkg-deb"), "--fsys-tarfile", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            tar.extractall(folder, filter="data")
        process.stdout.read()
    if process.returncode != 0:
        raise UserError(f"{path}: dpkg-deb could not read the package: fetch it again")


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run([_client(command[0]), *command[1:]], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{folder}: `{' '.join(command)}` failed ({reason}): run it by hand and use --sources")


def _client(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise UserError(f"{name}: the program is not installed: install it or give the archives with --sources")
    return found

"""Bring one published archive: resumed where it was cut, tried again after a pause, whole and checked or absent.

Only http and https, and only public addresses, checked on the address that a connection is made to (redirects too).
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from vlrepro.data.download.addresses import guarded_socket, is_public
from vlrepro.data.sources.about import Archive
from vlrepro.errors import UserError
from vlrepro.files import read_json, write_json

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PIECE = 1 << 20  # bytes read at a time
_REPORT = 30.0  # seconds between lines of progress


@dataclass(frozen=True)
class Tries:
    """How long a server is asked: tries in all, the first pause (doubled each time) and the time limits in seconds."""

    attempts: int = 6
    pause: float = 2.0
    connect: float = 30.0
    read: float = 120.0
    redirects: int = 8
    allow_private: bool = False


class _Cut(Exception):
    """A try that failed in a way that may pass."""


def bring(archive: Archive, folder: str | Path, tries: Tries = Tries()) -> Path:
    """Return the verified file of `archive` in `folder`; what is not there is downloaded from its URL.

    An interrupted download goes on where it was, unless the server's file is another by now. Raises `UserError` where
    the server refuses, stays unreachable, or sends other bytes than the published size or digest says.
    """
    path = Path(folder) / archive.name
    if not path.is_file():
        if archive.url is None:
            raise UserError(f"{path}: brought by hand: put the file there")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{archive.name}.part")
        _download(archive, part, tries)
        verify(archive, part)
        part.replace(path)
        _tag_file(part).unlink(missing_ok=True)
    else:
        verify(archive, path, keep=True)
    return path


def verify(archive: Archive, path: Path, keep: bool = False) -> None:
    """Compare a file's size and digest with what is published; one that differs is deleted unless `keep`.

    Raises `UserError` naming the file and what differs.
    """
    fault = _fault(archive, path)
    if fault is None:
        return
    if not keep:
        path.unlink()
        _tag_file(path).unlink(missing_ok=True)
    raise UserError(f"{path.with_name(archive.name)}: {fault}: delete it and bring {archive.name} again")


def _fault(archive: Archive, path: Path) -> str | None:
    size = path.stat().st_size
    if archive.bytes is not None and size != archive.bytes:
        return f"{size:,} bytes, published are {archive.bytes:,}"
    for name, published in (("sha256", archive.sha256), ("md5", archive.md5)):
        if published is not None:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, name).hexdigest()
            return None if found == published else f"its {name} is {found[:12]}…, published is {published[:12]}…"
    return None


def _download(archive: Archive, part: Path, tries: Tries) -> None:
    pause = tries.pause
    for attempt in range(1, tries.attempts + 1):
        try:
            asyncio.run(_try(archive, part, tries))
            return
        except (_Cut, aiohttp.ClientError, OSError, TimeoutError) as error:
            if isinstance(error, OSError) and error.filename:
                raise  # this machine's disk, not the network
            if attempt == tries.attempts:
                reason = str(error) or type(error).__name__
                raise UserError(f"{archive.url}: {reason}, after {attempt} tries: run again, it goes on") from error
            time.sleep(pause)
            pause *= 2


async def _try(archive: Archive, part: Path, tries: Tries) -> None:
    connector = aiohttp.TCPConnector(socket_factory=None if tries.allow_private else guarded_socket)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=tries.connect, sock_read=tries.read)
    headers = {"User-Agent": "vlrepro", "Accept-Encoding": "identity"} | _resumed(part)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        auto_decompress=False,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        target = URL(archive.url or "")
        for _ in range(tries.redirects + 1):
            _check_target(target, tries)
            async with session.get(target, allow_redirects=False, headers=headers) as response:
                if response.status in _REDIRECTS:
                    target = target.join(URL(response.headers.get("Location", "")))
                    continue
                await _keep(response, archive, part)
                return
    raise UserError(f"{archive.url}: more than {tries.redirects} redirects: bring {archive.name} by hand")


def _check_target(target: URL, tries: Tries) -> None:
    if target.scheme not in ("http", "https") or not target.host or target.user is not None:
        raise UserError(f"{target}: not an http or https address: bring the archive by hand")
    try:
        private = not is_public(target.host)
    except ValueError:
        private = False  # a name: the address that it resolves to is checked as the connection is made
    if private and not tries.allow_private:
        raise UserError(f"{target}: not a public address: bring the archive by hand")


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _resumed(part: Path) -> dict[str, str]:
    """Headers that ask for the rest of `part`, on the condition that the server's file is still the same."""
    if not part.is_file() or not part.stat().st_size or not _tag_file(part).is_file():
        return {}
    return {"Range": f"bytes={part.stat().st_size}-", "If-Range": read_json(_tag_file(part))["tag"]}


async def _keep(response: aiohttp.ClientResponse, archive: Archive, part: Path) -> None:
    had = part.stat().st_size if part.is_file() else 0
    if response.status == 416 and had:
        part.unlink()  # more than the server has: another file
        raise _Cut("the part on disk is longer than the server's file")
    if response.status in (408, 425, 429) or response.status >= 500:
        raise _Cut(f"HTTP status {response.status}")
    if response.status not in (200, 206):
        raise UserError(f"{archive.url}: HTTP status {response.status}: bring {archive.name} by hand")
    if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {had}-"):
        part.unlink(missing_ok=True)
        raise _Cut("the server sent another range than it was asked for")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise UserError(f"{archive.url}: a web page came, not the archive: bring {archive.name} by hand")
    if response.status == 200:
        had = 0
        _remember(response, part)
    await _write(response, archive, part, had)


def _remember(response: aiohttp.ClientResponse, part: Path) -> None:
    """Note what identifies the server's file; a weak ETag may not stand in `If-Range`."""
    etag = response.headers.get("ETag", "")
    tag = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    if tag:
        write_json(_tag_file(part), {"tag": tag})
    else:
        _tag_file(part).unlink(missing_ok=True)


async def _write(response: aiohttp.ClientResponse, archive: Archive, part: Path, had: int) -> None:
    length = response.content_length
    expected = archive.bytes or (None if length is None else had + length)
    said = time.monotonic()
    with part.open("ab" if had else "wb") as stream:
        async for piece in response.content.iter_chunked(_PIECE):
            stream.write(piece)
            had += len(piece)
            if archive.bytes is not None and had > archive.bytes:
                return  # the size check names it
            if time.monotonic() - said > _REPORT:
                said = time.monotonic()
                share = f" of {expected / 1e6:,.0f}" if expected else ""
                print(f"{archive.name}: {had / 1e6:,.0f}{share} MB", file=sys.stderr, flush=True)

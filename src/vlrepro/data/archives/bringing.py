"""Bring and unpack the archives of a pack, a few at a time; one that fails stops no other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from vlrepro.data.archives.client import bring
from vlrepro.data.archives.unpack import unpack
from vlrepro.data.archives.wanted import Wanted
from vlrepro.errors import UserError, one_line

_AT_ONCE = 4  # archives: they are mostly of one host


def bring_all(wanted: Sequence[Wanted]) -> dict[str, str | None]:
    """Key -> why an archive did not come, in one line, or None where it came; each is told as it ends."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        reasons = pool.map(_bring, wanted)
        return {one.key: reason for one, reason in zip(wanted, reasons, strict=True)}


def _bring(wanted: Wanted) -> str | None:
    try:
        bring(wanted.archive, wanted.folder)
        unpack(wanted.archive, wanted.folder)
    except (UserError, OSError) as error:  # the disk's errors, too: what came before them is told all the same
        print(reason := one_line(error), flush=True)
        return reason
    print(f"{wanted.folder / wanted.archive.name}: there", flush=True)
    return None


def sizes_text(wanted: Sequence[Wanted]) -> str:
    """How much is to be brought: archives, their bytes as published, and how many have no published size."""
    sizes = [one.archive.bytes for one in wanted]
    known, unknown = sum(size for size in sizes if size), sum(size is None for size in sizes)
    beyond = f" and {unknown} of unpublished size" if unknown else ""
    return f"{len(sizes)} archives to bring, {known / 1e9:,.2f} GB{beyond}"

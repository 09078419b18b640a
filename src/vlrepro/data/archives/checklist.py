"""What is there of a configuration's sets, what was fetched, and what a person must supply and where to put it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlrepro.data.archives.unpack import is_packed
from vlrepro.data.archives.wanted import Wanted, about_of, wanted_of

THERE, FETCHED, FAILED, MISSING = "there", "fetched", "failed", "missing"
_TOLD = 5  # files of a pack that the text names; all are in the JSON


@dataclass(frozen=True)
class Item:
    """One file of a pack: its state (`there`, `fetched`, `failed`, `missing`), with the reason where it failed.

    `bytes` and `digest` are as published, None and "" where nobody published them; `result` is the file or folder
    below `folder` that counts, once the archive is unpacked. Without `name` it is the pack, made of what is in
    `folder`.
    """

    pack: str
    state: str
    name: str
    folder: str
    result: str
    title: str = ""
    home_page: str = ""
    licence: str = ""
    bytes: int | None = None
    digest: str = ""
    by_hand: str = ""
    reason: str = ""


def checklist(packs: Mapping[str, Mapping[str, Any]], failures: Mapping[str, str | None]) -> list[Item]:
    """The files of all packs (name -> source, path, revision, web, index, log), in the configuration's order.

    A pack whose index is made needs its archives no more: they count as there. Of one that was tried and is not made,
    though all its files are there, the log's last words tell why.

    `failures` has an entry for each archive, by its key, that this run tried to bring: the reason why it did not come,
    or None where it came.
    """
    items = []
    for pack, entry in packs.items():
        found = wanted_of(entry)
        made = Path(entry["index"]).exists()
        own = [_item(pack, wanted, failures, made) for wanted in found]
        if not found and entry["path"] is not None:
            path = Path(entry["path"])
            state = THERE if made or path.exists() else MISSING
            own.append(
                Item(pack, state, path.name, str(path.parent), path.name, by_hand="make this pack: docs/packs.md")
            )
        items += own if made or incomplete(own) else [*own, *_unmade(pack, entry)]
    return items


def _unmade(pack: str, entry: Mapping[str, Any]) -> list[Item]:
    """The pack itself where it was tried, in vain, to make it."""
    log = Path(entry["log"])
    if not log.is_file():
        return []
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")] or lines
    cure = f"mend what is named, or delete it so that it is brought again; more is in {log}"
    reason = told[-1] if told else "stopped without a word"
    about = about_of(entry)
    title, page, licence = (about.title, about.home_page, about.licence) if about else ("", "", "")
    return [Item(pack, FAILED, "", str(entry["path"]), "", title, page, licence, by_hand=cure, reason=reason)]


def _item(pack: str, wanted: Wanted, failures: Mapping[str, str | None], made: bool) -> Item:
    archive, about = wanted.archive, wanted.about
    reason = failures.get(wanted.key)
    there = made or wanted.there
    state = THERE if there else FAILED if reason else MISSING
    if there and wanted.key in failures:
        state = FETCHED
    digest = f"sha256 {archive.sha256}" if archive.sha256 else f"md5 {archive.md5}" if archive.md5 else ""
    return Item(
        *(pack, state, archive.name, str(wanted.folder), archive.unpacks_to),
        *(about.title, about.home_page, about.licence, archive.bytes, digest),
        by_hand=about.by_hand or f"bring {archive.url} yourself" if archive.url else about.by_hand,
        reason=reason or "",
    )


def incomplete(items: Sequence[Item]) -> list[Item]:
    """What is not on disk, and packs that could not be made."""
    return [item for item in items if item.state in (FAILED, MISSING)]


def as_text(items: Sequence[Item]) -> str:
    """The checklist as lines: one a pack that is whole, and for the others what to put where."""
    lines = []
    for pack in dict.fromkeys(item.pack for item in items):
        own = [item for item in items if item.pack == pack]
        lacking = incomplete(own)
        if not lacking:
            fetched = [item.name for item in own if item.state == FETCHED]
            lines.append(f"[x] {pack}: there" + (f"; fetched: {', '.join(fetched)}" if fetched else ""))
            continue
        lines += [f"[ ] {pack}: {own[0].title or 'a pack of yours'}", *_terms(lacking[0])]
        lines += [line for item in lacking[:_TOLD] for line in _told(item)]
        if (beyond := len(lacking) - _TOLD) > 0:
            lines.append(f"      and {beyond} more, up to {lacking[-1].name}: all are in checklist.json")
    whole = sum(line.startswith("[x]") for line in lines)
    return "\n".join([*lines, f"{whole} packs whole, {sum(line.startswith('[ ]') for line in lines)} not", ""])


def _terms(item: Item) -> list[str]:
    lines = [f"      home page: {item.home_page}", f"      licence: {item.licence}"] if item.home_page else []
    return [*lines, f"      to do: {item.by_hand}"] if item.by_hand else lines


def _told(item: Item) -> list[str]:
    if not item.name:
        return [f"      not made of {item.folder}: {item.reason}"]
    size = f"{item.bytes:,} bytes" if item.bytes else "size not published"
    unpacked = f", or unpacked as {item.folder}/{item.result}" if is_packed(item.name) else ""
    lines = [f"      put {item.folder}/{item.name}{unpacked} ({size}{f', {item.digest}' if item.digest else ''})"]
    return [*lines, f"      tried: {item.reason}"] if item.reason else lines


def as_json(items: Sequence[Item]) -> list[dict[str, Any]]:
    """The checklist's items as JSON takes them."""
    return [asdict(item) for item in items]

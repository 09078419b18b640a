"""Fetch a pack and check it: the bytes by digest, then every picture by decoding it once."""

from __future__ import annotations

import csv
import importlib
import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from vlrepro.data.decoding import decode
from vlrepro.data.pack import INDEX, MANIFEST, Pack, read_index, write_index
from vlrepro.errors import UserError
from vlrepro.files import file_digest, write_text

REJECTED = "rejected.csv"


def fetch_pack(
    recipe: Mapping[str, Any],
    folder: str | Path,
    limit: float,
    state: str | Path | None = None,
    pace: Mapping[str, Any] | None = None,
) -> tuple[int, int]:
    """Bring the pack of `recipe` (see `bring`) into `folder`; return (usable, rejected) pictures.

    The index that is left lists usable pictures only; `rejected.csv` lists the others with their reasons.

    Raises:
        UserError: the source or its digest is not as the config says, or the share of pictures that do not
            decode exceeds `limit`.
    """
    folder = Path(folder)
    bring(recipe, folder, state, pace)
    rows = read_index(folder / INDEX)
    reasons = _undecodable(Pack(folder))
    _check_limit(reasons, len(rows), limit, recipe["path"] or recipe["source"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["key", "shard", "reason"])
    writer.writerows([row.key, row.shard, reasons[row.key]] for row in rows if row.key in reasons)
    write_text(folder / REJECTED, text.getvalue())
    if reasons:
        write_index(folder / INDEX, [row for row in rows if row.key not in reasons])
    if state and "web" in recipe:
        shutil.rmtree(state)
    return len(rows) - len(reasons), len(reasons)


def bring(
    recipe: Mapping[str, Any],
    folder: str | Path,
    state: str | Path | None = None,
    pace: Mapping[str, Any] | None = None,
) -> None:
    """Have the source of `recipe` (source, path, digest, or compose for a set made here) write its pack into `folder`.

    A recipe with `web` is a download, at `pace`, which goes on from `state` where an earlier one was interrupted.
    Raises `UserError` where the source or its digest is not as the config says.
    """
    _check_digest(recipe)
    source = _source(recipe["source"])
    if "web" not in recipe:
        source.fetch(recipe.get("compose") or recipe["path"], folder)
    elif state is None or pace is None:
        raise UserError(f"{recipe['path']}: a list of URLs: make its pack with the rule fetch_web_pack")
    else:
        source.fetch(recipe["path"], folder, recipe["web"], state, pace)


def _source(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"vlrepro.data.sources.{name}")
    except ModuleNotFoundError:
        raise UserError(f"source {name!r} has no file in vlrepro/data/sources: mend packs in the config") from None


def _check_digest(recipe: Mapping[str, Any]) -> None:
    if recipe["digest"] is None:
        return
    manifest = Path(recipe["path"]) / MANIFEST
    if not manifest.is_file():
        raise UserError(f"{manifest}: no such pack: restore it (git checkout) or mend packs in the config")
    found = file_digest(manifest)
    if found != recipe["digest"]:
        digests = f"the pack's digest is {found[:12]}…, the config pins {recipe['digest'][:12]}…"
        raise UserError(f"{manifest}: {digests}: restore the pack or pin the new digest")


def _undecodable(pack: Pack) -> dict[str, str]:
    """Key -> reason of every picture that does not decode."""
    reasons = {}
    for position, row in enumerate(pack.rows):
        try:
            decode(pack.picture(position), 8)
        except ValueError as error:
            reasons[row.key] = str(error)
    return reasons


def _check_limit(reasons: Mapping[str, str], total: int, limit: float, place: str) -> None:
    if len(reasons) > limit * total:
        key, reason = next(iter(reasons.items()))
        raise UserError(
            f"{place}: {len(reasons)} of {total} pictures are unusable (first: {key}: {reason}), over the limit of "
            f"{limit:.1%}: mend the pictures or raise limits.bad_pictures"
        )
    if not total:
        raise UserError(f"{place}: the pack has no pictures: fetch or rebuild it")

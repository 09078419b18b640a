"""A download that somebody made already: tar files as WebDataset and img2dataset write them.

<path>/*.tar          members <key>.jpg (or .jpeg, .png, .webp), <key>.txt: its caption, and where there is one
                      <key>.json: `url` becomes the picture's source, `caption` stands in for a missing .txt

Files are read in order of their names and members in their order; those of a key follow each other. CC3M is to be had
like this as it was in December 2021 (pixparse/cc3m-wds on Hugging Face: 576 files, 2,905,954 pictures). Pictures become
what a download of our own makes of them (`vlrepro.data.download.pictures`): JPEGs of a short side of 256 at most.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from vlrepro.data.download.options import Rules
from vlrepro.data.download.pictures import pack_picture
from vlrepro.data.pack import Picture, write_pack
from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import key_of
from vlrepro.data.sources.benchmarks.files import folder_at
from vlrepro.errors import UserError

_CC3M = "https://huggingface.co/datasets/pixparse/cc3m-wds/resolve/46f3d69f840e59d77d52e8decfe5baec97e94c7f"
PUBLISHED = {"cc3m-train-*.tar": 576}  # files of a download that is complete
ABOUT = About(
    title="Conceptual Captions, training pictures of December 2021",
    home_page="https://huggingface.co/datasets/pixparse/cc3m-wds",
    licence="Conceptual Captions' terms for the captions; the pictures belong to their owners",
    metric="",
    split="the files of training alone: those of validation belong in another folder",
    archives=tuple(
        Archive(name, f"{_CC3M}/{name}", unpacks_to=name)
        for name in (f"cc3m-train-{number:04d}.tar" for number in range(PUBLISHED["cc3m-train-*.tar"]))
    ),
)
RULES = Rules(
    format="webdataset",
    short_side=256,
    quality=95,
    min_side=16,
    max_bytes=20_000_000,
    max_pixels=64_000_000,
    max_frames=1000,
    max_redirects=0,
    allow_private=False,
)
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
_TEXTS = (".txt", ".json")
_AT_ONCE = 512  # pictures in memory
_END = bytes(1024)


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack the tar files at `path` into `folder`.

    A picture that does not decode is packed as it is: the check after every fetch counts and lists it. Raises
    `UserError` naming the file, and the member, where tar files are missing or cut short, a picture has no caption or
    text is malformed.
    """
    files = sorted(folder_at(Path(path)).glob("*.tar"))
    if not files:
        raise UserError(f"{path}: no *.tar in the folder: put the download's tar files there")
    for pattern, expected in PUBLISHED.items():
        found = sum(file.match(pattern) for file in files)
        if found and (found, len(files)) != (expected, expected):
            beside = f"{found} files {pattern} and {len(files) - found} others instead of {expected} alone"
            raise UserError(f"{path}: {beside}: get all of them, and move the others away")
    write_pack(folder, _pictures(files))


def _pictures(files: list[Path]) -> Iterator[Picture]:
    samples = (sample for file in files for sample in _samples(file))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # decoders leave Python's lock alone
        while group := list(islice(samples, _AT_ONCE)):
            yield from pool.map(_picture, group)


def _samples(file: Path) -> Iterator[tuple[Path, str, dict[str, bytes]]]:
    """The file, a key and the members of that key by their endings, for each picture of a tar file."""
    key, members = "", {}
    _check_end(file)
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                stem, ending = _split(member.name)
                if not member.isfile() or ending not in ENDINGS + _TEXTS:
                    continue
                if stem != key:
                    yield from _whole(file, key, members)
                    key, members = stem, {}
                if member.size > RULES.max_bytes:
                    raise UserError(f"{file}: {member.name} has {member.size:,} bytes: take it out")
                members[ending] = tar.extractfile(member).read()  # type: ignore[union-attr]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{file}: not a whole tar file ({error}): get it again") from None
    yield from _whole(file, key, members)


def _split(name: str) -> tuple[str, str]:
    """A member's key and ending, as WebDataset reads names: all before the first dot of the last part, and the rest."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, dot, ending = base.partition(".")
    return folder + slash + stem, dot + ending.lower()


def _check_end(file: Path) -> None:
    """A tar file that was cut between two members reads like a whole one, but does not end in 1,024 zeros."""
    with file.open("rb") as data:
        data.seek(max(0, file.stat().st_size - len(_END)))
        if data.read() != _END:
            raise UserError(f"{file}: not a whole tar file (its end is missing): get it again")


def _whole(file: Path, key: str, members: dict[str, bytes]) -> Iterator[tuple[Path, str, dict[str, bytes]]]:
    if any(ending in members for ending in ENDINGS):
        yield file, key, members


def _picture(sample: tuple[Path, str, dict[str, bytes]]) -> Picture:
    file, key, members = sample
    facts = _facts(file, key, members.get(".json"))
    suffix = next(ending for ending in ENDINGS if ending in members)
    packed = pack_picture(members[suffix], RULES)
    text = members.get(".txt", str(facts.get("caption") or "").encode())
    try:
        caption = " ".join(text.decode("utf-8").split())
    except UnicodeDecodeError:
        raise UserError(f"{file}: {key}.txt is not UTF-8: get the file again") from None
    if not caption:
        raise UserError(f"{file}: {key}{suffix} has no caption: only pairs can be packed")
    whole = packed.reason == "ok"
    return Picture(
        key_of(f"{file.stem}-{key}"),
        packed.data if whole else members[suffix],
        ".jpg" if whole else suffix,
        packed.packed_width,
        packed.packed_height,
        caption=caption,
        source=str(facts.get("url") or f"{file.name}/{key}{suffix}"),
    )


def _facts(file: Path, key: str, text: bytes | None) -> dict[str, object]:
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: {key}.json is no JSON ({error}): get the file again") from None
    if not isinstance(found, dict):
        raise UserError(f"{file}: {key}.json is no JSON object: get the file again")
    return found

"""What an evaluation set is made of, whether it is whole, and how it becomes a pack."""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlrepro.data.decoding import size_of
from vlrepro.data.pack import Picture, write_pack
from vlrepro.data.sources.benchmarks.files import class_folders, file_at, in_words, pictures_in
from vlrepro.errors import UserError
from vlrepro.files import file_digest
from vlrepro.randomness import key as random_key

VAL_PART = 5  # one in so many training pictures is in a validation split that is drawn here
LONGEST_KEY = 80  # characters: a shard's member names have 100
_SUFFIXES = {".jpeg": ".jpg"}
_RAW = (".ppm",)


@dataclass(frozen=True, slots=True)
class Example:
    """A picture of a set, with its class and split: train, val or test, "" where it is left out of the pack.

    `source` is its file below `root`, or, where a file holds many as raw `pixels` (H, W, 3) uint8, that file's name and
    a number. `name` is the class in words, "" where the set has none. Pictures of one `unit` (frames of one track, say)
    stay on one side of a drawn split; alone where it is "".
    """

    root: Path
    source: str
    label: str
    split: str
    name: str = ""
    unit: str = ""
    pixels: NDArray[np.uint8] | None = None

    @property
    def key(self) -> str:
        """The picture's key in a pack: `key_of` its source."""
        return key_of(self.source)


@dataclass(frozen=True)
class Official:
    """What is published about a set's contents: a copy that differs is not this set, or not all of it.

    Attributes:
        classes: their number.
        train: pictures for training, None where sources disagree.
        val: pictures for validation, 0 where there are none: they are then drawn from `train`.
        test: pictures for the test, None where sources disagree.
        lists: SHA-256 of files below the set's folder that say which picture is what.
        labels: `names_digest` of the classes, "" where it is not known.
        sources: `names_digest` of all pictures' files, of those that are left out as well; "" where it is not known.
    """

    classes: int
    train: int | None = 0
    val: int = 0
    test: int | None = 0
    lists: Mapping[str, str] = field(default_factory=dict)
    labels: str = ""
    sources: str = ""


def write_set(folder: str | Path, examples: Sequence[Example], official: Official, place: Path) -> None:
    """Pack a set in `folder`, with a validation split where it has training pictures.

    Raises `UserError` naming `place` where numbers, names or lists are not the official ones.
    """
    check_whole(examples, official, place)
    examples = [example for example in examples if example.split]
    if not official.val:
        examples = with_validation(examples)
    write_pack(folder, packed(examples))


def check_whole(examples: Sequence[Example], official: Official, place: Path) -> None:
    """Raise `UserError` where the set in the folder `place` is not the official one.

    Its numbers, names or lists differ: an archive was unpacked in part, is damaged, or is another release's.
    """
    found = Counter(example.split for example in examples if example.split)
    cure = "unpack the whole archive that docs/packs.md names"
    for split in ("train", "val", "test"):
        expected = getattr(official, split)
        if expected is not None and found[split] != expected:
            raise UserError(f"{place}: {found[split]:,} {split} pictures instead of {expected:,}: {cure}")
    for split in found:
        classes = len({example.label for example in examples if example.split == split})
        if classes != official.classes:
            raise UserError(f"{place}: {classes:,} {split} classes instead of {official.classes:,}: {cure}")
    for what, name in (("classes", "label"), ("pictures", "source")):
        expected = getattr(official, f"{name}s")
        if expected and names_digest(getattr(example, name) for example in examples) != expected:
            raise UserError(f"{place}: the {what} do not have the published names ({expected[:12]}…): {cure}")
    _check_lists(official.lists, place)


def _check_lists(lists: Mapping[str, str], place: Path) -> None:
    for name, expected in lists.items():
        digest = file_digest(file_at(place / name))
        if digest != expected:
            digests = f"its SHA-256 is {digest[:12]}…, that of the published file is {expected[:12]}…"
            raise UserError(f"{place / name}: {digests}: take the file from the archive that docs/packs.md names")


def names_digest(names: Iterable[str]) -> str:
    """SHA-256 of the different names, sorted, one a line (UTF-8, "\\n" after each)."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(set(names))).encode()).hexdigest()


def with_validation(examples: Sequence[Example]) -> list[Example]:
    """The examples in order, a fifth of each class's training units now `val`.

    Of n units of a class, max(1, floor(n / 5)) are drawn, none of one alone: those that come first by a hash of their
    name, so that neither the file system's order nor other classes matter.
    """
    units: dict[str, set[str]] = {}
    for example in examples:
        if example.split == "train":
            units.setdefault(example.label, set()).add(example.unit or example.key)
    chosen = {(label, unit) for label, names in units.items() for unit in drawn("val", names, _val_size(len(names)))}
    return [
        replace(example, split="val")
        if example.split == "train" and (example.label, example.unit or example.key) in chosen
        else example
        for example in examples
    ]


def _val_size(units: int) -> int:
    return min(units - 1, max(1, units // VAL_PART))


def drawn(purpose: str, names: set[str], size: int) -> list[str]:
    """The `size` names that come first in the order of a hash of `purpose` and name."""
    return sorted(names, key=lambda name: (random_key("benchmarks", purpose, name), name))[:size]


def class_examples(path: Path, folder: str) -> list[Example]:
    """The JPEGs in the class folders of `folder` below `path`, by class and file name, in no split yet.

    Raises `UserError` where a folder is missing or holds none.
    """
    return [
        Example(path, source, label, "", in_words(label))
        for label in class_folders(path / folder)
        for source in pictures_in(path, f"{folder}/{label}", (".jpg",))
    ]


def sliced(examples: Sequence[Example], purpose: str, official: Official) -> list[Example]:
    """The examples in order, split by slices of an order of hashes of their names, for a set that has no split.

    The first `official.train` names are for training, the next `official.val` for validation, the next `official.test`
    for the test; what remains is left out (split ""). `purpose` makes the order the set's own.
    """
    sizes = {"train": official.train or 0, "val": official.val, "test": official.test or 0}
    order = iter(drawn(purpose, {example.source for example in examples}, len(examples)))
    splits = {name: split for split, size in sizes.items() for name in islice(order, size)}
    return [replace(example, split=splits.get(example.source, "")) for example in examples]


def key_of(source: str) -> str:
    """A key for a file name such as `a/b c.jpg`: `a-b_c`, and a hash in the place of what makes it too long."""
    text = re.sub(r"\.[A-Za-z]+$", "", source).replace("/", "-")
    text = re.sub(r"[^A-Za-z0-9_-]+", "_", text)
    if len(text) <= LONGEST_KEY:
        return text
    return f"{text[: LONGEST_KEY - 17]}-{hashlib.sha256(source.encode()).hexdigest()[:16]}"


def packed(examples: Sequence[Example]) -> Iterator[Picture]:
    """The examples as rows of a pack, one picture in memory at a time: files as they are, raw pixels as PNG.

    A file that does not decode is packed as it is: the check after every fetch counts and lists it.
    """
    for example in examples:
        data, suffix = _encoded(example)
        width, height = size_of(data)
        yield Picture(
            key=example.key,
            data=data,
            suffix=suffix,
            width=width,
            height=height,
            caption=example.name,
            label=example.label,
            concept=example.name or example.label,
            split=example.split,
            source=example.source,
        )


def _encoded(example: Example) -> tuple[bytes, str]:
    if example.pixels is not None:
        return _png(Image.fromarray(np.ascontiguousarray(example.pixels))), ".png"
    file = example.root / example.source
    data, suffix = file.read_bytes(), file.suffix.lower()
    if suffix in _RAW:
        try:
            with Image.open(io.BytesIO(data)) as picture:
                return _png(picture.convert("RGB")), ".png"
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return data, suffix
    return data, _SUFFIXES.get(suffix, suffix)


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()

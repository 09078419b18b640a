"""What the binary releases of CIFAR-10 and CIFAR-100 share: records of label bytes, then 3 x 32 x 32 bytes of pixels.

The Python releases hold the same pictures in the same order, as pickles: those are not read.
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.benchmarks.examples import Example
from vlrepro.data.sources.benchmarks.files import class_number, in_words, malformed, raw_records, text_lines

SIDE = 32


def class_names(place: Path, classes: int) -> list[str]:
    """The class names of `place` in the order of their numbers. Raises `UserError` unless there are `classes`."""
    names = text_lines(place)
    if len(set(names)) != classes or len(names) != classes:
        raise malformed(place, " ".join(names), f"{classes} different class names")
    return names


def batch(path: Path, source: str, split: str, names: list[str], label_bytes: int) -> list[Example]:
    """The pictures of a binary file below `path`, in its order; the last label byte is the class, from 0.

    Raises `UserError` where the file is missing or cut short, or a label has no name.
    """
    found = []
    for i, record in enumerate(raw_records(path / source, label_bytes + 3 * SIDE * SIDE)):
        label = names[class_number(record[label_bytes - 1], len(names), path / source, first=0)]
        pixels = record[label_bytes:].reshape(3, SIDE, SIDE).transpose(1, 2, 0)
        found.append(Example(path, f"{source}/{i:05d}", label, split, in_words(label), pixels=pixels))
    return found

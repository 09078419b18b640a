"""CIFAR-10, binary release (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009).

<path>/cifar-10-batches-bin/{data_batch_1..5,test_batch}.bin    records of 1 label byte and 3,072 of pixels
<path>/cifar-10-batches-bin/batches.meta.txt                    ten class names

A validation split is drawn (`examples.with_validation`).
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.cifar import batch, class_names
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set

ABOUT = About(
    title="CIFAR-10",
    home_page="https://www.cs.toronto.edu/~kriz/cifar.html",
    licence="none is stated",
    metric="accuracy",
    split="official training and test pictures; a fifth of each class's training pictures is drawn for validation",
    archives=(
        Archive(
            name="cifar-10-binary.tar.gz",
            url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            unpacks_to="cifar-10-batches-bin",
            bytes=170_052_171,
            sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
)

OFFICIAL = Official(classes=10, train=50_000, test=10_000)
FOLDER = "cifar-10-batches-bin"


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack CIFAR-10 at `path` into `folder`. Raises `UserError` naming the file that is missing or malformed."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, in the files' order. Raises `UserError` as `fetch` does."""
    path = Path(path)
    names = class_names(path / FOLDER / "batches.meta.txt", OFFICIAL.classes)
    files = [(f"data_batch_{number}", "train") for number in range(1, 6)] + [("test_batch", "test")]
    return [example for file, split in files for example in batch(path, f"{FOLDER}/{file}.bin", split, names, 1)]

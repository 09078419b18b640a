"""CIFAR-100, binary release, fine labels (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009).

<path>/cifar-100-binary/{train,test}.bin             records of a coarse and a fine label byte, and 3,072 of pixels
<path>/cifar-100-binary/fine_label_names.txt         a hundred class names

A validation split is drawn (`examples.with_validation`).
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.cifar import batch, class_names
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set

ABOUT = About(
    title="CIFAR-100",
    home_page="https://www.cs.toronto.edu/~kriz/cifar.html",
    licence="none is stated",
    metric="accuracy",
    split="official training and test pictures; a fifth of each class's training pictures is drawn for validation",
    archives=(
        Archive(
            name="cifar-100-binary.tar.gz",
            url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            unpacks_to="cifar-100-binary",
            bytes=168_513_733,
            sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    ),
)

OFFICIAL = Official(classes=100, train=50_000, test=10_000)
FOLDER = "cifar-100-binary"


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack CIFAR-100 at `path` into `folder`. Raises `UserError` naming the file that is missing or malformed."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, in the files' order. Raises `UserError` as `fetch` does."""
    path = Path(path)
    names = class_names(path / FOLDER / "fine_label_names.txt", OFFICIAL.classes)
    return [example for split in ("train", "test") for example in batch(path, f"{FOLDER}/{split}.bin", split, names, 2)]

"""Caltech-101 (Fei-Fei et al., "Learning Generative Visual Models from Few Training Examples", 2004).

<path>/101_ObjectCategories/<class>/image_<number>.jpg

All 102 folders are classes, BACKGROUND_Google as well (Radford et al. 2021, table 9: 102 classes). The set has no
split: 30 pictures of each class are for training, those whose names come first by a hash, and the rest is the test.
Of the training pictures a validation split is drawn (`examples.with_validation`).
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, drawn, write_set
from vlrepro.data.sources.benchmarks.files import class_folders, in_words, pictures_in
from vlrepro.errors import UserError

ABOUT = About(
    title="Caltech-101",
    home_page="https://data.caltech.edu/records/mzrjq-6wc02",
    licence="CC-BY-4.0",
    metric="accuracy",
    split="thirty pictures of each of 102 classes, the background among them, are drawn for training",
    archives=(
        Archive(
            name="caltech-101.zip",
            url="https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
            unpacks_to="101_ObjectCategories",
            md5="3138e1922a9193bfa496528edbbc45d0",
            inner="caltech-101/101_ObjectCategories.tar.gz",
        ),
    ),
)

TRAIN_PER_CLASS = 30
OFFICIAL = Official(classes=102, train=102 * TRAIN_PER_CLASS, test=None)  # published numbers: 6,084 to 6,086
FOLDER = "101_ObjectCategories"


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack Caltech-101 at `path` into `folder`.

    Raises `UserError` naming the folder that is missing or has too few pictures for a test.
    """
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, by class and file name. Raises `UserError` as `fetch` does."""
    path = Path(path)
    return [example for label in class_folders(path / FOLDER) for example in _class(path, label)]


def _class(path: Path, label: str) -> list[Example]:
    sources = pictures_in(path, f"{FOLDER}/{label}", (".jpg",))
    if len(sources) <= TRAIN_PER_CLASS:
        raise UserError(
            f"{path / FOLDER / label}: {len(sources)} pictures, of which {TRAIN_PER_CLASS} are for training: "
            "unpack its archive again"
        )
    train = set(drawn("caltech101", set(sources), TRAIN_PER_CLASS))
    return [Example(path, source, label, "train" if source in train else "test", in_words(label)) for source in sources]

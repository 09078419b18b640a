"""Stanford Cars (Krause et al., "3D Object Representations for Fine-Grained Categorization", 2013).

<path>/devkit/cars_meta.mat                   class_names: 196, "make model type year"
<path>/devkit/cars_train_annos.mat            annotations with fname and class (from 1)
<path>/cars_test_annos_withlabels.mat         the same for the test pictures: those in the devkit have no labels
<path>/cars_train/<fname>, <path>/cars_test/<fname>

A validation split is drawn (`examples.with_validation`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import class_number, listed, matlab
from vlrepro.errors import UserError

ABOUT = About(
    title="Stanford Cars",
    home_page="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
    licence="ImageNet's: non-commercial research",
    metric="accuracy",
    split="official training and test pictures; a fifth of each class's training pictures is drawn for validation",
    archives=(
        Archive(
            name="car_devkit.tgz",
            url=None,
            unpacks_to="devkit",
            bytes=330_960,
            sha256="b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd",
        ),
        Archive(
            name="cars_train.tgz",
            url=None,
            unpacks_to="cars_train",
            bytes=979_269_282,
            sha256="512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288",
        ),
        Archive(
            name="cars_test.tgz",
            url=None,
            unpacks_to="cars_test",
            bytes=977_350_468,
            sha256="bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243",
        ),
        Archive(
            name="cars_test_annos_withlabels.mat",
            url=None,
            unpacks_to="cars_test_annos_withlabels.mat",
            bytes=185_758,
            sha256="790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05",
        ),
    ),
    by_hand=(
        "its host has answered 404 since 2023: take the four files from the Internet Archive's copies "
        "of their addresses below http://ai.stanford.edu/~jkrause/"
    ),
)

OFFICIAL = Official(
    classes=196,
    train=8_144,
    test=8_041,
    lists={
        "cars_test_annos_withlabels.mat": "790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05",
    },
)


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack the cars at `path` into `folder`. Raises `UserError` naming the file that is missing or malformed."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, in the annotations' order. Raises `UserError` as `fetch` does."""
    path = Path(path)
    names = [str(name) for name in np.atleast_1d(*matlab(path / "devkit/cars_meta.mat", "class_names"))]
    found = []
    for split, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        table = path / file
        annotations = np.atleast_1d(*matlab(table, "annotations"))
        if not {"fname", "class"} <= set(annotations.dtype.names or ()):
            raise UserError(f"{table}: annotations without fname and class: take the file with labels")
        for row in annotations:
            name = names[class_number(row["class"], len(names), table) - 1]
            found.append(Example(path, listed(path, f"cars_{split}/{row['fname']}", table), name, split, name))
    return found

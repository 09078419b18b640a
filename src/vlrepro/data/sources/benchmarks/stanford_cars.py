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

from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import class_number, listed, matlab
from vlrepro.errors import UserError

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

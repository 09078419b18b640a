"""Flowers-102 (Nilsback and Zisserman, "Automated Flower Classification over a Large Number of Classes", 2008).

<path>/imagelabels.mat                labels: the class (1 to 102) of each picture
<path>/setid.mat                      trnid, valid, tstid: numbers of pictures, from 1
<path>/jpg/image_<number>.jpg

The archives have no names for the classes: labels are their numbers, with three digits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import class_number, listed, matlab
from vlrepro.errors import UserError

ABOUT = About(
    title="Oxford Flowers-102",
    home_page="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    licence="none is stated",
    metric="mean_per_class",
    split="official training, validation and test pictures",
    archives=(
        Archive(
            name="102flowers.tgz",
            url="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz",
            unpacks_to="jpg",
            bytes=344_862_509,
            sha256="2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
            md5="52808999861908f626f3c1f4e79d11fa",
        ),
        Archive(
            name="imagelabels.mat",
            url="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/imagelabels.mat",
            unpacks_to="imagelabels.mat",
            bytes=502,
            sha256="4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
            md5="e0620be6f572b9609742df49c70aed4d",
        ),
        Archive(
            name="setid.mat",
            url="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/setid.mat",
            unpacks_to="setid.mat",
            bytes=14_989,
            sha256="46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
            md5="a5357ecc9cb78c4bef273ce3793fc85c",
        ),
    ),
)

OFFICIAL = Official(
    classes=102,
    train=1_020,
    val=1_020,
    test=6_149,
    lists={
        "imagelabels.mat": "4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
        "setid.mat": "46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
    },
)


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack the flowers at `path` into `folder`. Raises `UserError` naming the file that is missing or malformed."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, in the splits' order. Raises `UserError` as `fetch` does."""
    path = Path(path)
    labels_file, table = path / "imagelabels.mat", path / "setid.mat"
    labels = np.atleast_1d(*matlab(labels_file, "labels"))
    found = []
    for split, numbers in zip(("train", "val", "test"), matlab(table, "trnid", "valid", "tstid"), strict=True):
        for number in np.atleast_1d(numbers).tolist():
            if not 1 <= number <= len(labels):
                raise UserError(f"{table}: picture {number} has no label in {labels_file.name}: take both files again")
            label = f"{class_number(labels[number - 1], 102, labels_file):03d}"
            found.append(Example(path, listed(path, f"jpg/image_{number:05d}.jpg", table), label, split))
    return found

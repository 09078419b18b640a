"""SVHN, cropped digits (Netzer et al., "Reading Digits in Natural Images", 2011, format 2).

<path>/train_32x32.mat, <path>/test_32x32.mat       X (32, 32, 3, n) uint8, y (n, 1): 1 to 10, where 10 is the digit 0

The `extra` pictures are not used. A validation split is drawn (`examples.with_validation`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import class_number, matlab
from vlrepro.errors import UserError

ABOUT = About(
    title="SVHN",
    home_page="http://ufldl.stanford.edu/housenumbers/",
    licence="non-commercial",
    metric="accuracy",
    split="official training and test pictures; a fifth of each class's training pictures is drawn for validation",
    archives=(
        Archive(
            name="train_32x32.mat",
            url="http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
            unpacks_to="train_32x32.mat",
            bytes=182_040_794,
            sha256="435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
            md5="e26dedcc434d2e4c54c9b2d4a06d8373",
        ),
        Archive(
            name="test_32x32.mat",
            url="http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
            unpacks_to="test_32x32.mat",
            bytes=64_275_384,
            sha256="cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
            md5="eb5a983be6a315427106f1b164d9cef3",
        ),
    ),
)

OFFICIAL = Official(
    classes=10,
    train=73_257,
    test=26_032,
    lists={
        "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    },
)
SIDE = 32


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack SVHN at `path` into `folder`. Raises `UserError` naming the file that is missing or malformed."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, in the files' order. Raises `UserError` as `fetch` does."""
    return [example for split in ("train", "test") for example in _split(Path(path), split)]


def _split(path: Path, split: str) -> list[Example]:
    place = path / f"{split}_32x32.mat"
    pixels, numbers = matlab(place, "X", "y")
    numbers = np.atleast_1d(numbers)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels  # of a single picture
    if pixels.shape != (SIDE, SIDE, 3, len(numbers)) or pixels.dtype != np.uint8:
        found = f"X is {pixels.dtype} {pixels.shape} beside {len(numbers)} labels"
        raise UserError(f"{place}: {found}: take the cropped digits (format 2)")
    digits = [str(class_number(number, 10, place) % 10) for number in numbers]
    return [
        Example(path, f"{place.name}/{i:05d}", digit, split, digit, pixels=pixels[..., i])
        for i, digit in enumerate(digits)
    ]

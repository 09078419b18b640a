"""STL-10 (Coates et al., "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", 2011).

<path>/stl10_binary/{train,test}_X.bin     records of 3 x 96 x 96 bytes: channels, each column by column
<path>/stl10_binary/{train,test}_y.bin     a byte a picture: 1 to 10
<path>/stl10_binary/class_names.txt        ten lines

All 5,000 training pictures are used, not the ten folds of 1,000; a validation split is drawn of them
(`examples.with_validation`).
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import class_number, malformed, raw_records, text_lines
from vlrepro.errors import UserError

ABOUT = About(
    title="STL-10",
    home_page="https://cs.stanford.edu/~acoates/stl10/",
    licence="research; pictures are ImageNet's",
    metric="accuracy",
    split="official training and test pictures; a fifth of each class's training pictures is drawn for validation",
    archives=(
        Archive(
            name="stl10_binary.tar.gz",
            url="http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            unpacks_to="stl10_binary",
            bytes=2_640_397_119,
            sha256="f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
            md5="91f7769df0f17e558f3565bffb0c7dfb",
        ),
    ),
)

OFFICIAL = Official(classes=10, train=5_000, test=8_000)
SIDE = 96


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack STL-10 at `path` into `folder`. Raises `UserError` naming the file that is missing or malformed."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All labelled pictures, in the files' order. Raises `UserError` as `fetch` does."""
    place = Path(path) / "stl10_binary/class_names.txt"
    names = text_lines(place)
    if len(names) != 10:
        raise malformed(place, " ".join(names), "ten class names")
    return [example for split in ("train", "test") for example in _split(Path(path), split, names)]


def _split(path: Path, split: str, names: list[str]) -> list[Example]:
    place = f"stl10_binary/{split}_X.bin"
    table = path / f"stl10_binary/{split}_y.bin"
    pictures, numbers = raw_records(path / place, 3 * SIDE * SIDE), raw_records(table, 1)[:, 0]
    if len(pictures) != len(numbers):
        raise UserError(f"{table}: {len(numbers)} labels for {len(pictures)} pictures: unpack its archive again")
    found = []
    for i, (record, number) in enumerate(zip(pictures, numbers, strict=True)):
        name = names[class_number(number, 10, table) - 1]
        pixels = record.reshape(3, SIDE, SIDE).transpose(2, 1, 0)
        found.append(Example(path, f"{place}/{i:05d}", name, split, name, pixels=pixels))
    return found

"""Food-101 (Bossard et al., "Food-101: Mining Discriminative Components with Random Forests", ECCV 2014).

<path>/food-101/meta/classes.txt, labels.txt       101 class names, and the same in words, line by line
<path>/food-101/meta/{train,test}.txt              lines "<class>/<number>"
<path>/food-101/images/<class>/<number>.jpg

A validation split is drawn (`examples.with_validation`); labels of training pictures are noisy on purpose.
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import listed, malformed, text_lines
from vlrepro.errors import UserError

ABOUT = About(
    title="Food-101",
    home_page="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    licence="research; pictures are foodspotting's",
    metric="accuracy",
    split="official training and test pictures; a fifth of each class's training pictures is drawn for validation",
    archives=(
        Archive(
            name="food-101.tar.gz",
            url="http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
            unpacks_to="food-101",
            bytes=4_996_278_331,
            sha256="d97d15e438b7f4498f96086a4f7e2fa42a32f2712e87d3295441b2b6314053a4",
            md5="85eeb15f3717b99a5da872d97d918f87",
        ),
    ),
)

OFFICIAL = Official(classes=101, train=75_750, test=25_250)


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack Food-101 at `path` into `folder`. Raises `UserError` naming the file that is missing or malformed."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, in the lists' order. Raises `UserError` as `fetch` does."""
    path = Path(path)
    names = _names(path / "food-101/meta")
    found = []
    for split in ("train", "test"):
        table = path / f"food-101/meta/{split}.txt"
        for line in text_lines(table):
            label = line.partition("/")[0]
            if label not in names or label == line:
                raise malformed(table, line, 'a line "<class>/<number>" with a class of classes.txt')
            source = listed(path, f"food-101/images/{line}.jpg", table)
            found.append(Example(path, source, label, split, names[label]))
    return found


def _names(meta: Path) -> dict[str, str]:
    """Class -> its name in words."""
    classes, words = text_lines(meta / "classes.txt"), text_lines(meta / "labels.txt")
    if len(classes) != len(words):
        raise UserError(f"{meta / 'labels.txt'}: {len(words)} names for {len(classes)} classes: unpack it again")
    return dict(zip(classes, words, strict=True))

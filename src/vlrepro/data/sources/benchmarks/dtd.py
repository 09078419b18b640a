"""Describable Textures (Cimpoi et al., "Describing Textures in the Wild", CVPR 2014), partition 1 of ten.

<path>/dtd/labels/{train,val,test}1.txt      lines "<class>/<file>"
<path>/dtd/images/<class>/<file>
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import in_words, listed, malformed, text_lines

ABOUT = About(
    title="Describable Textures",
    home_page="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    licence="research",
    metric="accuracy",
    split="the first of ten partitions of the release",
    archives=(
        Archive(
            name="dtd-r1.0.1.tar.gz",
            url="https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
            unpacks_to="dtd",
            bytes=625_239_812,
            sha256="e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
            md5="fff73e5086ae6bdbea199a49dfb8a4c1",
        ),
    ),
)

OFFICIAL = Official(classes=47, train=1_880, val=1_880, test=1_880)


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack DTD at `path` into `folder`. Raises `UserError` naming the file that is missing or malformed."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, in the lists' order. Raises `UserError` as `fetch` does."""
    path = Path(path)
    found = []
    for split in ("train", "val", "test"):
        table = path / f"dtd/labels/{split}1.txt"
        for line in text_lines(table):
            label, slash, _ = line.partition("/")
            if not slash:
                raise malformed(table, line, 'a line "<class>/<file>"')
            found.append(Example(path, listed(path, f"dtd/images/{line}", table), label, split, in_words(label)))
    return found

"""FGVC-Aircraft by variant (Maji et al., "Fine-Grained Visual Classification of Aircraft", 2013), release 2013b.

<path>/fgvc-aircraft-2013b/data/variants.txt                              a hundred class names
<path>/fgvc-aircraft-2013b/data/images_variant_{train,val,test}.txt       lines "<number> <variant>"
<path>/fgvc-aircraft-2013b/data/images/<number>.jpg
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import listed, malformed, text_lines

ABOUT = About(
    title="FGVC-Aircraft",
    home_page="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
    licence="non-commercial research",
    metric="mean_per_class",
    split="official training, validation and test pictures",
    archives=(
        Archive(
            name="fgvc-aircraft-2013b.tar.gz",
            url="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
            unpacks_to="fgvc-aircraft-2013b",
        ),
    ),
)

OFFICIAL = Official(classes=100, train=3_334, val=3_333, test=3_333)
FOLDER = "fgvc-aircraft-2013b/data"


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack FGVC-Aircraft at `path` into `folder`. Raises `UserError` naming the file that is missing or malformed."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, in the lists' order. Raises `UserError` as `fetch` does."""
    path = Path(path)
    variants = set(text_lines(path / FOLDER / "variants.txt"))
    found = []
    for split in ("train", "val", "test"):
        table = path / FOLDER / f"images_variant_{split}.txt"
        for line in text_lines(table):
            number, _, variant = line.partition(" ")
            if variant not in variants:
                raise malformed(table, line, 'a line "<number> <variant>" with a variant of variants.txt')
            source = listed(path, f"{FOLDER}/images/{number}.jpg", table)
            found.append(Example(path, source, variant, split, variant))
    return found

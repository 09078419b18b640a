"""Oxford-IIIT Pets by breed (Parkhi et al., "Cats and Dogs", CVPR 2012).

<path>/annotations/{trainval,test}.txt      lines "<Breed>_<number> <class, 1 to 37> <species> <breed within species>"
<path>/images/<Breed>_<number>.jpg

A validation split is drawn (`examples.with_validation`).
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import class_number, in_words, listed, malformed, text_lines
from vlrepro.errors import UserError

ABOUT = About(
    title="Oxford-IIIT Pets",
    home_page="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    licence="CC-BY-SA-4.0",
    metric="mean_per_class",
    split="official training and test pictures; a fifth of each class's training pictures is drawn for validation",
    archives=(
        Archive(
            name="images.tar.gz",
            url="https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
            unpacks_to="images",
            bytes=791_918_971,
            sha256="67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
            md5="5c4f3ee8e5d25df40f4fd59a7f44e54c",
        ),
        Archive(
            name="annotations.tar.gz",
            url="https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
            unpacks_to="annotations",
            bytes=19_173_078,
            sha256="52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
            md5="95a8c909bbe2e81eed6a22bccdf3f68f",
        ),
    ),
)

OFFICIAL = Official(classes=37, train=3_680, test=3_669)


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack the pets at `path` into `folder`. Raises `UserError` naming the file that is missing or malformed."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, in the lists' order. Raises `UserError` as `fetch` does, and where a breed has two numbers."""
    path = Path(path)
    found, numbers = [], {}
    for file, split in (("trainval", "train"), ("test", "test")):
        table = path / f"annotations/{file}.txt"
        for line in text_lines(table):
            parts = line.split()
            if len(parts) != 4 or "_" not in parts[0]:
                raise malformed(table, line, 'a line "<Breed>_<number> <class> <species> <breed>"')
            breed, number = parts[0].rpartition("_")[0], class_number(parts[1], 37, table)
            if numbers.setdefault(breed, number) != number:
                raise UserError(
                    f"{table}: {breed} is class {numbers[breed]} and class {number}: mend the line {line!r}"
                )
            source = listed(path, f"images/{parts[0]}.jpg", table)
            found.append(Example(path, source, breed, split, in_words(breed)))
    return found

"""Oxford-IIIT Pets by breed (Parkhi et al., "Cats and Dogs", CVPR 2012).

<path>/annotations/{trainval,test}.txt      lines "<Breed>_<number> <class, 1 to 37> <species> <breed within species>"
<path>/images/<Breed>_<number>.jpg

A validation split is drawn (`examples.with_validation`).
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import class_number, in_words, listed, malformed, text_lines
from vlrepro.errors import UserError

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

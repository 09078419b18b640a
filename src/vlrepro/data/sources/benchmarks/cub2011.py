"""Birds by species (Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011) with its own split.

<path>/CUB_200_2011/classes.txt               lines "<class number> <class>", the class with its number before a dot
<path>/CUB_200_2011/images.txt                lines "<picture number> <class>/<file>"
<path>/CUB_200_2011/image_class_labels.txt    lines "<picture number> <class number>"
<path>/CUB_200_2011/train_test_split.txt      lines "<picture number> <1: training, 0: test>"
<path>/CUB_200_2011/images/<class>/<file>

Labels are the classes without their numbers. A validation split is drawn (`examples.with_validation`).
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import in_words, listed, malformed, text_lines
from vlrepro.errors import UserError

ABOUT = About(
    title="CUB-200-2011",
    home_page="https://data.caltech.edu/records/65de6-vp158",
    licence="research and teaching only, not commercial; the pictures belong to their photographers",
    metric="accuracy",
    split="the release's training and test pictures; a fifth of each class's training pictures is drawn for validation",
    archives=(
        Archive(
            name="CUB_200_2011.tgz",
            url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
            unpacks_to="CUB_200_2011",
            bytes=1_150_585_339,
            sha256="0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
            md5="97eceeb196236b17998738112f37df78",
        ),
    ),
)
FOLDER = "CUB_200_2011"
OFFICIAL = Official(
    classes=200,
    train=5_994,
    test=5_794,
    lists={
        f"{FOLDER}/classes.txt": "66a884364a73edde6c71eeb7fd5d8bb791e80979b64759bd6a5d5d209bdc02ba",
        f"{FOLDER}/image_class_labels.txt": "e9df8c96d897994a245746fe2c98914b9b31f5342bddc6e8b06bdfbf45e49b02",
        f"{FOLDER}/train_test_split.txt": "8bbbfcc09b4d3c9c6e3e40c9874bd863eb6658f4f456e472df1b33d3403d2600",
    },
)
_SPLITS = {"1": "train", "0": "test"}


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack the birds at `path` into `folder`. Raises `UserError` naming the file that is missing or malformed."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, in the list's order. Raises `UserError` as `fetch` does."""
    path = Path(path)
    base = path / FOLDER
    classes, sources = _table(base / "classes.txt"), _table(base / "images.txt")
    labels, splits = _table(base / "image_class_labels.txt", sources), _table(base / "train_test_split.txt", sources)
    found = []
    for number, source in sources.items():
        folder = source.partition("/")[0]
        if classes.get(labels[number]) != folder:
            raise malformed(base / "images.txt", f"{number} {source}", "a picture in the folder of its class")
        if splits[number] not in _SPLITS:
            raise malformed(base / "train_test_split.txt", f"{number} {splits[number]}", '"<picture number> <0 or 1>"')
        place = listed(path, f"{FOLDER}/images/{source}", base / "images.txt")
        label = folder.partition(".")[2] or folder
        found.append(Example(path, place, label, _SPLITS[splits[number]], in_words(label)))
    return found


def _table(place: Path, numbers: dict[str, str] | None = None) -> dict[str, str]:
    """Number -> value of a table of lines "<number> <value>", which has the same `numbers` as another where given."""
    found = {}
    for line in text_lines(place):
        number, space, value = line.partition(" ")
        if not space or not number.isdecimal() or number in found:
            raise malformed(place, line, 'a line "<number> <value>" with a number of its own')
        found[number] = value.strip()
    if numbers is not None and found.keys() != numbers.keys():
        odd = min(found.keys() ^ numbers.keys(), key=int)
        raise UserError(f"{place}: picture {odd} is in this table or in images.txt, not in both: unpack both again")
    return found

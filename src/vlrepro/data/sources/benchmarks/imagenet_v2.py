"""ImageNet-V2, matched frequency (Recht et al., "Do ImageNet Classifiers Generalize to ImageNet?", ICML 2019).

<path>/imagenetv2-matched-frequency-format-val/<0 to 999>/*.jpeg
<path>/wnids.txt                                                     see `imagenet_classes`

A folder's name is the class number, the place in the sorted WordNet ids: folders in the order of their names as text
(0, 1, 10, 100, ...) are not in the order of classes. All pictures are the split `test`.
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import class_folders, pictures_in
from vlrepro.data.sources.benchmarks.imagenet_classes import listed_wnids, names_of
from vlrepro.errors import UserError

ABOUT = About(
    title="ImageNetV2",
    home_page="https://github.com/modestyachts/ImageNetV2",
    licence="MIT",
    metric="accuracy",
    split="all pictures are for testing; folders are class numbers",
    archives=(
        Archive(
            name="imagenetv2-matched-frequency.tar.gz",
            url="https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main/imagenetv2-matched-frequency.tar.gz",
            unpacks_to="imagenetv2-matched-frequency-format-val",
            bytes=1_264_079_360,
        ),
        Archive(
            name="wnids.txt",
            url=None,
            unpacks_to="wnids.txt",
        ),
    ),
    by_hand="write wnids.txt, the 1,000 WordNet ids in sorted order, one a line: ls imagenet/val > wnids.txt",
)

OFFICIAL = Official(classes=1_000, test=10_000)
FOLDER = "imagenetv2-matched-frequency-format-val"


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack ImageNet-V2 at `path` into `folder`. Raises `UserError` naming what is missing or not whole."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, by class number and file name. Raises `UserError` as `fetch` does."""
    path = Path(path)
    wnids = listed_wnids(path)
    names = names_of(wnids)
    folders = class_folders(path / FOLDER)
    numbers = {str(number) for number in range(len(wnids))}
    if strange := numbers.symmetric_difference(folders):
        cure = f"the folders are 0 to {len(wnids) - 1}: unpack its archive again"
        raise UserError(f"{path / FOLDER}: {min(strange)!r} is missing or no class number: {cure}")
    return [
        Example(path, source, wnid, "test", names[wnid])
        for number, wnid in enumerate(wnids)
        for source in pictures_in(path, f"{FOLDER}/{number}")
    ]

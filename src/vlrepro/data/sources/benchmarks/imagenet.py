"""ImageNet-1K with its training pictures, for probes (Russakovsky et al., IJCV 2015; ILSVRC-2012).

<path>/train/<WordNet id>/*.JPEG
<path>/val/<WordNet id>/*.JPEG       the validation archive, its pictures moved to the folders of their classes

The official validation pictures are the split `test`; a validation split is drawn of the training pictures
(`examples.with_validation`).
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.imagenet_classes import folder_wnids, in_class_folders, names_of

ABOUT = About(
    title="ImageNet-1k",
    home_page="https://image-net.org/download.php",
    licence="non-commercial research and education, by agreement",
    metric="accuracy",
    split=(
        "official validation pictures are the test; a fifth of each class's training pictures is drawn for validation"
    ),
    archives=(
        Archive(
            name="ILSVRC2012_img_train.tar",
            url=None,
            unpacks_to="train",
            bytes=147_897_477_120,
            sha256="b08200a27a8e34218a0e58fde36b0fe8f73bc377f4acea2d91602057c3ca45bb",
            md5="1d675b47d978889d74fa0da5fadfb00e",
            arranged=True,
        ),
        Archive(
            name="ILSVRC2012_img_val.tar",
            url=None,
            unpacks_to="val",
            bytes=6_744_924_160,
            sha256="c7e06a6c0baccf06d8dbeb6577d71efff84673a5dbdd50633ab44f8ea0456ae0",
            md5="29b22e2961454d5413ddabcf34fc5622",
            arranged=True,
        ),
    ),
    by_hand=(
        "register at https://image-net.org and accept its terms; its archives hold no folders a class "
        "in val/: use the script valprep.sh that is in wide use, or torchvision's ImageNet"
    ),
)

OFFICIAL = Official(classes=1_000, train=1_281_167, test=50_000)


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack ImageNet-1K at `path` into `folder`. Raises `UserError` naming the folder that is missing or not whole."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, by split, class and file name. Raises `UserError` as `fetch` does."""
    path = Path(path)
    found = []
    for part, split in (("train", "train"), ("val", "test")):
        wnids = folder_wnids(path / part)
        found += in_class_folders(path, part, split, wnids, names_of(wnids))
    return found

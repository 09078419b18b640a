"""ImageNet-1K's validation pictures alone, for zero-shot classification: all are the split `test`.

<path>/val/<WordNet id>/*.JPEG       the validation archive, its pictures moved to the folders of their classes
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.imagenet_classes import folder_wnids, in_class_folders, names_of

ABOUT = About(
    title="ImageNet-1k, validation",
    home_page="https://image-net.org/download.php",
    licence="non-commercial research and education, by agreement",
    metric="accuracy",
    split="official validation pictures are the test",
    archives=(
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

OFFICIAL = Official(classes=1_000, test=50_000)


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack the pictures at `path` into `folder`. Raises `UserError` naming the folder that is missing or not whole."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, by class and file name. Raises `UserError` as `fetch` does."""
    path = Path(path)
    wnids = folder_wnids(path / "val")
    return in_class_folders(path, "val", "test", wnids, names_of(wnids))

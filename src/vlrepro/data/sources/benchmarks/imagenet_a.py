"""ImageNet-A (Hendrycks et al., "Natural Adversarial Examples", CVPR 2021): 200 of the 1,000 classes.

<path>/imagenet-a/<WordNet id>/*.jpg
<path>/wnids.txt                         see `imagenet_classes`

All pictures are the split `test`; the set's classes are the 200 it has.
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.imagenet_classes import WNIDS_A, subset

ABOUT = About(
    title="ImageNet-A",
    home_page="https://github.com/hendrycks/natural-adv-examples",
    licence="MIT",
    metric="accuracy",
    split="all pictures are for testing",
    archives=(
        Archive(
            name="imagenet-a.tar",
            url="https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar",
            unpacks_to="imagenet-a",
            bytes=687_552_512,
            sha256="3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e",
        ),
        Archive(
            name="wnids.txt",
            url=None,
            unpacks_to="wnids.txt",
        ),
    ),
    by_hand=(
        "write wnids.txt, the set's WordNet ids in sorted order, one a line (README.md of the archive "
        "or `ls` of its folders)"
    ),
)

OFFICIAL = Official(classes=200, test=7_500)


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack ImageNet-A at `path` into `folder`. Raises `UserError` naming what is missing or not whole."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, by class and file name. Raises `UserError` as `fetch` does."""
    return subset(Path(path), "imagenet-a", WNIDS_A, "ImageNet-A")

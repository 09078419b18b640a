"""ImageNet-R (Hendrycks et al., "The Many Faces of Robustness", ICCV 2021): renditions of 200 of the 1,000 classes.

<path>/imagenet-r/<WordNet id>/*.jpg
<path>/wnids.txt                         see `imagenet_classes`

All pictures are the split `test`; the set's classes are the 200 it has.
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.imagenet_classes import WNIDS_R, subset

ABOUT = About(
    title="ImageNet-R",
    home_page="https://github.com/hendrycks/imagenet-r",
    licence="MIT",
    metric="accuracy",
    split="all pictures are for testing",
    archives=(
        Archive(
            name="imagenet-r.tar",
            url="https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar",
            unpacks_to="imagenet-r",
            bytes=2_191_079_936,
            sha256="18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
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

OFFICIAL = Official(classes=200, test=30_000)


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack ImageNet-R at `path` into `folder`. Raises `UserError` naming what is missing or not whole."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, by class and file name. Raises `UserError` as `fetch` does."""
    return subset(Path(path), "imagenet-r", WNIDS_R, "ImageNet-R")

"""Rendered SST2: sentences of a sentiment treebank as pictures (Radford et al. 2021, appendix A).

<path>/rendered-sst2/{train,valid,test}/{negative,positive}/*.png
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import pictures_in

ABOUT = About(
    title="Rendered SST2",
    home_page="https://github.com/openai/CLIP/blob/main/data/rendered-sst2.md",
    licence="none is stated",
    metric="accuracy",
    split="official training, validation and test pictures",
    archives=(
        Archive(
            name="rendered-sst2.tgz",
            url="https://openaipublic.azureedge.net/clip/data/rendered-sst2.tgz",
            unpacks_to="rendered-sst2",
            md5="2384d08e9dcfa4bd55b324e610496ee5",
        ),
    ),
)

OFFICIAL = Official(classes=2, train=6_920, val=872, test=1_821)


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack Rendered SST2 at `path` into `folder`. Raises `UserError` naming the folder that is missing or empty."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, by split, class and file name. Raises `UserError` as `fetch` does."""
    path = Path(path)
    return [
        Example(path, source, label, split, label)
        for part, split in (("train", "train"), ("valid", "val"), ("test", "test"))
        for label in ("negative", "positive")
        for source in pictures_in(path, f"rendered-sst2/{part}/{label}")
    ]

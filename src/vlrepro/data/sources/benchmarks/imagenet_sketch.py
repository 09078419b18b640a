"""ImageNet-Sketch (Wang et al., "Learning Robust Global Representations by Penalizing Local Predictive Power", 2019).

<path>/sketch/<WordNet id>/*.JPEG

All pictures are the split `test`.
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.imagenet_classes import folder_wnids, in_class_folders, names_of

ABOUT = About(
    title="ImageNet-Sketch",
    home_page="https://github.com/HaohanWang/ImageNet-Sketch",
    licence="MIT",
    metric="accuracy",
    split="all pictures are for testing",
    archives=(
        Archive(
            name="ImageNet-Sketch.zip",
            url="https://huggingface.co/datasets/songweig/imagenet_sketch/resolve/main/data/ImageNet-Sketch.zip",
            unpacks_to="sketch",
        ),
    ),
)

OFFICIAL = Official(classes=1_000, test=None)  # about 50 a class: published numbers are 50,000 and 50,889


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack ImageNet-Sketch at `path` into `folder`. Raises `UserError` naming what is missing or not whole."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, by class and file name. Raises `UserError` as `fetch` does."""
    path = Path(path)
    wnids = folder_wnids(path / "sketch")
    return in_class_folders(path, "sketch", "test", wnids, names_of(wnids))

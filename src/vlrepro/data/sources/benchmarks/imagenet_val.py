"""ImageNet-1K's validation pictures alone, for zero-shot classification: all are the split `test`.

<path>/val/<WordNet id>/*.JPEG       the validation archive, its pictures moved to the folders of their classes
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vlrepro.data.sources.benchmarks import imagenet
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.imagenet_classes import folder_wnids, in_class_folders, names_of

ABOUT = replace(
    imagenet.ABOUT,
    title="ImageNet-1k, validation",
    split="official validation pictures are the test",
    archives=imagenet.ABOUT.archives[1:],
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

"""ImageNet-1K with its training pictures, for probes (Russakovsky et al., IJCV 2015; ILSVRC-2012).

<path>/train/<WordNet id>/*.JPEG
<path>/val/<WordNet id>/*.JPEG       the validation archive, its pictures moved to the folders of their classes

The official validation pictures are the split `test`; a validation split is drawn of the training pictures
(`examples.with_validation`).
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.imagenet_classes import folder_wnids, in_class_folders, names_of

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

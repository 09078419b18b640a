"""Land use from satellites, in colour (Helber et al., "EuroSAT", IEEE JSTARS 2019): 27,000 pictures of 64 x 64 pixels.

<path>/2750/<class>/<class>_<number from 1>.jpg

There is no official split. The code that "Impact of Language Guidance" builds on takes three slices of 5,000 pictures
of the order in which TensorFlow Datasets stores them, which is one of hashes, and leaves the other 12,000 out. Here are
slices of the same sizes of an order of hashes of our own (`examples.sliced`): which picture is in which one differs.
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, class_examples, sliced, write_set

ABOUT = About(
    title="EuroSAT",
    home_page="https://github.com/phelber/EuroSAT",
    licence="MIT",
    metric="accuracy",
    split="none is official: 5,000 pictures each, slices of an order of hashes; 12,000 are left out",
    archives=(
        Archive(
            name="EuroSAT.zip",
            url="https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
            "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
            unpacks_to="2750",
            bytes=94_280_567,
            sha256="8ebea626349354c5328b142b96d0430e647051f26efc2dc974c843f25ecf70bd",
            md5="c8fa014336c82ac7804f0398fcb19387",
        ),
    ),
)
# The names are those of pictures 1 to n of each class, n being its published size (2,000 to 3,000)
OFFICIAL = Official(
    classes=10,
    train=5_000,
    val=5_000,
    test=5_000,
    sources="445f9894f5a296d3988d1ade8fea938f162b6722388017c3e22c6fb5cd04f5d5",
)
FOLDER = "2750"


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack EuroSAT at `path` into `folder`. Raises `UserError` naming the folder that is missing or not whole."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, by class and file name; most are in no slice. Raises `UserError` as `fetch` does."""
    return sliced(class_examples(Path(path), FOLDER), "eurosat", OFFICIAL)

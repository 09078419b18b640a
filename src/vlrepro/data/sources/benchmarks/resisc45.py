"""Scenes from the air (Cheng et al., "Remote Sensing Image Scene Classification", Proc. IEEE 2017): 45 x 700 pictures.

<path>/NWPU-RESISC45/<class>/<class>_<number, 001 to 700>.jpg

There is no official split. The code that "Impact of Language Guidance" builds on takes the first 10 % for training, the
next 10 % for validation and the rest for the test, of the order in which TensorFlow Datasets stores the pictures, which
is one of hashes. Here are slices of the same sizes of an order of hashes of our own (`examples.sliced`): which picture
is in which one differs. The lists that go round with the set (Neumann et al. 2019, "In-domain representation learning
for remote sensing": 60, 20 and 20 %) are another protocol with six times the training pictures; they are not read.
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, class_examples, sliced, write_set

ABOUT = About(
    title="NWPU-RESISC45",
    home_page="https://doi.org/10.1109/JPROC.2017.2675998",
    licence="research; none is stated",
    metric="accuracy",
    split="none is official: 3,150, 3,150 and 25,200 pictures, slices of an order of hashes",
    archives=(
        Archive(  # the authors' NWPU-RESISC45.rar, packed again
            name="NWPU-RESISC45.zip",
            url="https://huggingface.co/datasets/torchgeo/resisc45/resolve/"
            "a826b44d938a883185f11ebe3d512d38b464312f/NWPU-RESISC45.zip",
            unpacks_to="NWPU-RESISC45",
            md5="75206b2e16446591afa88e2628744886",
        ),
    ),
)
# The names are those of pictures 001 to 700 of each class
OFFICIAL = Official(
    classes=45,
    train=3_150,
    val=3_150,
    test=25_200,
    sources="f87741a4744523cf33fbd33339f5835c745c3e36fb6e9eea8166ace3db57c0e0",
)
FOLDER = "NWPU-RESISC45"


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack RESISC45 at `path` into `folder`. Raises `UserError` naming the folder that is missing or not whole."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """All pictures, by class and file name. Raises `UserError` as `fetch` does."""
    return sliced(class_examples(Path(path), FOLDER), "resisc45", OFFICIAL)

"""German traffic signs (Stallkamp et al., "The German Traffic Sign Recognition Benchmark", IJCNN 2011).

<path>/GTSRB/Training/<class, five digits>/<track>_<frame>.ppm
<path>/GTSRB/Final_Test/Images/<number>.ppm
<path>/GT-final_test.csv                    columns Filename and ClassId, separated by semicolons

The training pictures are those of the release "fixed" for the competition (26,640), not the 39,209 of the final one.
Frames of one track show one sign thirty times: a validation split is drawn of whole tracks
(`examples.with_validation`).
"""

from __future__ import annotations

import csv
from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import class_folders, class_number, listed, pictures_in, text_lines
from vlrepro.errors import UserError

ABOUT = About(
    title="GTSRB",
    home_page="https://benchmark.ini.rub.de/",
    licence="none is stated",
    metric="accuracy",
    split=(
        "official training and test pictures; a fifth of each class's training pictures is drawn for "
        "validation; frames of one sign stay together"
    ),
    archives=(
        Archive(
            name="GTSRB-Training_fixed.zip",
            url="https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/GTSRB-Training_fixed.zip",
            unpacks_to="GTSRB/Training",
            md5="513f3c79a4c5141765e10e952eaa2478",
        ),
        Archive(
            name="GTSRB_Final_Test_Images.zip",
            url="https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/GTSRB_Final_Test_Images.zip",
            unpacks_to="GTSRB/Final_Test/Images",
            md5="c7e4e6327067d32654124b0fe9e82185",
        ),
        Archive(
            name="GTSRB_Final_Test_GT.zip",
            url="https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/GTSRB_Final_Test_GT.zip",
            unpacks_to="GT-final_test.csv",
            md5="fe31e9c9270bbcd7b84b7f21a9d9d9e5",
        ),
    ),
)

OFFICIAL = Official(classes=43, train=26_640, test=12_630)
_TRAIN, _TEST = "GTSRB/Training", "GTSRB/Final_Test/Images"


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack the signs at `path` into `folder`. Raises `UserError` naming the file that is missing or malformed."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """Training pictures by class and file name, then test pictures in the table's order; classes have no names.

    Raises `UserError` as `fetch` does.
    """
    path = Path(path)
    return [*_training(path), *_test(path)]


def _training(path: Path) -> list[Example]:
    found = []
    for label in class_folders(path / _TRAIN):
        class_number(label, 43, path / _TRAIN, first=0)
        for source in pictures_in(path, f"{_TRAIN}/{label}", (".ppm",)):
            track = Path(source).stem.partition("_")[0]
            found.append(Example(path, source, label, "train", unit=f"{label}/{track}"))
    return found


def _test(path: Path) -> list[Example]:
    table = path / "GT-final_test.csv"
    rows = csv.DictReader(text_lines(table), delimiter=";", skipinitialspace=True)
    if absent := {"Filename", "ClassId"} - set(rows.fieldnames or ()):
        raise UserError(f"{table}: no column {min(absent)}: take the test's ground truth (GTSRB_Final_Test_GT)")
    return [
        Example(
            path,
            listed(path, f"{_TEST}/{row['Filename']}", table),
            f"{class_number(row['ClassId'], 43, table, first=0):05d}",
            "test",
        )
        for row in rows
    ]

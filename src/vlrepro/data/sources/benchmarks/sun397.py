"""Scenes of 397 kinds (Xiao et al., "SUN Database: Large-scale Scene Recognition", CVPR 2010), partition 1 of ten.

<path>/ClassName.txt                        lines "/<letter>/<class>", a class being such as abbey or apse/indoor
<path>/Training_01.txt, Testing_01.txt      lines "/<letter>/<class>/<file>": 50 pictures of each class in both
<path>/SUN397/<letter>/<class>/<file>

Only the partition's 39,700 of the archive's 108,754 pictures are packed. Names end in .jpg, whatever the file is: some
are PNG, GIF or BMP, and are decoded as what they are. A validation split is drawn (`examples.with_validation`).
"""

from __future__ import annotations

from pathlib import Path

from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.examples import Example, Official, write_set
from vlrepro.data.sources.benchmarks.files import in_words, listed, malformed, text_lines

ABOUT = About(
    title="SUN397",
    home_page="https://vision.princeton.edu/projects/2010/SUN/",
    licence="research; none is stated",
    metric="accuracy",
    split="partition 1 of the release; a fifth of each class's training pictures is drawn for validation",
    archives=(
        Archive(
            name="SUN397.tar.gz",
            url=None,
            unpacks_to="SUN397",
            bytes=39_077_296_924,
            sha256="f404130965a7ad77bed5ececc71e720ab50f3cc1e1bb257257610d38f3b928ec",
            md5="8ca2778205c41d23104230ba66911c7a",
        ),
        Archive(
            name="Partitions.zip",
            url=None,
            unpacks_to="Training_01.txt",
            bytes=18_293_705,
            sha256="e3311ea5f812d4cc6faef194688343d1111f6cd6f70f2c62f393c2b8d6ba1ec9",
            md5="29a205c0a0129d21f36cbecfefe81881",
        ),
    ),
    by_hand="its host has answered 404 since 2025: take both archives from another copy, such as "
    "https://opendatalab.com/OpenDataLab/SUN397 (raw/), and compare the digests",
)
OFFICIAL = Official(
    classes=397,
    train=19_850,
    test=19_850,
    labels="24ffec8d4e8b8e7da2f80ad3b617c0cde43ec6c278ccdb7360dcd35911cfeea6",
)


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack SUN397 at `path` into `folder`. Raises `UserError` naming the file that is missing or malformed."""
    write_set(folder, examples(path), OFFICIAL, Path(path))


def examples(path: str | Path) -> list[Example]:
    """The partition's pictures, in the lists' order. Raises `UserError` as `fetch` does."""
    path = Path(path)
    classes = set(text_lines(path / "ClassName.txt"))
    found = []
    for split, name in (("train", "Training_01.txt"), ("test", "Testing_01.txt")):
        table = path / name
        for line in text_lines(table):
            folder = line.rpartition("/")[0]
            if folder not in classes:
                raise malformed(table, line, 'a line "/<letter>/<class>/<file>" with a class of ClassName.txt')
            label = folder.strip("/").partition("/")[2]  # without its letter
            found.append(Example(path, listed(path, f"SUN397{line}", table), label, split, in_words(label)))
    return found

"""The transfer sets that are not emoji: Debian's open clip art and scikit-learn's handwritten digits."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from vlrepro.data.pack import Picture
from vlrepro.data.sources.pocket_build import drawing
from vlrepro.data.sources.pocket_build.archives import BY_NAME
from vlrepro.data.sources.pocket_build.concepts import slugify
from vlrepro.data.sources.pocket_build.items import Item, make_item
from vlrepro.errors import UserError
from vlrepro.randomness import numpy_generator

CLIPART_CAP = 40  # pictures of a class
CLIPART_MIN = 20
CLIPART_SKIPPED = frozenset({"unsorted", "special-patterns"})  # no subject
CLIPART_UNWANTED = frozenset(
    {
        "animals/birds/duck_yellow_ii_kurt_cagl_.png",  # "Linked image not found" in place of the picture
        "animals/birds/penguin/tux_didier_fabert_01.png",  # the same
        "decorations/sunwheel_vikingdread_01.png",  # a symbol of the far right
    }
)
DIGITS_CAP = 60  # pictures of a class
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def clipart_class(path: Path) -> str:
    """The class of a file: its folder, at most two levels: "computer/icons/lemon-theme/x.png" -> "computer-icons"."""
    return slugify("-".join(path.parent.parts[:2]))


def clipart(root: Path, counts: Counter[str]) -> list[Item]:
    """Pictures of the clip art below `root`, at most `CLIPART_CAP` a class, drawn by lot.

    Files too large to decode (decompression bombs), files that do not decode and copies are skipped and counted.
    """
    classes: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(root.rglob("*.png")):
        inside = path.relative_to(root)
        if path.is_file() and not path.is_symlink() and inside.as_posix() not in CLIPART_UNWANTED:
            classes[clipart_class(inside)].append(path)
    items: list[Item] = []
    seen: set[str] = set()
    for label in sorted(set(classes) - CLIPART_SKIPPED):
        taken = _take_class(label, classes[label], root, seen, counts)
        items += taken if len(taken) >= CLIPART_MIN else []
    return items


def _take_class(label: str, paths: list[Path], root: Path, seen: set[str], counts: Counter[str]) -> list[Item]:
    taken: list[Item] = []
    if len(paths) < CLIPART_MIN:
        return taken
    for number in numpy_generator("pocket", "openclipart", label).permutation(len(paths)):
        item = _clipart_item(label, paths[number], root, counts)
        if item is not None and not seen & {item.pixels, item.picture.key}:  # "x.png" and "X.png" are copies too
            seen |= {item.pixels, item.picture.key}
            taken.append(item)
        if len(taken) == CLIPART_CAP:
            break
    return sorted(taken, key=lambda item: item.picture.key)


def _clipart_item(label: str, path: Path, root: Path, counts: Counter[str]) -> Item | None:
    try:
        image = drawing.open_png(path)
    except UserError:
        counts["openclipart files that do not decode"] += 1
        return None
    if image is None:
        counts["decompression bombs skipped"] += 1
        return None
    if drawing.is_empty(image):
        counts["empty renders dropped"] += 1
        return None
    name = path.relative_to(root).with_suffix("").as_posix()
    fields = Picture(
        key=f"openclipart-{slugify(name)}",
        data=b"",
        suffix=".webp",
        width=0,
        height=0,
        label=label,
        concept=label,
        group=label,
        source=f"{BY_NAME['openclipart-png'].reference}:{name}.png",
        licence="CC-PDDC",
    )
    return make_item(image, fields, "openclipart", _series(path.stem))


def _series(stem: str) -> str:
    """A file name without its digits: drawings of one series are split together."""
    return slugify("".join(letter for letter in stem if not letter.isdigit())) or stem


def digits(version: str) -> list[Item]:
    """Handwritten digits (8 x 8, 16 levels) as dark ink: alpha is the ink, scaled up to the pack's size."""
    from sklearn.datasets import load_digits

    data = load_digits()
    items = []
    for digit, word in enumerate(DIGITS):
        rows = np.flatnonzero(data.target == digit)
        chosen = numpy_generator("pocket", "digits", digit).permutation(rows)[:DIGITS_CAP]
        items += [_digit_item(data.images[row], int(row), word, version) for row in sorted(chosen)]
    return items


def _digit_item(ink: np.ndarray, row: int, word: str, version: str) -> Item:
    alpha = Image.fromarray((ink * (255 / 16)).round().astype(np.uint8)).resize(
        (drawing.SIZE, drawing.SIZE), Image.Resampling.BICUBIC
    )
    image = Image.new("RGBA", alpha.size, (0, 0, 0, 0))
    image.putalpha(alpha.point(drawing.alpha_level))
    fields = Picture(
        key=f"digits-{word}-{row:04d}",
        data=b"",
        suffix=".webp",
        width=0,
        height=0,
        label=word,
        concept=word,
        group="digits",
        source=f"scikit-learn@{version}:load_digits:{row}",
        licence="CC-BY-4.0",
    )
    return make_item(image, fields, "digits", f"row-{row}", lossless=True)

"""ImageNet-S50 with its segmentation masks (Gao et al., "Large-scale Unsupervised Semantic Segmentation", TPAMI 2022).

<path>/imagenet/{train,val}/<wnid>/*.JPEG                      ILSVRC-2012, all 1,000 folders of val
<path>/lists/categories/ImageNetS_categories_im50.txt          `lists`: folder `data` of github.com/LUSSeg/ImageNet-S
<path>/lists/mapping/ImageNetS_im50_mapping_validation.txt     lines "<ILSVRC wnid>/<file> <ImageNet-S wnid>/<file>"
<path>/lists/names/ImageNetSemi_im50_train.txt                 lines "<wnid>/<file>.JPEG <wnid>/<file>.png"
<path>/ImageNetS50/validation-segmentation/<wnid>/*.png        the annotations, as the release archive unpacks
<path>/ImageNetS50/train-semi-segmentation/<wnid>/*.png

Pictures were labelled again: 136 of the 752 validation pictures come from ILSVRC folders outside the 50 classes, so the
mapping file says where a picture is and what it shows. Validation becomes the split `test`; of the training pictures,
ten a class have masks, on which baselines and thresholds are tuned, and a tenth is the split `val`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlrepro.data.decoding import size_of
from vlrepro.data.pack import Picture, write_pack
from vlrepro.data.sources.about import About, Archive
from vlrepro.data.sources.benchmarks.files import file_at, folder_at, text_lines
from vlrepro.errors import UserError
from vlrepro.randomness import key

ABOUT = About(
    title="ImageNet-S50",
    home_page="https://github.com/LUSSeg/ImageNet-S",
    licence="non-commercial research and education, by agreement (pictures)",
    metric="saliency",
    split="validation is scored; of the training pictures with masks a tenth is for validation",
    archives=(
        Archive(
            name="ImageNetS50-a0fe9d82231f9bc4787ee76e304dfa51.zip",
            url="https://github.com/LUSSeg/ImageNet-S/releases/download/ImageNet-S/ImageNetS50-a0fe9d82231f9bc4787ee76e304dfa51.zip",
            unpacks_to="ImageNetS50",
        ),
        Archive(
            name="data",
            url=None,
            unpacks_to="lists",
        ),
        Archive(
            name="imagenet",
            url=None,
            unpacks_to="imagenet",
        ),
    ),
    by_hand=(
        "copy or link the folder data of its repository as lists, and ImageNet's folder with train and val as imagenet"
    ),
)

CLASSES = 50
IGNORE_ID = 1000
VAL_PART = 10  # one in so many training pictures is in the split `val`
Others = Literal["background", "object", "ignore"]


@dataclass(frozen=True)
class Example:
    """A picture, its mask or None, its class as WordNet id and as number (1 to `CLASSES`), and its split."""

    picture: Path
    mask: Path | None
    label: str
    class_id: int
    split: str


def fetch(path: str | Path, folder: str | Path) -> None:
    """Pack ImageNet-S50 at `path` into `folder`; pixels of other classes than a picture's own are background.

    Raises `UserError` naming the file that is missing or is not as ImageNet-S has it.
    """
    write_pack(folder, packed([*training_examples(path), *validation_examples(path)]))


def class_ids(path: str | Path) -> dict[str, int]:
    """WordNet id -> class number, from 1, in sorted order of the ids. Raises `UserError` unless there are `CLASSES`."""
    place = Path(path) / f"lists/categories/ImageNetS_categories_im{CLASSES}.txt"
    names = sorted(set(text_lines(place)))
    if len(names) != CLASSES:
        raise UserError(f"{place}: {len(names)} classes instead of {CLASSES}: take the file from ImageNet-S again")
    return {name: number for number, name in enumerate(names, start=1)}


def validation_examples(path: str | Path) -> list[Example]:
    """The validation pictures in the mapping's order, as split `test`.

    Raises `UserError` where a picture is missing, a line is malformed or its class is none of the 50.
    """
    path = Path(path)
    numbers = class_ids(path)
    place = path / f"lists/mapping/ImageNetS_im{CLASSES}_mapping_validation.txt"
    masks = folder_at(path / f"ImageNetS{CLASSES}/validation-segmentation")
    examples = []
    for line in text_lines(place):
        source, target = _two(line, place)
        label = _known(target.split("/")[0], numbers, place)
        picture = file_at(path / "imagenet/val" / source)
        mask = (masks / target).with_suffix(".png")
        examples.append(Example(picture, mask if mask.is_file() else None, label, numbers[label], "test"))
    return examples


def training_examples(path: str | Path) -> list[Example]:
    """The training pictures of the 50 folders, sorted; those of train-semi with their masks.

    Raises `UserError` where a folder is missing or a picture of train-semi is.
    """
    path = Path(path)
    numbers = class_ids(path)
    place = path / f"lists/names/ImageNetSemi_im{CLASSES}_train.txt"
    folder = folder_at(path / f"ImageNetS{CLASSES}/train-semi-segmentation")
    masks = {}
    for line in text_lines(place):
        picture, mask = _two(line, place)
        masks[file_at(path / "imagenet/train" / picture)] = folder / mask
    examples = []
    for label, number in numbers.items():
        for picture in sorted(folder_at(path / "imagenet/train" / label).glob("*.JPEG")):
            mask = masks.get(picture)
            split = "val" if key("imagenet_s", "val", picture.stem) % VAL_PART == 0 else "train"
            examples.append(Example(picture, mask if mask and mask.is_file() else None, label, number, split))
    return examples


def packed(examples: list[Example], others: Others = "background") -> Iterator[Picture]:
    """The examples as rows of a pack, pictures as they are, masks as `object_mask` makes them of their class.

    Raises `UserError` naming a mask that does not decode or holds an unknown class, or a picture that is damaged.
    """
    for example in examples:
        data = example.picture.read_bytes()
        width, height = size_of(data)
        yield Picture(
            key=example.picture.stem,
            data=data,
            suffix=".jpg",
            width=width,
            height=height,
            label=example.label,
            concept=example.label,
            split=example.split,
            source=f"{example.picture.parent.name}/{example.picture.name}",
            mask=None if example.mask is None else _packed_mask(example, others),
        )


def decode_ids(data: bytes) -> NDArray[np.int32]:
    """Class numbers (H, W) of an ImageNet-S mask: red + 256 * green; 0 is no class, `IGNORE_ID` nobody's.

    Raises `ValueError` where the bytes are no RGB picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.mode != "RGB":
                raise ValueError(f"mode {picture.mode} instead of RGB")
            channels = np.asarray(picture).astype(np.int32)  # in 8 bits 256 * green overflows
    except (OSError, SyntaxError) as error:
        raise ValueError(f"does not decode ({error})") from error
    return channels[..., 0] + 256 * channels[..., 1]


def object_mask(ids: NDArray[np.int32], class_id: int, others: Others = "background") -> NDArray[np.uint8]:
    """A mask of class numbers (H, W) as 0 background, 1 the object of `class_id`, 255 ignore.

    `others` says what pixels of other classes are: `background` asks for this class's object, `object` for any
    labelled object, `ignore` for neither. Raises `ValueError` where a number is unknown.
    """
    unknown = np.unique(ids[(ids > CLASSES) & (ids != IGNORE_ID)])
    if len(unknown):
        raise ValueError(f"class id {unknown[0]} is unknown: ids are 0 to {CLASSES} and {IGNORE_ID}")
    mask = np.zeros(ids.shape, np.uint8)
    mask[ids > 0] = {"background": 0, "object": 1, "ignore": 255}[others]
    mask[ids == class_id] = 1
    mask[ids == IGNORE_ID] = 255
    return mask


def _packed_mask(example: Example, others: Others) -> bytes:
    try:
        mask = object_mask(decode_ids(example.mask.read_bytes()), example.class_id, others)
    except ValueError as error:
        raise UserError(f"{example.mask}: {error}: unpack ImageNet-S's annotations again") from error
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return stream.getvalue()


def _two(line: str, place: Path) -> tuple[str, str]:
    parts = line.split(" ")
    if len(parts) != 2 or any(part.count("/") != 1 or ".." in part for part in parts):
        raise UserError(f"{place}: not a line of two files: {line[:80]!r}: take the file from ImageNet-S again")
    return parts[0], parts[1]


def _known(label: str, numbers: dict[str, int], place: Path) -> str:
    if label not in numbers:
        raise UserError(f"{place}: {label} is none of the {CLASSES} classes: take the lists of ImageNet-S{CLASSES}")
    return label

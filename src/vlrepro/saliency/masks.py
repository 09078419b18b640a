"""The masks of a pack on the evaluation canvas, and which pictures have none that can be scored.

A mask is a picture's alpha channel (object where at least half opaque) or a PNG member of one channel with the values
0 (background), 1 (object) and 255 (ignore); see `vlrepro.data.pack`. A picture whose mask is missing or wrong is never
scored as if it were background: it is left out of n and listed with the reason.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vlrepro.data.decoding import MAX_PIXELS, OPAQUE, square
from vlrepro.data.pack import Pack
from vlrepro.saliency.canvas import BACKGROUND, IGNORE, OBJECT, Masks


@dataclass(frozen=True)
class MaskSet:
    """The usable masks of some pictures.

    `positions` (n,) int64 in the pack's index, `masks` (n, canvas, canvas) uint8, and (key, reason) of the others.
    """

    positions: np.ndarray
    masks: Masks
    rejected: tuple[tuple[str, str], ...]


def read_masks(pack: Pack, positions: Sequence[int], canvas: int) -> MaskSet:
    """Masks of the pictures at `positions`, in their order, aligned with `vlrepro.data.loader.Pictures`.

    Raises `UserError` where a shard is missing or cut short; what is wrong with single masks is in `rejected`.
    """
    kept, masks, rejected = [], [], []
    for position in positions:
        try:
            masks.append(decode_mask(*_source(pack, int(position)), canvas))
            kept.append(int(position))
        except ValueError as error:
            rejected.append((pack.rows[int(position)].key, str(error)))
    stacked = np.stack(masks) if masks else np.empty((0, canvas, canvas), np.uint8)
    return MaskSet(np.array(kept, np.int64), stacked, tuple(rejected))


def _source(pack: Pack, position: int) -> tuple[bytes, bytes | None]:
    """A picture's bytes and its mask's; None where the picture's alpha is the mask."""
    if pack.rows[position].mask_offset == -2:
        raise ValueError("the picture has no mask")
    return pack.picture(position), pack.mask(position)


def decode_mask(picture: bytes, mask: bytes | None, canvas: int) -> Masks:
    """Decode a mask to (canvas, canvas) uint8, by nearest neighbour, cropped and scaled as its picture is.

    A JPEG far larger than the canvas is decoded at a reduced scale, which may move it by part of a pixel.
    `mask` None is the picture's alpha channel. Raises `ValueError` with the reason where there is no usable mask.
    """
    size = _open(picture, "picture").size
    labels = _alpha_labels(picture) if mask is None else _member_labels(mask)
    if labels.size != size:
        raise ValueError(f"the mask is {_text(labels.size)} pixels, its picture {_text(size)}")
    if not (np.asarray(labels) == OBJECT).any():
        raise ValueError("the mask is empty")
    result = np.asarray(square(labels, canvas, Image.Resampling.NEAREST))
    if not (result == OBJECT).any():
        raise ValueError(f"no object pixel is left on the canvas of {canvas} pixels")
    return result


def _alpha_labels(data: bytes) -> Image.Image:
    picture = _open(data, "picture")
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        raise ValueError("the picture has no alpha channel to be its mask")
    alpha = np.asarray(_decoded(picture, "picture", "RGBA"))[..., 3]
    if alpha.min() == 255:
        raise ValueError("the picture is opaque everywhere: its alpha channel is no mask")
    return Image.fromarray(np.where(alpha >= OPAQUE, np.uint8(OBJECT), np.uint8(BACKGROUND)))


def _member_labels(data: bytes) -> Image.Image:
    picture = _open(data, "mask")
    if picture.mode not in ("L", "P", "1"):
        raise ValueError(f"the mask has the mode {picture.mode}, not one channel of class ids")
    labels = _decoded(picture, "mask", None)
    if labels.mode != "L":  # a palette's numbers are the ids, its colours are for eyes; bits are 0 and 1
        labels = Image.fromarray(np.asarray(labels).astype(np.uint8))
    unknown = sorted(set(np.unique(np.asarray(labels)).tolist()) - {BACKGROUND, OBJECT, IGNORE})
    if unknown:
        raise ValueError(f"class id {unknown[0]} is unknown: a mask has 0, 1 and {IGNORE} (ignore)")
    return labels


def _open(data: bytes, what: str) -> Image.Image:
    """The picture with its header read, its pixels not yet."""
    try:
        picture = Image.open(io.BytesIO(data))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the {what} does not decode ({error})") from error
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(f"the {what} is {_text(picture.size)} pixels: too many")
    return picture


def _decoded(picture: Image.Image, what: str, mode: str | None) -> Image.Image:
    try:
        picture.load()
        return picture.convert(mode) if mode else picture
    except (OSError, SyntaxError) as error:
        raise ValueError(f"the {what} does not decode ({error})") from error


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"

"""Decoding of a picture to a square canvas; without torch, so that fetching a pack does not import it.

Changes of what is decoded raise the REVISION of `loader`.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

OPAQUE = 128  # of 255: where alpha is a mask, this much and more is object
MAX_PIXELS = 64_000_000  # a picture with more is refused before decoding: a decompression bomb or a mistake


def decode(data: bytes, canvas: int) -> np.ndarray:
    """Decode a picture to (canvas, canvas, 3) uint8: transparency over white, short side scaled, centre kept.

    Raises `ValueError` with the reason where the bytes are no picture, are cut short or have too many pixels.
    """
    return _decoded(data, lambda picture: square(picture, canvas), canvas)


def decode_whole(data: bytes, side: int) -> np.ndarray:
    """Decode a picture to (height, width, 3) uint8: transparency over white, longer side scaled to `side`, nothing cut.

    Raises `ValueError` as `decode` does.
    """
    return _decoded(data, lambda picture: _whole(picture, side), side)


def decode_exactly(data: bytes, canvas: int) -> np.ndarray:
    """Decode to (canvas, canvas, 3) uint8 as CLIP's published code does, which `decode` approximates for speed.

    No JPEG is decoded at a reduced scale, and the long side and the crop are rounded as torchvision's Resize and
    CenterCrop round them (bicubic). Transparency is laid over white all the same. Raises `ValueError` as `decode`.
    """
    return _decoded(data, lambda picture: _square_as_torchvision(picture, canvas))


def decode_full(data: bytes) -> np.ndarray:
    """Decode to (height, width, 3) uint8 at the picture's own size: transparency over white. Raises as `decode`."""
    return _decoded(data, lambda picture: picture)


def _decoded(data: bytes, finish: Callable[[Image.Image], Image.Image], reducible_to: int | None = None) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.width} x {picture.height} pixels: too many")
            if reducible_to is not None:
                picture.draft("RGB", (reducible_to, reducible_to))  # JPEG: decode at a reduced scale
            return np.asarray(finish(opaque(picture)))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"does not decode ({error})") from error


def _whole(picture: Image.Image, side: int) -> Image.Image:
    longer = max(picture.size)
    width, height = (max(1, round(length * side / longer)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of an encoded picture; 0, 0 for what the check after every fetch will reject."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.size
    except (OSError, Image.DecompressionBombError):
        return 0, 0


def opaque(picture: Image.Image) -> Image.Image:
    """A picture in RGB, over white where it is transparent."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def square(picture: Image.Image, canvas: int, resampling: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """Scale a picture's short side to `canvas` and keep the centre; a mask goes the same way, by nearest neighbour."""
    if picture.size == (canvas, canvas):
        return picture
    short = min(picture.size)
    size = [max(canvas, round(side * canvas / short)) for side in picture.size]
    picture = picture.resize(size, resampling)
    left, top = ((side - canvas) // 2 for side in size)
    return picture.crop((left, top, left + canvas, top + canvas))


def _square_as_torchvision(picture: Image.Image, canvas: int) -> Image.Image:
    size = [canvas * side // min(picture.size) for side in picture.size]
    if size[0] * size[1] > MAX_PIXELS:  # a line of pixels would become a strip that no memory holds
        raise ValueError(f"{picture.width} x {picture.height} pixels: too narrow")
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    left, top = (round((side - canvas) / 2) for side in picture.size)
    return picture.crop((left, top, left + canvas, top + canvas))

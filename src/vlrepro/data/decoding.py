"""Decoding of a picture to a square canvas; without torch, so that fetching a pack does not import it.

Changes of what is decoded raise the REVISION of `loader`.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

OPAQUE = 128  # of 255: where alpha is a mask, this much and more is object
MAX_PIXELS = 64_000_000  # a picture with more is refused before decoding: a decompression bomb or a mistake


def decode(data: bytes, canvas: int) -> np.ndarray:
    """Decode a picture to (canvas, canvas, 3) uint8: transparency over white, short side scaled, centre kept.

    Raises `ValueError` with the reason where the bytes are no picture, are cut short or have too many pixels.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.width} x {picture.height} pixels: too many")
            picture.draft("RGB", (canvas, canvas))  # JPEG: decode at a reduced scale
            return np.asarray(square(opaque(picture), canvas))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"does not decode ({error})") from error


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

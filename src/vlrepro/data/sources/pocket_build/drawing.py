"""Rendering and encoding: SVG or PNG in, a square RGBA picture with an exact alpha mask out."""

from __future__ import annotations

import hashlib
import io
import struct
from pathlib import Path

import resvg_py
from PIL import Image

from vlrepro.errors import UserError

SIZE = 48  # pixels, both ways
SUPERSAMPLE = 2  # resvg's own anti-aliasing is coarse for hair lines at 48 px
QUALITY = 70  # of the lossy WebP colours; alpha is always lossless
ALPHA_LEVELS = 16  # of the rendered alpha: invisible at 48 px, and halves what the lossless alpha takes
THUMB = 12  # pixels, both ways, of the thumbnails that find near copies
METHOD = 4  # WebP effort; 6 tries every alpha filter: 40 times slower for 1 % of the bytes
MAX_PIXELS = 25_000_000  # of a source PNG; larger ones are not decoded
MIN_COVER = 0.005  # of the square that has alpha > 127 or some ink; emptier renders are dropped
_PNG = b"\x89PNG\r\n\x1a\n"


def render_svg(svg: str) -> Image.Image:
    """Render an SVG onto a transparent `SIZE` x `SIZE` RGBA picture, aspect kept, centred.

    Raises `UserError` when the SVG cannot be rendered.
    """
    side = SIZE * SUPERSAMPLE
    try:
        data = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, skip_system_fonts=True))
    except ValueError as error:
        raise UserError(f"{svg[:60]!r}: the SVG does not render ({error}): drop the drawing from the design") from error
    return fit_square(Image.open(io.BytesIO(data)))


def png_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels from a PNG's header, without decoding.

    Raises `UserError` where the file does not start as a PNG does.
    """
    with open(path, "rb") as stream:
        head = stream.read(24)
    if len(head) < 24 or head[:8] != _PNG or head[12:16] != b"IHDR":
        raise UserError(f"{path}: not a PNG file: remove it from the archive folder")
    return struct.unpack(">II", head[16:24])


def open_png(path: Path) -> Image.Image | None:
    """Decode a PNG, trim its transparent border and fit it into the square; None for a bomb (over `MAX_PIXELS`).

    Raises `UserError` when the file is damaged.
    """
    width, height = png_size(path)
    if width * height > MAX_PIXELS:
        return None
    try:
        with Image.open(path) as picture:
            whole = picture.convert("RGBA")
            return fit_square(whole.crop(whole.getchannel("A").getbbox()))
    except (OSError, SyntaxError) as error:
        raise UserError(f"{path}: the PNG does not decode ({error}): remove it from the archive folder") from error


def fit_square(picture: Image.Image, side: int = SIZE) -> Image.Image:
    """Scale a picture to fit `side` x `side`, aspect kept, centred on transparency.

    Lanczos resampling on premultiplied colours ("RGBa"), so that no fringe of the hidden colour appears.
    """
    picture = picture.convert("RGBA")
    scale = side / max(picture.size)
    size = tuple(max(1, round(length * scale)) for length in picture.size)
    small = picture.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    small.putalpha(small.getchannel("A").point(alpha_level))
    square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    square.paste(small, ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def alpha_level(value: int) -> int:
    """The nearest of `ALPHA_LEVELS` evenly spaced levels from 0 to 255."""
    step = 255 // (ALPHA_LEVELS - 1)
    return (value + step // 2) // step * step


def is_empty(picture: Image.Image) -> bool:
    """Whether an RGBA picture has practically no ink: less than `MIN_COVER` of full alpha in the mean."""
    alpha = picture.getchannel("A")
    total = sum(value * count for value, count in enumerate(alpha.histogram()))
    return total < MIN_COVER * 255 * alpha.width * alpha.height


def has_mask(picture: Image.Image) -> bool:
    """Whether the alpha channel says something: some pixel is transparent."""
    return picture.getchannel("A").getextrema()[0] < 255


def pixel_digest(picture: Image.Image) -> str:
    """SHA-256 of the visible pixels (premultiplied), the same for drawings that look the same."""
    return hashlib.sha256(picture.convert("RGBa").tobytes()).hexdigest()


def thumbnail(picture: Image.Image, side: int = THUMB) -> bytes:
    """`side` x `side` premultiplied RGBA bytes, to find drawings that are nearly the same."""
    return picture.convert("RGBa").resize((side, side), Image.Resampling.BOX).tobytes()


def encode(picture: Image.Image, lossless: bool = False) -> bytes:
    """Encode an RGBA picture as WebP: colours with `QUALITY` or lossless, alpha lossless always."""
    stream = io.BytesIO()
    options = {"quality": 100, "lossless": True} if lossless else {"quality": QUALITY, "alpha_quality": 100}
    picture.save(stream, "WEBP", method=METHOD, exact=False, **options)
    return stream.getvalue()

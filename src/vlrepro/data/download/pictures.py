"""From a server's bytes to a clean JPEG: what they are, whether they are safe to decode, what of them is kept.

Nothing of a file is believed but its pixels: its name and type are not looked at, its metadata is dropped.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from vlrepro.data.decoding import opaque
from vlrepro.data.download.jpeg import stripped
from vlrepro.data.download.options import Rules
from vlrepro.data.download.scaling import scaled_down
from vlrepro.data.restarts import encode

REVISION = 2
_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
}
_ORIENTATION = 0x0112  # Exif's tag; below, what makes a picture upright under each of its values
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Packed:
    """A picture to be packed (`data`, empty where the `reason` is not ok) and the facts of what was sent."""

    reason: str
    sha256: str
    width: int = 0
    height: int = 0
    packed_width: int = 0
    packed_height: int = 0
    data: bytes = b""


class _Refused(Exception):
    """A picture that breaks a rule; the argument is the ledger's reason."""


def kind_of(data: bytes) -> str | None:
    """Pillow's name of the format that `data` begins as, None where it is none that we read."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in _SIGNATURES.items() if data.startswith(magic)), None)


def pack_picture(data: bytes, rules: Rules) -> Packed:
    """Check `data` and make it the JPEG that is packed; never raises, whatever the bytes are.

    The first frame counts, upright, over white where it is transparent. A JPEG that needs none of that and is not
    over `rules.short_side` keeps its own compressed pixels.
    """
    digest = hashlib.sha256(data).hexdigest()
    kind = kind_of(data)
    if kind is None:
        return Packed("not_image", digest)
    size = (0, 0)
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as picture:
            size = picture.size
            _check(picture, rules)
            made, packed_size = _jpeg(data, picture, rules)
        return Packed("ok", digest, *size, *packed_size, made)
    except _Refused as error:
        return Packed(str(error), digest, *size)
    except Image.DecompressionBombError:
        return Packed("bomb", digest, *size)
    except Exception:  # decoders raise errors of every kind at hostile bytes
        return Packed("decode", digest, *size)


def _check(picture: Image.Image, rules: Rules) -> None:
    """Refuse by the header alone, before any pixel is decoded."""
    if min(picture.size) < rules.min_side:
        raise _Refused("too_small")
    frames = getattr(picture, "n_frames", 1)  # of a GIF: walks its blocks, which may also enlarge its canvas
    if picture.width * picture.height > rules.max_pixels or frames > rules.max_frames:
        raise _Refused("bomb")


def _jpeg(data: bytes, picture: Image.Image, rules: Rules) -> tuple[bytes, tuple[int, int]]:
    """The JPEG to pack and its width and height."""
    orientation = picture.getexif().get(_ORIENTATION, 1)
    short = rules.short_side or min(picture.size)
    if picture.format == "JPEG" and picture.mode in ("L", "RGB") and orientation == 1 and min(picture.size) <= short:
        picture.load()  # decodes all of it: the proof that it is whole
        kept = stripped(data)
        if kept:
            return kept, picture.size
    target = _target(picture.size, short)
    factor = _factor(picture.size, target)
    pixels = _fast_pixels(data, picture, factor)
    made = Image.fromarray(scaled_down(_pixels(picture, factor) if pixels is None else pixels, target))
    if orientation in _TURNS:
        made = made.transpose(_TURNS[orientation])
    return encode(made, rules.quality), made.size


def _fast_pixels(data: bytes, picture: Image.Image, factor: int) -> np.ndarray | None:
    """A faultless JPEG's pixels (height, width, 3) with sides divided by `factor`, rounded up; None for any other.

    libjpeg warns of what is cut short or damaged and makes pixels up; `strict` refuses them. Pillow then decides, which
    refuses what is cut short and bears with what all readers do. At each factor all of the data is decoded.
    """
    if picture.format != "JPEG" or picture.mode not in ("L", "RGB"):
        return None
    width, height = (-(-side // factor) for side in picture.size)
    try:
        if simplejpeg.decode_jpeg_header(data)[:2] != picture.size[::-1]:
            return None  # another reading of the header than the one whose size was checked
        return simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, strict=True)
    except ValueError:
        return None


def _pixels(picture: Image.Image, factor: int) -> np.ndarray:
    """A picture's pixels (height, width, 3), opaque; a JPEG's sides divided by `factor`. Raises what Pillow raises."""
    picture.draft("RGB", (picture.width // factor, picture.height // factor))
    return np.asarray(opaque(_eight_bits(picture)))


def _factor(size: tuple[int, int], target: tuple[int, int]) -> int:
    """What a JPEG's decoder may divide sides by for next to nothing, leaving at least twice the `target`: 1, 2, 4 or 8.

    Other factors (8/7 to 8/3) are slower than a full decoding, for which processors have instructions.
    """
    room = min(side // (2 * wanted) for side, wanted in zip(size, target, strict=True))
    return next(factor for factor in (8, 4, 2, 1) if factor <= max(room, 1))


def _target(size: tuple[int, int], short: int) -> tuple[int, int]:
    """`size` with its short side scaled down to `short`; never up."""
    scale = min(1.0, short / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit greys as 8-bit ones, which Pillow would clip; anything else as it is."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))

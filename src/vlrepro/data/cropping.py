"""Crops of encoded pictures, in any process: without torch, so that a process that does nothing else is small.

What a crop's pixels are is decided here; how the work is shared out, in `crops`. Changes of what is decoded raise the
REVISION of `loader`.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg

from vlrepro.data.decoding import MAX_PIXELS, decode_full
from vlrepro.data.restarts import tile_of

_ALIASED = 1.6  # averaging areas takes twice the time of decoding, and below this there is little to average
_local = threading.local()


class Places(NamedTuple):
    """Encoded pictures in files: of each the file, and where in it."""

    paths: Sequence[str]
    offsets: Sequence[int]
    lengths: Sequence[int]

    def read(self) -> list[memoryview]:
        """Views of the files, which are mapped once."""
        return [_mapped(path)[at : at + length] for path, at, length in zip(*self, strict=True)]


class Shared(NamedTuple):
    """An array in memory that several processes map, by a path that leads to it; `inode` tells it from earlier ones."""

    path: str
    inode: int
    shape: tuple[int, ...]
    dtype: str


class View(NamedTuple):
    """One crop of each picture of a batch of B.

    `flip` (B,) says which are mirrored, `affine` (3, 4) float32 what turns 8-bit values into normalised ones (None:
    they stay as they are), and `out` (B, side, side, 3) is where they go.
    """

    side: int
    flip: list[bool]
    affine: np.ndarray | None
    out: np.ndarray | Shared


class Job(NamedTuple):
    """Some pictures of a batch, from its row `first`: where they are, their heights and widths, and a box for each
    view.

    A box is top, left, height and width in pixels of the picture.
    """

    first: int
    pictures: Sequence[memoryview] | Places
    sizes: Sequence[tuple[int, int]]
    boxes: Sequence[Sequence[Sequence[int]]]
    views: Sequence[View]


class UnreadableError(Exception):
    """A picture that does not decode, or is not of the size that it should be: its row in the batch, and why."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(row, reason)
        self.row, self.reason = row, reason


def make(job: Job) -> None:
    """Put every crop into its place. Raises `UnreadableError`."""
    views = [view if isinstance(view.out, np.ndarray) else view._replace(out=_attached(view.out)) for view in job.views]
    pictures = job.pictures.read() if isinstance(job.pictures, Places) else job.pictures
    for row, (data, size, boxes) in enumerate(zip(pictures, job.sizes, job.boxes, strict=True), start=job.first):
        try:
            _crop(data, size, boxes, views, row)
        except ValueError as error:
            raise UnreadableError(row, str(error)) from error


@cache
def _mapped(path: str) -> memoryview:
    with open(path, "rb") as stream:
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


@lru_cache(8)  # those of the next steps
def _attached(array: Shared) -> np.ndarray:
    with open(array.path, "r+b") as stream:
        return np.frombuffer(mmap.mmap(stream.fileno(), 0), array.dtype).reshape(array.shape)


def _crop(
    data: memoryview, size: tuple[int, int], boxes: Sequence[Sequence[int]], views: Sequence[View], row: int
) -> None:
    """Decode one picture and put each of its crops, flipped and normalised where so drawn, into its place."""
    pixels, size, top, left = _decoded(data, size, boxes, views)
    for (box_top, box_left, height, width), (side, flip, affine, out) in zip(boxes, views, strict=True):
        crop = out[row] if affine is None else _scratch("crop", 3 * side * side).reshape(side, side, 3)
        resize_box(pixels, (box_top - top, box_left - left, height, width), size, crop)
        if flip[row]:
            cv2.flip(crop, 1, dst=crop)
        if affine is not None:
            np.copyto(out[row], crop)
            cv2.transform(out[row], affine, dst=out[row])


def _decoded(
    data: memoryview, expected: tuple[int, int], boxes: Sequence[Sequence[int]], views: Sequence[View]
) -> tuple[np.ndarray, tuple[int, int], int, int]:
    """The picture or the part of it that holds the boxes, at a scale that all of its views allow.

    Its pixels (h, w, 3), its height and width in pixels of the picture, and its first row and column there. Raises
    `ValueError` where the picture is unreadable or has not the `expected` height and width.
    """
    if expected[0] * expected[1] > MAX_PIXELS:
        raise ValueError(f"{expected[1]} x {expected[0]} pixels: too many")
    factor = min([min(box[2], box[3]) // view.side for box, view in zip(boxes, views, strict=True)])
    if factor < 2 and (tile := tile_of(data, boxes)):
        _check(tile.picture, expected)
        size = tile.height, tile.width
        return _jpeg(tile.data, size, 1), size, tile.top, tile.left
    if bytes(data[:2]) == b"\xff\xd8":
        _check(simplejpeg.decode_jpeg_header(data)[:2], expected)
        return _jpeg(data, expected, factor), expected, 0, 0
    pixels = decode_full(bytes(data))
    _check(pixels.shape[:2], expected)
    return pixels, expected, 0, 0


def _check(found: tuple[int, ...], expected: tuple[int, int]) -> None:
    if found != expected:
        raise ValueError(f"{found[1]} x {found[0]} pixels, not the {expected[1]} x {expected[0]} of the index")


def _jpeg(data: bytearray | memoryview, size: tuple[int, int], factor: int) -> np.ndarray:
    least = {}
    if factor >= 2:  # half, a quarter or an eighth of the size, of which libjpeg decodes no more than it needs
        least = {"min_height": -(-size[0] // factor), "min_width": -(-size[1] // factor), "min_factor": 2}
    buffer = _scratch("pixels", 3 * size[0] * size[1])
    return simplejpeg.decode_jpeg(data, "RGB", fastupsample=True, buffer=buffer, **least)


def _scratch(name: str, length: int) -> np.ndarray:
    """`length` bytes of this thread's own: the kernel would clear fresh ones for each picture."""
    kept = _local.__dict__
    if name not in kept or len(kept[name]) < length:
        kept[name] = np.empty(length, np.uint8)
    return kept[name][:length]


def resize_box(pixels: np.ndarray, box: Sequence[int], size: tuple[int, int], out: np.ndarray) -> None:
    """Resize the part `box` (top, left, height, width) of a picture into `out` (S, S, 3) uint8.

    The box is in pixels of the picture's `size` (height, width), of which `pixels` may be a reduced copy. Bilinear,
    which Pillow's antialiased bilinear equals up to rounding where the box is no larger than the output; averages of
    areas where it is `_ALIASED` times as large.
    """
    top, left, height, width = box
    side = len(out)
    if pixels.shape[:2] != size:  # reduced: edges of the box fall between pixels
        down, across = pixels.shape[0] / size[0], pixels.shape[1] / size[1]
        step = width * across / side, height * down / side
        start = left * across + step[0] / 2 - 0.5, top * down + step[1] / 2 - 0.5
        places = np.array([[step[0], 0, start[0]], [0, step[1], start[1]]])
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(pixels, places, (side, side), dst=out, flags=how, borderMode=cv2.BORDER_REPLICATE)
        return
    part = pixels[top : top + height, left : left + width]
    aliased = max(height, width) > _ALIASED * side
    cv2.resize(part, (side, side), dst=out, interpolation=cv2.INTER_AREA if aliased else cv2.INTER_LINEAR)

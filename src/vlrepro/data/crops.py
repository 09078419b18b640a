"""Random crops of whole pictures, decoded batch by batch into one buffer: the input of trainings at the papers' scale.

A picture is decoded once, on one of a pool of threads, into that thread's own buffer; each of its crops is resized to
8 bits straight into its place of the batch, which lies channels last. What follows (flip, colours, blur, normalisation)
is done by `Augment.finish` on the device, a batch at a time. Decoders and resizers release the interpreter lock, and a
picture's pixels depend on nothing but its bytes and its boxes: the bits are the same with any number of threads.

Departures from torchvision's RandomResizedCrop on a Pillow picture: a box that is larger than the output is resized by
an antialiased filter of OpenCV's (area averaging) in place of the antialiased triangle, chroma is enlarged by
repetition (libjpeg-turbo's fast upsampling), and a picture of twice the size that all of its crops need is decoded at
a reduced scale.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import simplejpeg
import torch
from torch import Tensor

from vlrepro.data.decoding import MAX_PIXELS, decode_full
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError

_SLICE = 8  # pictures handed to a thread together: handing over one costs a tenth of decoding it


class Crops:
    """Crops of a pack's pictures: `sizes` (pictures, 2) int32 height and width by position, and `batch`."""

    def __init__(self, pack: Pack, threads: int = 1) -> None:
        self.pack = pack
        sizes = [np.asarray(pack.rows.column(name), np.int32) for name in ("height", "width")]
        self.sizes = torch.from_numpy(np.stack(sizes, axis=1))
        self._threads = ThreadPoolExecutor(threads) if threads > 1 else None
        self._local = threading.local()

    def batch(self, positions: Sequence[int] | Tensor, boxes: Sequence[Tensor], sides: Sequence[int]) -> list[Tensor]:
        """For each of `boxes` (B, 4) of top, left, height, width: the crops, uint8 (B, 3, S, S), channels last.

        S is the box's of `sides`; the boxes are in pixels of the picture's own size.

        Raises `UserError` that names the shard and key of a picture that does not decode or has not the index's size.
        """
        places = [int(position) for position in positions]
        cuts = [box.tolist() for box in boxes]
        out = [np.empty((len(places), side, side, 3), np.uint8) for side in sides]

        def fill(start: int) -> None:
            for slot in range(start, min(start + _SLICE, len(places))):
                self._fill(places[slot], [cut[slot] for cut in cuts], [views[slot] for views in out])

        starts = range(0, len(places), _SLICE)
        for _ in map(fill, starts) if self._threads is None else self._threads.map(fill, starts):
            pass
        return [torch.from_numpy(views).permute(0, 3, 1, 2) for views in out]

    def _fill(self, position: int, boxes: Sequence[Sequence[int]], out: Sequence[np.ndarray]) -> None:
        expected = tuple(self.sizes[position].tolist())
        try:
            factor = min(min(box[2:]) // len(view) for box, view in zip(boxes, out, strict=True))
            pixels = self._decoded(self.pack.view(position), expected, factor)
        except ValueError as error:
            where = f"{self.pack.shard(position)}: picture {self.pack.key(position)}"
            raise UserError(f"{where}: {error}: fetch the pack again") from error
        for box, view in zip(boxes, out, strict=True):
            resize_box(pixels, box, expected, view)

    def _decoded(self, data: memoryview, expected: tuple[int, int], factor: int) -> np.ndarray:
        """The picture's pixels, (h, w, 3) uint8, at a scale not below 1 / `factor`.

        Raises `ValueError` where it is unreadable or has not the `expected` height and width.
        """
        if expected[0] * expected[1] > MAX_PIXELS:
            raise ValueError(f"{expected[1]} x {expected[0]} pixels: too many")
        if bytes(data[:2]) != b"\xff\xd8":
            pixels = decode_full(bytes(data))
            found = pixels.shape[:2]
        else:
            found = simplejpeg.decode_jpeg_header(data)[:2]
            pixels = self._jpeg(data, found, factor) if found == expected else None
        if found != expected:
            raise ValueError(f"{found[1]} x {found[0]} pixels, not the {expected[1]} x {expected[0]} of the index")
        return pixels

    def _jpeg(self, data: memoryview, size: tuple[int, int], factor: int) -> np.ndarray:
        least = {}
        if factor >= 2:  # half, a quarter or an eighth of the size, of which libjpeg decodes no more than it needs
            least = {"min_height": -(-size[0] // factor), "min_width": -(-size[1] // factor), "min_factor": 2}
        return simplejpeg.decode_jpeg(
            data, "RGB", fastupsample=True, buffer=self._buffer(3 * size[0] * size[1]), **least
        )

    def _buffer(self, length: int) -> np.ndarray:
        """This thread's own: a fresh one for each picture would be cleared by the kernel, page by page."""
        buffer = getattr(self._local, "buffer", None)
        if buffer is None or len(buffer) < length:
            buffer = self._local.buffer = np.empty(length, np.uint8)
        return buffer


def resize_box(pixels: np.ndarray, box: Sequence[int], size: tuple[int, int], out: np.ndarray) -> None:
    """Resize the part `box` (top, left, height, width) of a picture into `out` (S, S, 3) uint8.

    The box is in pixels of the picture's `size` (height, width), of which `pixels` may be a reduced copy; it is then
    rounded to whole pixels of that. Bilinear where the box is no larger than the output along either axis (Pillow's
    antialiased bilinear is the same there, up to rounding), averages of areas otherwise.
    """
    top, left, height, width = box
    if pixels.shape[:2] != size:
        down, across = pixels.shape[0] / size[0], pixels.shape[1] / size[1]
        top, left = round(top * down), round(left * across)
        height, width = max(1, round(height * down)), max(1, round(width * across))
    part = pixels[top : top + height, left : left + width]
    side = len(out)
    enlarged = max(part.shape[:2]) <= side
    cv2.resize(part, (side, side), dst=out, interpolation=cv2.INTER_LINEAR if enlarged else cv2.INTER_AREA)

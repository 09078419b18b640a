"""Random crops of whole pictures, decoded batch by batch into one buffer: the input of trainings at the papers' scale.

A picture is decoded once, on one of a pool of threads, into that thread's own buffer; each of its crops is resized to
8 bits straight into its place of the batch, which lies channels last. What follows (flip, colours, blur, normalisation)
is done by `Augment.finish` on the device, a batch at a time. Decoders and resizers release the interpreter lock, and a
picture's pixels depend on nothing but its bytes and its boxes: the bits are the same with any number of threads.

Departures from torchvision's RandomResizedCrop on a Pillow picture: a box of up to 1.6 times the output (all of a pack
whose short side is 256) is shrunk by plain bilinear interpolation and a larger one by averages of areas, both in place
of the antialiased triangle; chroma is enlarged by repetition (libjpeg-turbo's fast upsampling); a picture of twice the
size that all of its crops need is decoded at a reduced scale. `tests/test_crops.py` bounds the difference. Changes of
what is decoded raise the REVISION of `loader`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
import torch
from torch import Tensor

from vlrepro.data.decoding import MAX_PIXELS, decode_full
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError

_ALIASED = 1.6  # averaging areas takes twice the time of decoding, and below this there is little to average
_UNUSED = 3  # references to an array that only `Buffers` holds: its list, its loop, the question
_SLICE = 4  # pictures handed to a thread together: handing over one costs a tenth of decoding it


@dataclass(frozen=True)
class Cut:
    """One view of each of B pictures: the boxes (B, 4) int64 of top, left, height, width, in pixels of the picture.

    Each is resized to `side` pixels and mirrored where `flip` (B,) says so. Where `normalise` gives means and standard
    deviations, values are normalised on the spot, as `Augment.finish` would.
    """

    boxes: Tensor
    flip: Tensor
    side: int
    normalise: tuple[Sequence[float], Sequence[float]] | None = None

    @property
    def dtype(self) -> type:
        """Of the crops."""
        return np.uint8 if self.normalise is None else np.float32

    def table(self) -> np.ndarray | None:
        """What each 8-bit value of each channel becomes, (1, 256, 3) float32, where it is normalised."""
        if self.normalise is None:
            return None
        mean, std = (np.array(values) for values in self.normalise)
        return ((np.arange(256)[None, :, None] / 255 - mean) / std).astype(np.float32)


class Crops:
    """Crops of a pack's pictures: `sizes` (pictures, 2) int32 height and width by position, and `batch`."""

    def __init__(self, pack: Pack, threads: int = 1) -> None:
        self.pack = pack
        sizes = [np.asarray(pack.rows.column(name), np.int32) for name in ("height", "width")]
        self.sizes = torch.from_numpy(np.stack(sizes, axis=1))
        self._threads = ThreadPoolExecutor(threads) if threads > 1 else None
        self._local = threading.local()
        self._buffers = Buffers()
        self._taking = threading.Lock()

    def batch(self, positions: Sequence[int] | Tensor, cuts: Sequence[Cut]) -> list[Tensor]:
        """The crops of each of `cuts`, (B, 3, S, S) and channels last: uint8, or float32 where the cut normalises.

        Raises `UserError` that names the shard and key of a picture that does not decode or has not the index's size.
        """
        places = [int(position) for position in positions]
        rows = [list(zip(cut.boxes.tolist(), cut.flip.tolist(), strict=True)) for cut in cuts]
        with self._taking:  # batches may be made side by side
            out = [self._buffers.take((len(places), cut.side, cut.side, 3), cut.dtype) for cut in cuts]
        todo = [_Todo(cut.side, cut.table()) for cut in cuts]

        def fill(start: int) -> None:
            for slot in range(start, min(start + _SLICE, len(places))):
                self._fill(places[slot], todo, [row[slot] for row in rows], [views[slot] for views in out])

        starts = range(0, len(places), _SLICE)
        for _ in map(fill, starts) if self._threads is None else self._threads.map(fill, starts):
            pass
        return [torch.from_numpy(views).permute(0, 3, 1, 2) for views in out]

    def _fill(
        self,
        position: int,
        todo: Sequence[_Todo],
        rows: Sequence[tuple[Sequence[int], bool]],
        out: Sequence[np.ndarray],
    ) -> None:
        """Decode one picture and put each of its crops, flipped and normalised where so drawn, into its place."""
        expected = tuple(self.sizes[position].tolist())
        try:
            factor = min(min(box[2:]) // what.side for (box, _), what in zip(rows, todo, strict=True))
            pixels = self._decoded(self.pack.view(position), expected, factor)
        except ValueError as error:
            where = f"{self.pack.shard(position)}: picture {self.pack.key(position)}"
            raise UserError(f"{where}: {error}: fetch the pack again") from error
        for (box, flip), what, view in zip(rows, todo, out, strict=True):
            crop = view if what.table is None else self._scratch("crop", 3 * what.side**2).reshape(view.shape)
            resize_box(pixels, box, expected, crop)
            if flip:
                cv2.flip(crop, 1, dst=crop)
            if what.table is not None:
                cv2.LUT(crop, what.table, dst=view)

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
            data, "RGB", fastupsample=True, buffer=self._scratch("pixels", 3 * size[0] * size[1]), **least
        )

    def _scratch(self, name: str, length: int) -> np.ndarray:
        """`length` bytes of this thread's own: the kernel would clear fresh ones for each picture."""
        kept = self._local.__dict__
        if name not in kept or len(kept[name]) < length:
            kept[name] = np.empty(length, np.uint8)
        return kept[name][:length]


class _Todo(NamedTuple):
    side: int
    table: np.ndarray | None  # (1, 256, 3) float32: what each value of each channel becomes


class Buffers:
    """Arrays that are handed out again when nobody holds them: the kernel clears fresh memory, at the cost of a decode.

    A tensor made of an array holds it, so whoever keeps a batch keeps its array out of use.
    """

    def __init__(self) -> None:
        self._kept: list[np.ndarray] = []

    def take(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """An array of `shape` and `dtype` with any content."""
        for kept in self._kept:
            if kept.shape == shape and kept.dtype == dtype and sys.getrefcount(kept) == _UNUSED:
                return kept
        self._kept = [kept for kept in self._kept if kept.shape == shape or sys.getrefcount(kept) > _UNUSED]
        self._kept.append(np.empty(shape, dtype))
        return self._kept[-1]


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

"""Random crops of whole pictures, decoded batch by batch into one buffer: the input of trainings at the papers' scale.

A picture is decoded once, by one of several processes, into that process's own memory; each of its crops is resized to
8 bits straight into its place of the batch, which lies channels last in memory that all of them map. What follows
(flip, colours, blur, normalisation) is done by `Augment.finish` on the device, a batch at a time. A process is sent
where a picture's bytes lie and which boxes to cut, so it holds no index: its memory does not grow with the data set. A
picture's pixels depend on nothing but its bytes and its boxes: the bits are the same with any number of processes.

Departures from torchvision's RandomResizedCrop on a Pillow picture: a box of up to 1.6 times the output (all of a pack
whose short side is 256) is shrunk by plain bilinear interpolation and a larger one by averages of areas, both in place
of the antialiased triangle; chroma is enlarged by repetition (libjpeg-turbo's fast upsampling); a picture of twice the
size that all of its crops need is decoded at a reduced scale. `tests/test_crops.py` bounds the difference.
"""

from __future__ import annotations

import mmap
import os
import pickle
import resource
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vlrepro.data.cropping import Job, Places, Shared, UnreadableError, View, make
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError

_UNUSED = 3  # references to an array that only `Buffers` holds: its list, its loop, the question
_SHARES = hasattr(os, "memfd_create")  # Linux; elsewhere threads do what processes do here


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

    def affine(self) -> np.ndarray | None:
        """What turns 8-bit values into normalised ones, (3, 4) float32: factors on its diagonal, then what is added."""
        if self.normalise is None:
            return None
        mean, std = (np.array(values) for values in self.normalise)
        return np.column_stack((np.diag(1 / (255 * std)), -mean / std)).astype(np.float32)


class Crops:
    """Crops of a pack's pictures: `sizes` (pictures, 2) int32 height and width by position, and `batch`.

    They are made here where `processes` is 1, else by as many processes of their own.
    """

    def __init__(self, pack: Pack, processes: int = 1) -> None:
        self.pack = pack
        sizes = [np.asarray(pack.rows.column(name), np.int32) for name in ("height", "width")]
        self.sizes = torch.from_numpy(np.stack(sizes, axis=1))
        self.processes = processes
        self._shards = [str(pack.folder / shard) for shard in pack.rows.shards]
        _allow_files(len(self._shards))
        self._workers = Workers(processes) if processes > 1 and _SHARES else None
        self._threads = ThreadPoolExecutor(processes) if processes > 1 else None
        self._buffers = Buffers(shared=self._workers is not None)
        self._taking = threading.Lock()

    def batch(self, positions: Sequence[int] | Tensor, cuts: Sequence[Cut]) -> list[Tensor]:
        """The crops of each of `cuts`, (B, 3, S, S) and channels last: uint8, or float32 where the cut normalises.

        Raises `UserError` that names the shard and key of a picture that does not decode or has not the index's size.
        """
        places = [int(position) for position in positions]
        sizes = [tuple(size) for size in self.sizes[places].tolist()]
        boxes = list(zip(*(cut.boxes.tolist() for cut in cuts), strict=True))
        with self._taking:  # batches may be made side by side
            out = [self._buffers.take((len(places), cut.side, cut.side, 3), cut.dtype) for cut in cuts]
        views = [
            View(cut.side, cut.flip.tolist(), cut.affine(), handle or array)
            for cut, (array, handle) in zip(cuts, out, strict=True)
        ]
        share = max(1, -(-len(places) // self.processes))  # the next batch fills what gaps remain
        parts = [slice(start, start + share) for start in range(0, len(places), share)]
        jobs = [Job(part.start, self._pictures(places[part]), sizes[part], boxes[part], views) for part in parts]
        try:
            for _ in map(make, jobs) if self._threads is None else self._threads.map(self._made, jobs):
                pass
        except UnreadableError as error:
            position = places[error.row]
            where = f"{self.pack.shard(position)}: picture {self.pack.key(position)}"
            raise UserError(f"{where}: {error.reason}: fetch the pack again") from error
        return [torch.from_numpy(array).permute(0, 3, 1, 2) for array, _ in out]

    def _pictures(self, positions: Sequence[int]) -> list[memoryview] | Places:
        views = [self.pack.view(position) for position in positions]  # which raises where a shard is cut short
        if self._workers is None:
            return views
        rows = self.pack.rows
        paths = [self._shards[number] for number in rows.shard_of[positions].tolist()]
        return Places(paths, rows.offsets[positions].tolist(), list(map(len, views)))

    def _made(self, job: Job) -> None:
        make(job) if self._workers is None else self._workers.make(job)


class Workers:
    """Processes that make crops, one for each thread that asks, at most `count`; they end with this object."""

    def __init__(self, count: int) -> None:
        self._idle = [_start() for _ in range(count)]
        self._all = list(self._idle)
        self._end = weakref.finalize(self, _stop, self._all)

    def make(self, job: Job) -> None:
        """Have a job done. Raises `UnreadableError`, or `UserError` where a process ended."""
        try:
            process = self._idle.pop()
            pickle.dump(job, process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (IndexError, EOFError, OSError) as error:
            raise UserError(
                "a process that decodes pictures was ended from outside: give the job more memory or fewer threads"
            ) from error
        self._idle.append(process)
        if isinstance(answer, tuple):
            raise UnreadableError(*answer)
        if answer is not None:
            raise RuntimeError(f"in a process that decodes pictures:\n{answer}")


def _allow_files(shards: int) -> None:
    """Raise how many files may be open, here and in processes to come: each shard that is mapped counts as one."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = now + shards
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    if now != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _start() -> subprocess.Popen:
    library = str(Path(__file__).parents[2])
    paths = os.pathsep.join((library, *filter(None, [os.environ.get("PYTHONPATH")])))
    return subprocess.Popen(
        [sys.executable, "-m", "vlrepro.data.crop_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
    )


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        with suppress(OSError):  # it is gone
            process.stdin.close()
        process.stdout.close()
    for process in processes:
        process.wait()


class Buffers:
    """Arrays that are handed out again when nobody holds them: the kernel clears fresh memory, at the cost of a decode.

    A tensor made of an array holds it, so whoever keeps a batch keeps its array out of use. `shared`: other processes
    can map them.
    """

    def __init__(self, shared: bool = False) -> None:
        self._shared = shared
        self._kept: list[tuple[np.ndarray, Shared | None]] = []

    def take(self, shape: tuple[int, ...], dtype: type) -> tuple[np.ndarray, Shared | None]:
        """An array of `shape` and `dtype` with any content, and by what other processes find it."""
        for array, handle in self._kept:
            if array.shape == shape and array.dtype == dtype and sys.getrefcount(array) == _UNUSED:
                return array, handle
        self._kept = [
            (array, handle) for array, handle in self._kept if array.shape == shape or sys.getrefcount(array) > _UNUSED
        ]
        array, handle = _shared(shape, dtype) if self._shared else (np.empty(shape, dtype), None)
        self._kept.append((array, handle))
        return array, handle  # another pair: the first does not count as holding the array twice


def _shared(shape: tuple[int, ...], dtype: type) -> tuple[np.ndarray, Shared]:
    """An array in memory that has no name, but a path through this process's open files."""
    number = os.memfd_create("crops")
    os.ftruncate(number, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    array = np.frombuffer(mmap.mmap(number, 0), dtype).reshape(shape)
    weakref.finalize(array, os.close, number)
    path = f"/proc/{os.getpid()}/fd/{number}"
    return array, Shared(path, os.fstat(number).st_ino, shape, np.dtype(dtype).name)

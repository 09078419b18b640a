"""The input pipeline beside torchvision's and webdataset's, and beside a bare loop that only decodes, in one run.

    python benchmarks/input_pipeline.py [--pictures N] [--repeats N] [--peer FOLDER] [--rows N ...]

FOLDER is where webdataset is installed apart from us (`pip install --target FOLDER webdataset`); without it that line
is left out. Every pipeline makes the same thing: RandomResizedCrop 224 (bilinear), a flip of every second picture,
normalised float32 batches of 256, by two processes. Originals are 500 x 400; the others read the same bytes of short
side 256, once of the quality that our packs are written with and once of Pillow's default. The limit is two threads
that only decode. All have been running for some batches when the clock starts, and the programs alternate; medians of
the rates and of the ratios round by round are printed. Then the memory of a process that makes crops, and that of an
opened pack by its number of rows.
"""

from __future__ import annotations

import argparse
import gc
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from vlrepro.data.augment import IMAGENET_MEAN, IMAGENET_STD, Augment, AugmentationOptions
from vlrepro.data.crops import Crops, Cut
from vlrepro.data.index import SCHEMA, Index
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, Picture, write_pack
from vlrepro.data.restarts import encode
from vlrepro.training.views import Views, read_pairs

BATCH = 256
WORKERS = 2
WARM = 3  # batches before the clock starts: workers and buffers are there
ROUND = 1  # batches that the bare loop decodes between two looks at the clock
QUALITIES = (95, 75)  # what our packs are written with, and Pillow's default
TRANSFORM = transforms.Compose(
    [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
)


def originals(number: int) -> Iterator[Image.Image]:
    """Pictures of 500 x 400 with the falling spectrum of photographs, and some grain."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(400)[:, None], np.fft.rfftfreq(500)[None])
    fall = np.maximum(frequency, 1 / 500) ** -1.3
    for _ in range(number):
        spectrum = fall * np.exp(2j * np.pi * rng.random((3, *fall.shape)))
        values = np.fft.irfft2(spectrum, (400, 500)).transpose(1, 2, 0)
        mixed = values @ np.array([[1, 1, 1], [0.3, 0, -0.3], [0.2, -0.4, 0.2]])  # channels of photographs go together
        pixels = 120 + 55 * mixed / mixed.std() + rng.normal(0, 2, mixed.shape)
        yield Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """The picture as a baseline JPEG with halved chroma, as Pillow writes it."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def write_all(folder: Path, pictures: int) -> None:
    """Loose originals in `large`; and for each quality, in `small<quality>` and `pack<quality>`, the same JPEGs."""
    found: dict[int, list[bytes]] = {quality: [] for quality in QUALITIES}
    for number, picture in enumerate(originals(pictures)):
        smaller = picture.resize((320, 256), Image.Resampling.BICUBIC)
        made = {"large": jpeg(picture, 90)}
        for quality in QUALITIES:
            found[quality].append(encode(smaller, quality))
            made[f"small{quality}"] = found[quality][-1]
        for name, data in made.items():
            place = folder / name / f"class{number % 2}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number:06d}.jpg").write_bytes(data)
    for quality, files in found.items():
        write_pack(
            folder / f"pack{quality}", (Picture(f"p{n:06d}", data, ".jpg", 320, 256) for n, data in enumerate(files))
        )


def ours(folder: Path) -> Iterator[int]:
    """Sizes of our batches, as a training reads them."""
    pack = Pack(folder, names=())
    pictures = Pictures(pack, 256, cache_bytes=0)
    augment = Augment(AugmentationOptions(size=224, scale=(0.08, 1.0), flip=0.5))
    views = Views(pictures, read_pairs(None, pictures), [augment], BATCH, 0, crops=Crops(pack, WORKERS))
    for step in count():
        yield len(views.step(step).views[0])


def worker_memory(folder: Path) -> list[float]:
    """MB of its own of a process that makes crops, after a batch of a pack and after all of them."""
    pack = Pack(folder, names=())
    crops = Crops(pack, WORKERS)
    found = []
    for end in (BATCH, len(pack)):
        for start in range(0, end, BATCH):
            boxes = torch.tensor([[0, 0, 256, 256]]).expand(BATCH, 4)
            crops.batch(range(start, start + BATCH), [Cut(boxes, torch.zeros(BATCH, dtype=torch.bool), 224)])
        told = Path(f"/proc/{crops._workers._all[0].pid}/status").read_text()
        found.append(int(told.split("RssAnon:")[1].split()[0]) / 1024)
    return found


def image_folder(folder: Path) -> Iterator[int]:
    """Sizes of the batches of torchvision's ImageFolder and a DataLoader of two workers."""
    data = datasets.ImageFolder(str(folder), TRANSFORM)
    loader = DataLoader(data, BATCH, shuffle=True, num_workers=WORKERS, drop_last=True, persistent_workers=True)
    while True:
        yield from (len(images) for images, _ in loader)


def web_dataset(folder: Path) -> Iterator[int]:
    """Sizes of the batches of webdataset over the pack's shards, of which each worker reads every second picture."""
    import webdataset

    shards = sorted(str(path) for path in folder.glob("*.tar"))
    data = webdataset.WebDataset(shards, shardshuffle=False, nodesplitter=None, workersplitter=None)
    data = data.compose(webdataset.split_by_worker if len(shards) >= WORKERS else _every_second)
    data = data.shuffle(100).decode("pil").to_tuple("jpg").map_tuple(TRANSFORM).batched(BATCH, partial=False)
    loader = DataLoader(data, batch_size=None, num_workers=WORKERS, persistent_workers=True)
    while True:
        yield from (len(images) for (images,) in loader)


def _every_second(samples: Iterator[dict]) -> Iterator[dict]:
    worker = torch.utils.data.get_worker_info()
    yield from (sample for number, sample in enumerate(samples) if number % WORKERS == worker.id)


def bare(folder: Path) -> Iterator[int]:
    """The limit: two threads, each of which decodes the same bytes in a loop and throws the pixels away."""
    pack = Pack(folder, names=())
    data = [pack.picture(position) for position in range(len(pack))]

    def decode(start: int) -> int:
        for number in range(BATCH * ROUND):
            simplejpeg.decode_jpeg(data[(start + number) % len(data)])
        return BATCH * ROUND

    with ThreadPoolExecutor(WORKERS) as pool:
        for start in count(step=BATCH * ROUND * WORKERS):
            yield sum(pool.map(decode, (start + number * BATCH * ROUND for number in range(WORKERS))))


def rate(batches: Iterator[int], pictures: int) -> float:
    """Pictures a second of a pipeline that has been running for some batches."""
    for _ in range(WARM):
        next(batches)
    start, seen = time.perf_counter(), 0
    while seen < pictures:
        seen += next(batches)
    return seen / (time.perf_counter() - start)


def memory(rows: int, folder: Path) -> float:
    """Resident bytes a row of an opened index of synthetic rows, in the way that trainings open it."""
    path = folder / "index.parquet"
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for start in range(0, rows, 100_000):
            writer.write_table(synthetic(start, min(rows, start + 100_000)))
    gc.collect()
    pa.default_memory_pool().release_unused()
    before = _resident()
    index = Index(path, names=())
    gc.collect()
    pa.default_memory_pool().release_unused()
    return (_resident() - before) / len(index)


def synthetic(start: int, end: int) -> pa.Table:
    """Rows `start` to `end` of an index as a web download writes them."""
    numbers = np.arange(start, end)
    values = {
        "key": [f"{number:012d}" for number in numbers],
        "shard": [f"shard-{number // 10_000:06d}.tar" for number in numbers],
        "offset": numbers % 10_000 * 20_992,
        "caption": [f"a photograph of the thing number {number} by the sea" for number in numbers],
    }
    blank = {pa.string(): "", pa.int64(): 20_000, pa.int32(): 256}
    return pa.table(
        [pa.array(values.get(field.name, [blank[field.type]] * len(numbers)), field.type) for field in SCHEMA], SCHEMA
    )


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def main() -> None:
    """Time all in turn and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", type=Path, help="folder with webdataset")
    parser.add_argument("--rows", type=int, nargs="*", default=[50_000, 500_000, 3_000_000])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sys.path += [str(arguments.peer)] if arguments.peer else []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_all(folder, arguments.pictures)
        for quality in QUALITIES:
            small, pack = folder / f"small{quality}", folder / f"pack{quality}"
            programs = {
                "ours": partial(ours, pack),
                "bare simplejpeg loop": partial(bare, pack),
                "ImageFolder, 500 x 400": partial(image_folder, folder / "large"),
                "ImageFolder, 320 x 256": partial(image_folder, small),
            }
            programs |= {"webdataset, 320 x 256": partial(web_dataset, pack)} if arguments.peer else {}
            size = sum(path.stat().st_size for path in small.rglob("*.jpg")) / arguments.pictures
            print(f"{arguments.pictures} pictures of 320 x 256, quality {quality}, {size:,.0f} bytes each", flush=True)
            compare(programs, arguments.repeats, arguments.pictures)
        first, last = worker_memory(folder / f"pack{QUALITIES[0]}")
        print(f"  a process that makes crops: {first:.0f} MB of its own after a batch, {last:.0f} MB after all")
        for rows in arguments.rows:
            print(f"  index of {rows:>9,} rows: {memory(rows, folder):5.1f} resident bytes a row", flush=True)


def compare(programs: dict[str, Callable[[], Iterator[int]]], repeats: int, pictures: int) -> None:
    """Medians of each program's rate and of the ratios to the first's, taken round by round."""
    rounds = []
    for _ in range(repeats):
        rounds.append({})
        for name, program in programs.items():
            with closing(program()) as batches:
                rounds[-1][name] = rate(batches, pictures)
    for name in programs:
        ratio = statistics.median(found["ours"] / found[name] for found in rounds)
        found = statistics.median(found[name] for found in rounds)
        print(f"  {name:<24} {found:6.0f} pictures/s   ours is {ratio:.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()

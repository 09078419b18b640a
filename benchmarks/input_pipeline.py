"""The input pipeline beside torchvision's and webdataset's, and beside a bare loop that only decodes, in one run.

    python benchmarks/input_pipeline.py [--pictures N] [--repeats N] [--peer FOLDER] [--rows N ...]

FOLDER is where webdataset is installed apart from us (`pip install --target FOLDER webdataset`); without it that line
is left out. Every pipeline makes the same thing: RandomResizedCrop 224 (bilinear), a flip of every second picture,
normalised float32 batches of 64, on two threads or two workers. Originals are 500 x 400; the others read the same bytes
of short side 256. The programs alternate; the medians of the repetitions and the ratios are printed. Then the memory
that an opened pack takes, by its number of rows.
"""

from __future__ import annotations

import argparse
import gc
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from vlrepro.data.crops import Crops
from vlrepro.data.index import SCHEMA, Index
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, Picture, write_pack
from vlrepro.training.views import Views, read_pairs

BATCH = 64
WORKERS = 2
TRANSFORM = transforms.Compose(
    [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
)


def originals(count: int) -> Iterator[Image.Image]:
    """Pictures of 500 x 400 with the falling spectrum of photographs, and some grain."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(400)[:, None], np.fft.rfftfreq(500)[None])
    fall = np.maximum(frequency, 1 / 500) ** -1.3
    for _ in range(count):
        spectrum = fall * np.exp(2j * np.pi * rng.random((3, *fall.shape)))
        values = np.fft.irfft2(spectrum, (400, 500)).transpose(1, 2, 0)
        mixed = values @ np.array([[1, 1, 1], [0.3, 0, -0.3], [0.2, -0.4, 0.2]])  # channels of photographs go together
        pixels = 120 + 55 * mixed / mixed.std() + rng.normal(0, 2, mixed.shape)
        yield Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """The picture as a baseline JPEG with halved chroma."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def write_all(folder: Path, count: int) -> list[bytes]:
    """Loose files of both sizes in `large` and `small`, a pack of the small ones; the small ones' bytes."""
    found = []
    for number, picture in enumerate(originals(count)):
        smaller = picture.resize((320, 256), Image.Resampling.BICUBIC)
        found.append(jpeg(smaller, 75))
        for name, data in (("large", jpeg(picture, 90)), ("small", found[-1])):
            place = folder / name / f"class{number % 2}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number:06d}.jpg").write_bytes(data)
    write_pack(folder / "pack", (Picture(f"p{n:06d}", data, ".jpg", 320, 256) for n, data in enumerate(found)))
    return found


def ours(folder: Path) -> int:
    """Our batches of one epoch, as a training reads them."""
    pack = Pack(folder / "pack", names=())
    pictures = Pictures(pack, 256, cache_bytes=0)
    augment = Augment(AugmentationOptions(size=224, scale=(0.08, 1.0), flip=0.5))
    views = Views(pictures, read_pairs(None, pictures), [augment], BATCH, 0, crops=Crops(pack, WORKERS))
    return sum(len(views.step(step).views[0]) for step in range(views.steps_per_epoch))


def image_folder(folder: Path) -> int:
    """torchvision's ImageFolder and a DataLoader of two workers."""
    data = datasets.ImageFolder(str(folder), TRANSFORM)
    loader = DataLoader(data, BATCH, shuffle=True, num_workers=WORKERS, drop_last=True)
    return sum(len(images) for images, _ in loader)


def web_dataset(folder: Path) -> int:
    """webdataset's pipeline over the pack's shards with two workers, each of which reads every second picture."""
    import webdataset

    shards = sorted(str(path) for path in (folder / "pack").glob("*.tar"))
    data = webdataset.WebDataset(shards, shardshuffle=False, nodesplitter=None, workersplitter=None)
    data = data.compose(webdataset.split_by_worker if len(shards) >= WORKERS else _every_second)
    data = data.shuffle(100).decode("pil").to_tuple("jpg").map_tuple(TRANSFORM).batched(BATCH, partial=False)
    loader = DataLoader(data, batch_size=None, num_workers=WORKERS)
    return sum(len(images) for (images,) in loader)


def _every_second(samples: Iterator[dict]) -> Iterator[dict]:
    worker = torch.utils.data.get_worker_info()
    yield from (sample for number, sample in enumerate(samples) if number % WORKERS == worker.id)


def bare(data: Sequence[bytes]) -> int:
    """The limit: two threads that decode the same bytes and throw the pixels away."""
    with ThreadPoolExecutor(WORKERS) as pool:
        return sum(1 for _ in pool.map(simplejpeg.decode_jpeg, data))


def rate(program: Callable[..., int], *options: object) -> float:
    """Pictures a second of one run."""
    start = time.perf_counter()
    count = program(*options)
    return count / (time.perf_counter() - start)


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
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer", type=Path, help="folder with webdataset")
    parser.add_argument("--rows", type=int, nargs="*", default=[50_000, 500_000, 3_000_000])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = write_all(folder, arguments.pictures)
        print(f"{len(data)} pictures of 320 x 256, {sum(map(len, data)) / len(data):,.0f} bytes each")
        programs: dict[str, tuple] = {
            "ours": (ours, folder),
            "bare simplejpeg loop": (bare, data),
            "ImageFolder, 500 x 400": (image_folder, folder / "large"),
            "ImageFolder, 320 x 256": (image_folder, folder / "small"),
        }
        if arguments.peer:
            sys.path.append(str(arguments.peer))
            programs["webdataset, 320 x 256"] = (web_dataset, folder)
        rates = {name: [] for name in programs}
        for _ in range(arguments.repeats):
            for name, (program, *options) in programs.items():
                rates[name].append(rate(program, *options))
        middle = {name: statistics.median(found) for name, found in rates.items()}
        for name, found in middle.items():
            print(
                f"  {name:<24} {found:6.0f} pictures/s   ours is {middle['ours'] / found:.2f} times as fast", flush=True
            )
        for rows in arguments.rows:
            print(f"  index of {rows:>9,} rows: {memory(rows, folder):5.1f} resident bytes a row", flush=True)


if __name__ == "__main__":
    main()

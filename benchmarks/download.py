"""Our downloader beside img2dataset, from the same local server in another process, in one run.

    python benchmarks/download.py [--pictures N] [--repeats N] [--peer FOLDER]

FOLDER is where img2dataset is installed apart from us (`pip install --target FOLDER img2dataset`); without it ours runs
alone. Both fetch the same JPEGs of about 20 kB, scale a short side over 256 pixels down to it, write JPEG of quality 95
into tar files and a table, on the cores that the machine has; the peer with several numbers of threads.
The two alternate; medians and ratios are printed. Ours is timed to the finished pack and ledger. Processor time,
without the server's, is what to compare where the machine has other work.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image

from vlrepro.config.data import WebConfig
from vlrepro.data.pack import Pack
from vlrepro.data.sources import web

BYTES = 20_000
KINDS = {"340 x 256": (340, 256), "640 x 480": (640, 480)}
THREADS = (16, 64)
_PEER = """
import sys
import sysconfig

folder, source, target, processes, threads = sys.argv[1:]
if folder not in sys.path:  # before our packages, after the standard library, of which it brings an old copy
    sys.path.insert(sys.path.index(sysconfig.get_path("purelib")), folder)

from img2dataset import download

if __name__ == "__main__":
    download(url_list=source, output_folder=target, processes_count=int(processes), thread_count=int(threads),
             input_format="tsv", url_col="url", caption_col="caption", output_format="webdataset", image_size=256,
             resize_mode="keep_ratio", resize_only_if_bigger=True, encode_quality=95, number_sample_per_shard=1000,
             enable_wandb=False, disallowed_header_directives=["noai", "noimageai", "noindex", "noimageindex"])
"""


def picture(size: tuple[int, int]) -> bytes:
    """A JPEG of about `BYTES` bytes: blurred noise with some grain, at the quality that gives that size."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (size[1] // 20, size[0] // 20, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=float)
    pixels = Image.fromarray((smooth + rng.normal(0, 5, smooth.shape)).clip(0, 255).astype(np.uint8))
    made = [b""]
    for quality in range(95, 10, -1):
        stream = io.BytesIO()
        pixels.save(stream, "JPEG", quality=quality)
        made.append(stream.getvalue())
        if len(made[-1]) <= BYTES:
            break
    return made[-1]


class _Server(asyncio.Protocol):
    """Answers every request with the picture whose number among the kinds its path begins with."""

    answers: tuple[bytes, ...] = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._heard = b""

    def data_received(self, data: bytes) -> None:
        self._heard += data
        while b"\r\n\r\n" in self._heard:
            request, _, self._heard = self._heard.partition(b"\r\n\r\n")
            self._transport.write(self.answers[int(request.split(b"/", 2)[1])])


def serve(told: Connection) -> None:
    """Run the server until the process is ended; says its port."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"
    _Server.answers = tuple(head.format(len(data)).encode() + data for data in map(picture, KINDS.values()))

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0, backlog=1024)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def ours(source: Path, target: Path) -> int:
    """Download with ours; the number of pictures in the pack."""
    pace = {"per_host": 64, "connections": 64, "delay": 0}
    told = WebConfig(format="conceptual_captions", allow_private=True, pace=pace).model_dump()
    web.fetch(source, target, {key: told[key] for key in told if key != "pace"}, target / "state", told["pace"])
    return len(Pack(target))


def peer(source: Path, target: Path, folder: Path, threads: int) -> int:
    """Download with img2dataset in a process of its own; the number of pictures it counts."""
    program = target.parent / "peer.py"
    program.write_text(_PEER)
    headed = target.parent / "headed.tsv"
    headed.write_text("caption\turl\n" + source.read_text())
    command = [sys.executable, program, folder, headed, target, os.cpu_count() or 1, threads]
    environment = {**os.environ, "PYTHONPATH": "", "NO_ALBUMENTATIONS_UPDATE": "1"}
    result = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"img2dataset failed: {result.stderr.strip().splitlines()[-1:]}")
    import pyarrow.parquet as pq

    tables = [pq.read_table(path, columns=["status"]) for path in target.glob("*.parquet")]
    return sum(table["status"].to_pylist().count("success") for table in tables)


def timed(
    program: Callable[..., int], source: Path, scratch: Path, pictures: int, *options: object
) -> tuple[float, float]:
    """Pictures a second of one run into a fresh folder, and the processor's milliseconds that each took."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    start = os.times()
    found = program(source, scratch / "out", *options)
    end = os.times()
    if found != pictures:
        raise SystemExit(f"{program.__name__}: {found} of {pictures} pictures came")
    return pictures / (end.elapsed - start.elapsed), 1000 * (sum(end[:4]) - sum(start[:4])) / pictures


def compare(name: str, number: int, port: int, arguments: argparse.Namespace, scratch: Path) -> None:
    """Time both on one kind of picture and print one line."""
    source = scratch / "list.tsv"
    urls = (f"http://127.0.0.1:{port}/{number}/{row}" for row in range(arguments.pictures))
    source.write_text("".join(f"picture {row}\t{url}\n" for row, url in enumerate(urls)))
    rates: dict[str, list[tuple[float, float]]] = {}
    for _ in range(arguments.repeats):
        rates.setdefault("ours", []).append(timed(ours, source, scratch / "run", arguments.pictures))
        for threads in THREADS if arguments.peer else ():
            rate = timed(peer, source, scratch / "run", arguments.pictures, arguments.peer, threads)
            rates.setdefault(f"img2dataset, {threads} threads", []).append(rate)
    medians = {
        label: [statistics.median(column) for column in zip(*found, strict=True)] for label, found in rates.items()
    }
    print(f"{name}, {len(picture(KINDS[name])):,} bytes")
    for label, (rate, spent) in medians.items():
        ratio = "" if label == "ours" else f"   ours is {medians['ours'][0] / rate:.1f} times as fast"
        print(f"  {label:<24} {rate:6.0f} pictures/s   {spent:5.1f} ms of processor each{ratio}", flush=True)


def main() -> None:
    """Start the server and compare on each kind of picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer", type=Path, help="folder with img2dataset")
    arguments = parser.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    server.start()
    port = here.recv()
    with tempfile.TemporaryDirectory() as scratch:
        for number, name in enumerate(KINDS):
            compare(name, number, port, arguments, Path(scratch))
    server.terminate()


if __name__ == "__main__":
    main()

"""Processes that decode pictures off the event loop, replaced when a picture kills or stalls one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType

from vlrepro.data.download import worker
from vlrepro.data.download.options import Rules
from vlrepro.data.download.pictures import Packed
from vlrepro.errors import UserError

SECONDS = 60.0  # for one picture; the largest allowed takes a few
# Each thread of the numeric libraries would count towards the memory limit. glibc gives a picture's memory back to the
# system and asks for it again unless told not to: a third of the time that large pictures take.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 28),
}


class Decoders:
    """`count` worker processes (None: one a core); an asynchronous context manager.

    Raises `UserError` where no worker can be started.
    """

    def __init__(self, rules: Rules, count: int | None, seconds: float = SECONDS) -> None:
        self._rules = json.dumps(asdict(rules))
        self._count = count or len(os.sched_getaffinity(0))
        self._seconds = seconds
        self._idle: asyncio.Queue[Process | None] = asyncio.Queue()
        self._all: list[Process] = []

    async def __aenter__(self) -> Decoders:
        for _ in range(self._count):
            self._idle.put_nowait(None)  # started when first needed
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._all:
            await _end(process)

    async def pack(self, data: bytes) -> Packed:
        """`pack_picture(data)` in a worker; reason `decode` where it dies or takes over the time limit."""
        process = await self._idle.get()
        healthy = None
        try:
            process = process or await self._start()
            async with asyncio.timeout(self._seconds):
                packed = await _ask(process, data)
            healthy = process
            return packed
        except (TimeoutError, EOFError, ConnectionError):  # EOFError: asyncio's IncompleteReadError
            return Packed("decode", hashlib.sha256(data).hexdigest())
        finally:
            if healthy is None and process is not None:
                self._all.remove(process)
                await _end(process)
            self._idle.put_nowait(healthy)

    async def _start(self) -> Process:
        environment = os.environ | _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", worker.__name__, self._rules),
            **{"stdin": PIPE, "stdout": PIPE, "stderr": DEVNULL, "env": environment, "limit": 1 << 20},
        )
        self._all.append(process)
        if await process.stdout.read(len(worker.READY)) != worker.READY:
            raise UserError(f"{sys.executable} -m {worker.__name__}: it does not start: run it to see why")
        return process


async def _ask(process: Process, data: bytes) -> Packed:
    process.stdin.write(worker.LENGTH.pack(len(data)) + data)
    await process.stdin.drain()
    facts, picture = worker.LENGTHS.unpack(await process.stdout.readexactly(worker.LENGTHS.size))
    return worker.decode_answer(await process.stdout.readexactly(facts), await process.stdout.readexactly(picture))


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    process._transport.close()  # its pipes, else they are closed when the loop is gone

"""One writer a training: a lock in the state's folder, which its holder keeps young and the next one may take over.

The controller of a workflow may die while its jobs go on. Whoever starts it again starts the same training again,
while the first still writes its states. The second then waits: it finds the run finished, or goes on where the first
stopped. A holder that is gone (its process on this machine, or no sign of life for `STALE` seconds from another one)
has lost the lock.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vlrepro.files import read_json

LOCK = "lock.json"
BEAT = 20.0  # seconds between signs of life
STALE = 240.0  # without one: file systems of clusters show times late


@contextmanager
def locked(folder: str | Path, name: str, waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold the lock of a state's folder; yields whether another held it before.

    While another holds it this waits, saying so once, and calls `waiting` every few seconds: it may raise.
    """
    path = Path(folder) / LOCK
    waited = False
    while not _create(path):
        holder = _holder(path)
        if holder is not None and _alive(path, holder):
            if not waited:
                print(f"{name}: {_words(holder)} is training this run: waiting for it", flush=True)
            waited = True
            waiting()
            time.sleep(min(2.0, BEAT))
        else:
            _take_away(path, holder)
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, ended), daemon=True)
    beat.start()
    try:
        yield waited
    finally:
        ended.set()
        beat.join()
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()  # empty where the training is done


def _create(path: Path) -> bool:
    me = {"host": socket.gethostname(), "pid": os.getpid(), "job": os.environ.get("SLURM_JOB_ID"), "since": time.time()}
    path.parent.mkdir(parents=True, exist_ok=True)  # again: whoever lets go removes an empty folder
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(me, stream)
    return True


def _holder(path: Path) -> dict[str, Any] | None:
    """Who holds the lock; None where it is gone or was cut short."""
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        return None if not path.exists() or _age(path) > 2 else {"host": "", "pid": 0}


def _alive(path: Path, holder: dict[str, Any]) -> bool:
    if holder.get("host") == socket.gethostname():
        try:
            os.kill(int(holder["pid"]), 0)
        except (ProcessLookupError, KeyError, ValueError):
            return False
        except PermissionError:
            return True
    return _age(path) < STALE


def _age(path: Path) -> float:
    """Seconds since the lock's last sign of life, by the file system's own clock: machines' clocks differ."""
    probe = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _take_away(path: Path, holder: dict[str, Any] | None) -> None:
    """Remove the lock of a holder that is gone; of several who try, the rename lets one.

    Somebody may have taken it in the meantime: a lock that is another's by now is put back.
    """
    mine = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.old")
    with suppress(FileNotFoundError):
        path.rename(mine)
        if _holder(mine) not in (None, holder):
            with suppress(FileExistsError):
                os.link(mine, path)
        mine.unlink()


def _words(holder: dict[str, Any]) -> str:
    job = f", Slurm job {holder['job']}" if holder.get("job") else ""
    return f"process {holder.get('pid')} on {holder.get('host')}{job}"


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(path)

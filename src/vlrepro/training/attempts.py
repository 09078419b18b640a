"""Whether starting a training again helps.

Snakemake cannot tell a training that wants to go on (exit code 75) from one that is broken, and starts either again. An
attempt that follows one which ended by itself and left no newer state ends at once and says why, before it takes a GPU
for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlrepro.errors import UserError, one_line
from vlrepro.files import read_json, write_json
from vlrepro.training.launch import AGAIN
from vlrepro.training.state import newest_step

ATTEMPT = "attempt.json"


@contextmanager
def noted(folders: Sequence[str | Path], attempt: int, name: str) -> Iterator[None]:
    """Note in the first of the states' folders how attempt number `attempt` (from 1) at a training ends.

    A first attempt is a person's wish, and one that was killed left no word: both are let try.

    Raises `UserError` where the attempt before ended by itself and left no newer state than it had found.
    """
    path = Path(folders[0]) / ATTEMPT
    before = _read(path)
    if attempt > 1 and before.get("why") and not before.get("advanced"):
        raise UserError(f"{name}: attempt {attempt - 1} left no newer state ({before['why']}): mend that and run again")
    found = [newest_step(folder) for folder in folders]
    write_json(path, {"attempt": attempt})
    try:
        yield
    except (Exception, SystemExit) as error:
        advanced = [newest_step(folder) for folder in folders] != found
        write_json(path, {"attempt": attempt, "why": _words(error), "advanced": advanced})
        raise
    path.unlink(missing_ok=True)


def _words(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "it was near its time limit" if error.code == AGAIN else f"exit code {error.code}"
    return one_line(error) or type(error).__name__


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}

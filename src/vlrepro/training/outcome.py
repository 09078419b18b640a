"""How a training ended, read from the file of its weights."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from vlrepro.errors import UserError

FAILED = "failed"


def failure_of(path: str | Path) -> str | None:
    """Why the training of these weights stopped before its end ("the loss is nan at step 12"), or None if it did not.

    Reads the file's metadata only. Raises `UserError` where it cannot be read.
    """
    try:
        with safe_open(path, "numpy") as file:
            return (file.metadata() or {}).get(FAILED)
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{path}: not readable weights ({error}): delete the run and train again") from error

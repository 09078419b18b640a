"""How a training ended, read from the file of its weights."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from vlrepro.errors import UserError
from vlrepro.files import digest_of, read_json

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


def is_finished(recipe: str | Path, model: str | Path) -> bool:
    """Whether `model` holds the weights of the recipe in the file `recipe`, whole."""
    try:
        with safe_open(model, "numpy") as file:
            return (file.metadata() or {}).get("recipe") == digest_of(read_json(recipe))
    except (OSError, SafetensorError, ValueError):
        return False

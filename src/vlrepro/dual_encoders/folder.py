"""The folder of an imported model: whole or without its weights, and a description that says how to read it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlrepro.errors import UserError
from vlrepro.files import read_json, write_json

WEIGHTS = "model.safetensors"
DESCRIPTION = "dual_encoder.json"
CAPTION = "{caption}"


@contextmanager
def written(folder: str | Path) -> Iterator[Path]:
    """A temporary folder whose files are moved into `folder` when the block ends well, the weights last."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".import-") as name:
        yield Path(name)
        for path in sorted(Path(name).iterdir(), key=lambda path: path.name == WEIGHTS):
            with path.open("rb+") as file:
                os.fsync(file.fileno())
            path.replace(folder / path.name)


def prompt_of(entry: Mapping[str, Any], default: str) -> str:
    """The entry's prompt, or the kind's. Raises `UserError` where it has not one {caption}."""
    prompt = entry.get("prompt") or default
    if prompt.count(CAPTION) != 1:
        raise UserError(f"dual encoder: prompt {prompt!r}: write {CAPTION} once, where the caption goes")
    return prompt


def describe(folder: Path, kind: str, prompt: str, source: Mapping[str, Any]) -> None:
    """Write the description: the kind that reads the folder, the prompt of captions, where the weights come from."""
    write_json(folder / DESCRIPTION, {"kind": kind, "prompt": prompt, "source": dict(source)})


def read_description(folder: str | Path) -> dict[str, Any]:
    """What `describe` wrote. Raises `UserError` where it is missing or malformed."""
    path = Path(folder) / DESCRIPTION
    try:
        found = read_json(path)
        return {"kind": str(found["kind"]), "prompt": str(found["prompt"]), "source": found["source"]}
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no description of an imported model: delete the run and import it again") from error

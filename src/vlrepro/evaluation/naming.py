"""What classes are called, and the file of their embedded prompts that all runs of one text encoder share.

A prompts file is a safetensors file with one tensor, `prompts`: (C, T, ...) sentence embeddings or token ids of C
classes in T templates; its metadata hold the classes' keys and names as JSON lists and the digest of the recipe.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vlrepro.data.pack import Row
from vlrepro.errors import UserError
from vlrepro.files import atomic_path, digest_of


class Prompts(NamedTuple):
    """`classes`, their keys in sorted order, their `names`, and `texts` (C, T, ...) as a text tower reads them."""

    classes: tuple[str, ...]
    names: tuple[str, ...]
    texts: Tensor


def class_of(row: Row, by: str) -> str:
    """The class of a picture by `label` or `concept`."""
    return getattr(row, by)


def class_names(rows: Iterable[Row], by: str, place: str | Path) -> dict[str, str]:
    """Class -> the caption of its first picture, which names it; classes in sorted order.

    Raises `UserError` naming `place` where there is no picture of a class, or a class has no name.
    """
    names: dict[str, str] = {}
    for row in rows:
        if class_of(row, by):
            names.setdefault(class_of(row, by), row.caption)
    if not names:
        raise UserError(f"{place}: no picture has a {by}, so there is no class to name: choose another pack")
    for key, name in names.items():
        if not name.strip():
            raise UserError(f"{place}: class {key!r} has no name: its first picture needs a caption")
    return dict(sorted(names.items()))


def write_prompts(path: str | Path, prompts: Prompts, recipe: Mapping[str, Any]) -> None:
    """Write a prompts file, atomically."""
    lists = {"classes": list(prompts.classes), "names": list(prompts.names)}
    metadata = {key: json.dumps(value) for key, value in lists.items()} | {"recipe": digest_of(dict(recipe))}
    with atomic_path(path) as part:
        save_file({"prompts": prompts.texts.contiguous()}, part, metadata=metadata)


def read_prompts(path: str | Path) -> Prompts:
    """Read a prompts file. Raises `UserError` where it is none, or has not one row a class."""
    try:
        with safe_open(path, "pt") as file:
            metadata, texts = file.metadata(), file.get_tensor("prompts")
        classes, names = (tuple(json.loads(metadata[key])) for key in ("classes", "names"))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a readable file of prompts ({error}): delete it and run again") from error
    if not len(texts) == len(classes) == len(names):
        raise UserError(f"{path}: {len(texts)} rows for {len(classes)} classes: delete it and run again")
    return Prompts(classes, names, texts)

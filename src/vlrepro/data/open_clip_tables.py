"""Tables that the package open_clip publishes, read without importing it, which takes seconds and needs torch."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from vlrepro.errors import UserError

CLASS_NAMES_DIGEST = "571ae1c583b4be7da87519494c52bf405a46af05d5815627c7a0dee997068b60"
"""Of the 1,000 names that Radford et al. 2021 (section 3.1.4) and all that follow it prompt with."""
_FILE = "zero_shot_metadata.py"


def lines_digest(lines: Iterable[str]) -> str:
    """SHA-256 (hex) of lines joined by newlines, without one at the end."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def imagenet_class_names() -> tuple[str, ...]:
    """Names of ImageNet-1K's classes in the order of their sorted WordNet ids; two names occur twice.

    Raises `UserError` where open_clip is missing or its names are others than those of `CLASS_NAMES_DIGEST`.
    """
    return checked(tuple(open_clip_table("IMAGENET_CLASSNAMES")), CLASS_NAMES_DIGEST, "class names of ImageNet")


def checked(lines: tuple[str, ...], digest: str, what: str) -> tuple[str, ...]:
    """The lines themselves. Raises `UserError` where their digest is another."""
    if lines_digest(lines) != digest:
        cure = "install the version that envs/constraints.txt pins"
        raise UserError(f"open_clip's {_FILE}: the {what} are not the published ones: {cure}")
    return lines


@cache
def open_clip_table(name: str) -> Any:
    """The table `name` of open_clip's file of names and templates. Raises `UserError` where there is none."""
    package = importlib.util.find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise UserError("open_clip, which has ImageNet's names and templates, is missing: pip install open_clip_torch")
    place = Path(package.submodule_search_locations[0]) / _FILE
    spec = importlib.util.spec_from_file_location("vlrepro_open_clip_tables", place)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return getattr(module, name)
    except (OSError, ImportError, AttributeError) as error:
        cure = "install the version that envs/constraints.txt pins"
        raise UserError(f"{place}: no table {name} ({error}): {cure}") from error

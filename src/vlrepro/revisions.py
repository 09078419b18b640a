"""Read a module's constants without importing it: planning must not load torch.

`REVISION` is a small integer that a module raises when its results change. It is part of recipe digests, so a
changed loss retrains exactly its runs and an edited docstring retrains nothing. A framework's `VIEWS` and `TEXTS`
say what it trains on, so a recipe that cannot work is refused before anything runs.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

from vlrepro.errors import UserError

_ROOT = Path(__file__).parent


def revision_of(module: str) -> int:
    """The `REVISION` of `vlrepro.<module>`, for example `frameworks.simclr`.

    Raises `UserError` where there is no such module or it has no literal `REVISION`.
    """
    return int(constant_of(module, "REVISION"))


_NEEDED = object()


def constant_of(module: str, name: str, default: Any = _NEEDED) -> Any:
    """The literal that `vlrepro.<module>` assigns to `name` at its top level, or `default` where it assigns none.

    Raises `UserError` where there is no such module, or no such assignment and no default.
    """
    found = _literal(module, name)
    if found is _NEEDED and default is _NEEDED:
        raise UserError(f"vlrepro.{module}: no {name}: every module of its kind assigns one")
    return default if found is _NEEDED else found


@cache
def _literal(module: str, name: str) -> Any:
    """The literal, or `_NEEDED`. Found by its line: whole modules take long to parse."""
    line = re.search(rf"^{name} = (.+)$", _text(module), re.MULTILINE)
    if line is None:
        return _NEEDED
    try:
        return ast.literal_eval(line[1])
    except (SyntaxError, ValueError):
        return _NEEDED


@cache
def _text(module: str) -> str:
    path = _ROOT.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        raise UserError(f"{module!r} is not a module of vlrepro: mend the name in the config")
    return path.read_text(encoding="utf-8")

"""Read a module's constants without importing it: planning must not load torch.

`REVISION` is a small integer that a module raises when its results change. It is part of recipe digests, so a
changed loss retrains exactly its runs and an edited docstring retrains nothing. A framework's `VIEWS` and `TEXTS`
say what it trains on, so a recipe that cannot work is refused before anything runs.
"""

from __future__ import annotations

import ast
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
    constants = _constants(module)
    if name not in constants and default is not _NEEDED:
        return default
    if name not in constants:
        raise UserError(f"vlrepro.{module}: no {name}: every module of its kind assigns one")
    return constants[name]


@cache
def _constants(module: str) -> dict[str, Any]:
    path = _ROOT.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        raise UserError(f"{module!r} is not a module of vlrepro: mend the name in the config")
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            found |= {target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)}
    return found

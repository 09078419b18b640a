"""Read a module's `REVISION` without importing it: planning must not load torch.

A revision is a small integer that a module raises when its results change. It is part of recipe digests, so a
changed loss retrains exactly its runs and an edited docstring retrains nothing.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from vlrepro.errors import UserError

_ROOT = Path(__file__).parent


@cache
def revision_of(module: str) -> int:
    """The `REVISION` of `vlrepro.<module>`, for example `frameworks.simclr`.

    Raises `UserError` where there is no such module or it has no literal `REVISION`.
    """
    path = _ROOT.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        raise UserError(f"{module!r} is not a module of vlrepro: mend the name in the config")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "REVISION" for target in node.targets):
            return int(ast.literal_eval(node.value))
    raise UserError(f"{path}: no REVISION: add one, it is part of every recipe's digest")

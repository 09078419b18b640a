"""One kind of error for what a user can mend, and the one line it is shown as."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from vlrepro.files import NO_SPACE


class UserError(Exception):
    """Something the user can mend: the message names the thing, the place and the cure in one line."""


def run_command(main: Callable[[], None]) -> None:
    """Run a command-line program; show what the user can mend as one line and exit with 1.

    `OSError` (a full disk, a read-only folder) is shown the same way, with its path. Anything else is a
    defect of ours and keeps its traceback. Set `VLREPRO_DEBUG=1` to see the traceback of every error.
    """
    try:
        main()
    except (UserError, OSError) as error:
        if os.environ.get("VLREPRO_DEBUG"):
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        raise SystemExit(1) from None


def one_line(error: Exception) -> str:
    """An error as one line; an `OSError` by its path."""
    if isinstance(error, OSError) and error.filename:
        cure = "free some space or choose another results folder" if error.errno in NO_SPACE else "check the path"
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            cure = "make it writable or choose another results folder"
        return f"{error.filename}: {error.strerror}: {cure}"
    return " ".join(str(error).split())

"""Training state on disk: atomic, keyed by the recipe, loaded without running foreign code.

The state lives outside any declared output, because Snakemake deletes the outputs of a failed job. The two
newest states are kept, so that one cut short by a dying machine costs one interval, not the run.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from vlrepro.files import atomic_path

_KEEP = 2


class StateFolder:
    """The states of one recipe: `results/state/<run>/step-00000120.pt`."""

    def __init__(self, folder: str | Path, recipe_digest: str) -> None:
        self.folder = Path(folder)
        self.recipe_digest = recipe_digest

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps, then drop all but the newest two."""
        with atomic_path(self._path(step)) as part:
            torch.save(state | {"step": step, "recipe": self.recipe_digest}, part)
        for old in self._saved()[:-_KEEP]:
            old.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The newest state that is whole and of this recipe, or None. Others are removed and named on stdout."""
        for path in reversed(self._saved()):
            state = _read(path)
            if state is not None and state.get("recipe") == self.recipe_digest:
                return state
            why = "is cut short" if state is None else "is of another recipe"
            print(f"{path} {why}: removed, an older one is tried", flush=True)
            path.unlink(missing_ok=True)
        return None

    def clear(self) -> None:
        """Remove the states and the folder: the run is finished."""
        for path in self._saved():
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.pt"

    def _saved(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt"))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile):
        return None


def newest_step(folder: str | Path) -> int:
    """After how many steps the newest state in `folder` was saved; -1 where there is none."""
    return max((int(path.stem.removeprefix("step-")) for path in Path(folder).glob("step-*.pt")), default=-1)

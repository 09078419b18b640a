"""What a finished run leaves: `history.jsonl` and `model.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from vlrepro.files import atomic_path, digest_of, write_text
from vlrepro.frameworks import framework_module
from vlrepro.training.outcome import FAILED

BACKBONE, JOINT = "backbone.", "joint/"


def write_run(
    output: Path,
    model: nn.Module,
    recipe: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    failed: str | None = None,
) -> None:
    """Write the history, then the weights: whoever finds the weights finds a finished run.

    The weights' metadata hold the digest of the recipe and, where the training failed, why
    (`vlrepro.training.outcome.failure_of`).
    """
    lines = (json.dumps(entry, sort_keys=True) for entry in history)
    write_text(output / "history.jsonl", "".join(f"{line}\n" for line in lines))
    metadata = {"recipe": digest_of(dict(recipe))} | ({FAILED: failed} if failed else {})
    with atomic_path(output / "model.safetensors") as part:
        save_file(kept_weights(model, recipe["framework"]), part, metadata=metadata)


def kept_weights(model: nn.Module, framework: str) -> dict[str, Tensor]:
    """What is kept of a framework: its backbone under the backbone's own names and, where it reads captions, all else.

    Whoever compares pictures with sentences needs the projections, the text tower and the scale as well: they are
    named `joint/<name in the framework>`. Heads of frameworks without captions have no use after training.
    """
    state = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    weights = {name.removeprefix(BACKBONE): value for name, value in state.items() if name.startswith(BACKBONE)}
    if framework_module(framework).TEXTS:
        weights |= {JOINT + name: value for name, value in state.items() if not name.startswith(BACKBONE)}
    return weights

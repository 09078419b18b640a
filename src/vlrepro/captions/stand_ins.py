"""Stand-ins for BLIP-2 and CLIP, trained in two minutes on a pack that pre-training never sees.

They are ordinary transformers checkpoints, a `VisionEncoderDecoderModel` and a `VisionTextDualEncoderModel`, so that
pocket runs go through the code that loads the real ones. Both see with `layout`'s tower, and what they know is what
their pack tells: see `stand_in_captioner` and `stand_in_scorer`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from vlrepro.captions.stand_in_captioner import CaptionerOptions, make_captioner
from vlrepro.captions.stand_in_scorer import ScorerOptions, make_scorer
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.randomness import fix_kernels, key

REVISION = 2  # of both: also of stand_in_captioner.py, stand_in_scorer.py, fitting.py and layout.py


def train_stand_in(recipe: Mapping[str, Any], pack: Pack, output: str | Path) -> None:
    """Train the stand-in that `recipe` describes on `pack` and write its checkpoint folder, whole or not at all.

    The recipe holds `kind` ("captioner" or "scorer"), `seed`, `threads` and `options`, fields of
    `CaptionerOptions` or `ScorerOptions`. The same recipe and pack give the same weights.

    Raises `UserError` on an unknown option, where a picture has no caption, or does not decode.
    """
    fix_kernels(recipe["threads"])
    bare = [row.key for row in pack.rows if not row.caption.strip()]
    if bare:
        raise UserError(f"{pack.folder}: picture {bare[0]} has no caption: a stand-in learns from captions only")
    torch.manual_seed(key(recipe["seed"], "stand-in", recipe["kind"]))  # initial weights, dropout
    make, kind = (make_scorer, ScorerOptions) if recipe["kind"] == "scorer" else (make_captioner, CaptionerOptions)
    model, processor = make(pack, _options(kind, recipe["options"]), recipe["seed"])
    with _atomic_folder(Path(output)) as folder:
        model.eval().save_pretrained(folder)
        processor.save_pretrained(folder)


def _options(kind: type, given: Mapping[str, Any]) -> Any:
    known = [entry.name for entry in fields(kind)]
    for name in given:
        if name not in known:
            raise UserError(f"stand-in options: no option {name!r}: there are {', '.join(known)}")
    return kind(**given)


@contextmanager
def _atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside `path` that takes its place when the block ends well and is removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield part
        part.chmod(0o755)
        for file in part.iterdir():
            file.chmod(0o644)  # safetensors writes files that only the owner may read
        if path.exists():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)

"""Which of some texts a picture goes with: the check that imported weights work as their publishers print."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlrepro.data.decoding import size_of
from vlrepro.data.pack import Pack, Picture, write_pack
from vlrepro.errors import UserError


def match(encoder: Any, picture: str | Path, texts: Sequence[str]) -> list[float]:
    """The softmax over texts, as they are, of scale times cosine with the picture in a file; sums to 1.

    `encoder` is a pre-trained `DualEncoder`: it has the `scale`. Raises `UserError` where the file is no picture.
    """
    path = Path(picture)
    data = path.read_bytes()
    width, height = size_of(data)
    if not width:
        raise UserError(f"{path}: no picture: give a PNG, JPEG or WebP file")
    with tempfile.TemporaryDirectory() as folder:
        write_pack(folder, [Picture("picture", data, path.suffix, width, height)])
        seen = encoder.pictures(Pack(folder), [0])
    return (encoder.scale * seen @ encoder.texts(texts).T).softmax(1)[0].tolist()

"""A model that was trained here: its backbone, its text tower and the space that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlrepro.data.augment import centre
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.dual_encoders.folder import CAPTION
from vlrepro.dual_encoders.rows import picture_rows, text_name, unit_rows
from vlrepro.errors import UserError
from vlrepro.evaluation.features import size_of
from vlrepro.evaluation.joint import load_joint, picture_features, text_features

_PICTURES, _TEXTS = 256, 1024  # at a time: as features and zero-shot classification take them


class Trained:
    """A `DualEncoder`; texts come as the run's text encoder reads them, once for all runs of it."""

    prompt = CAPTION

    def __init__(self, name: str, joint: nn.Module, settings: Mapping[str, Any]) -> None:
        self.name, self.size = name, size_of(joint.backbone)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._joint, self._settings = joint.to(self._device), settings

    def pictures(self, pack: Pack, positions: Sequence[int]) -> Tensor:
        """See `DualEncoder.pictures`."""
        source = Pictures(pack, self._settings["canvas"], cache_bytes=0, threads=torch.get_num_threads())
        return picture_rows(source, positions, _PICTURES, self._encode)

    @torch.inference_mode()
    def _encode(self, pictures: Tensor) -> Tensor:
        settings = self._settings
        views = centre(pictures.to(self._device), settings["size"], settings["mean"], settings["std"])
        return picture_features(self._joint, self._joint.backbone(views).float())

    def texts(self, texts: Sequence[str], embedded: Tensor | None = None) -> Tensor:
        """See `DualEncoder.texts`."""
        if embedded is None or len(embedded) != len(texts):
            found = "none" if embedded is None else f"{len(embedded)}"
            raise UserError(f"{self.name}: {len(texts)} texts and {found} embedded: embed them for this run's encoder")
        rows = range(len(texts))
        return unit_rows(
            rows,
            _TEXTS,
            lambda part: text_features(self._joint, embedded[part.start : part.stop]),
            lambda row: text_name(texts[row]),
        )


def load(recipe: Mapping[str, Any], weights: str | Path, settings: Mapping[str, Any]) -> Trained:
    """The model of a recipe and its weights; `settings` are `canvas`, `size`, `mean` and `std` of pictures.

    Raises `UserError` as `load_joint` does.
    """
    return Trained(Path(weights).parent.name, load_joint(recipe, weights), settings)

"""Image-text dual encoders through one small interface: trained here, transformers' CLIP, and DiHT's checkpoints.

A pre-trained kind's file holds

    REVISION    raised whenever its results change
    LOCATION    the key of its entry in the config that says where its weights are
    import_model(entry, folder)   write the weights and what reads them to `folder`, once
    load(folder)                  the `DualEncoder` of such a folder

so adding one is adding a file here. `trained` is no such kind: a run's weights are where training left them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from torch import Tensor

from vlrepro.data.pack import Pack
from vlrepro.dual_encoders.folder import read_description
from vlrepro.errors import UserError

KINDS = ("diht", "transformers")
PRETRAINED = "pretrained"  # the `framework` of a recipe whose weights are imported instead of trained


class DualEncoder(Protocol):
    """Pictures and texts to unit rows of one space, in float32 on the CPU; memory is bounded whatever their number.

    `name` is the run's. `prompt` is the sentence that the model reads captions in ("{caption}": as they are): fill it
    with `filled`, since `texts` reads what it is given. `size` is as metrics files have it (`features.size_of`).
    """

    name: str
    prompt: str
    size: dict[str, int]

    def pictures(self, pack: Pack, positions: Sequence[int]) -> Tensor:
        """The pictures at `positions` of a pack, (n, d).

        Raises `UserError` that names a picture that does not decode or has no finite embedding of positive length.
        """
        ...

    def texts(self, texts: Sequence[str], embedded: Tensor | None = None) -> Tensor:
        """Texts as they are, (m, d); what is too long for the model is cut.

        `embedded` are the same texts as the run's text encoder reads them, (m, w) or (m, L) token ids: a model that
        was trained here needs them, the others ignore them. Raises `UserError` where they are missing or others.
        """
        ...


def load_dual_encoder(recipe: Mapping[str, Any], weights: str | Path, pictures: Mapping[str, Any]) -> DualEncoder:
    """The dual encoder of a run: of its recipe and its `model.safetensors`.

    Args:
        recipe: the run's; with `framework: pretrained` the weights' folder says the rest.
        weights: `model.safetensors`, with `dual_encoder.json` and `config.json` beside it if it was imported.
        pictures: `canvas`, `size`, `mean` and `std` that a model trained here sees pictures with; others have theirs.

    Raises:
        UserError: the weights are unreadable, of another recipe, or of a framework that reads no captions.
    """
    if recipe["framework"] == PRETRAINED:
        folder = Path(weights).parent
        return _module(read_description(folder)["kind"], f"{folder}").load(folder)
    from vlrepro.dual_encoders.trained import load

    return load(recipe, weights, pictures)


def import_model(
    entry: Mapping[str, Any], folder: str | Path, location: str | Path | None = None, accept_licence: bool = False
) -> None:
    """Write the model that a config's entry names to `folder`, as float32 safetensors in transformers' layout.

    Args:
        entry: `kind`, what the kind's `import_model` reads, and optionally `prompt`, a sentence with {caption} in it.
        folder: gets `config.json`, `dual_encoder.json`, what prepares the input and, last, `model.safetensors`.
        location: where the weights are, in the place of what the entry says.
        accept_licence: in addition to what the entry says.

    Raises:
        UserError: an unknown kind; weights that are not named, cannot be read or are others; a licence that is not
            accepted.
    """
    module = _module(entry["kind"], "dual encoder")
    given = {module.LOCATION: str(location)} if location is not None else {}
    accepted = accept_licence or entry.get("accept_licence") is True
    whole = dict(entry) | given | {"accept_licence": accepted}
    if not whole.get(module.LOCATION):
        raise UserError(f"dual encoder of kind {entry['kind']}: no weights: give its {module.LOCATION}")
    module.import_model(whole, Path(folder))


def filled(prompt: str, captions: Sequence[str]) -> list[str]:
    """Each caption in the prompt's place for it; braces in a caption mean nothing."""
    return [prompt.replace("{caption}", caption) for caption in captions]


def _module(kind: str, where: str) -> ModuleType:
    if kind not in KINDS:
        raise UserError(f"{where}: kind {kind!r} is not known: choose one of {', '.join(KINDS)}")
    return importlib.import_module(f"{__name__}.{kind}")

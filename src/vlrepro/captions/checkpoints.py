"""Loading a captioner or a scorer: transformers checkpoints by folder or hub name, safetensors only.

transformers reports what is wrong with a checkpoint in many ways and loads some broken ones with random weights;
here each becomes one line that names the model, the place and the cure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoProcessor, PreTrainedConfig, PreTrainedModel, ProcessorMixin

import vlrepro.captions.layout  # noqa: F401  (registers the stand-ins' vision tower)
from vlrepro.data.loader import decode
from vlrepro.data.pack import INDEX, Pack
from vlrepro.errors import UserError
from vlrepro.files import digest_of, file_digest


class Checkpoint(NamedTuple):
    """A loaded model, ready for inference on its device, and what prepares its input."""

    model: PreTrainedModel
    processor: ProcessorMixin
    canvas: int  # pixels of the square that the model reads
    device: torch.device


def load_checkpoint(
    role: str,
    location: str | Path,
    kinds: Collection[str],
    loader: Any,
    revision: str | None = None,
    dtype: torch.dtype | None = None,
) -> Checkpoint:
    """Load a checkpoint with `loader` (a transformers Auto class).

    Args:
        role: what the checkpoint is for, in messages: "captioner" or "scorer".
        location: a folder or a hub name.
        kinds: the `model_type`s that can play the role.
        loader: the Auto class that has the role's head.
        revision: a commit of the hub.
        dtype: of the weights and of what is computed; by default bfloat16 on a GPU, float32 on the CPU.

    Raises:
        UserError: the folder is missing, the model is of another kind, the download is incomplete or broken, or a
            hub name cannot be reached.
    """
    where = f"{role} {location}"
    pinned = {"revision": revision or "main", "trust_remote_code": False}
    config = _config(where, location, pinned)
    if config.model_type not in kinds:
        raise UserError(f"{where}: a {config.model_type} model cannot be a {role}: name a model of the right kind")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    try:
        model, report = loader.from_pretrained(
            location, use_safetensors=True, dtype=dtype, output_loading_info=True, **pinned
        )
        processor = AutoProcessor.from_pretrained(location, **pinned)
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{where}: cannot be loaded ({_first_line(error)}): {_cure(location)}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(f"{where}: {len(missing)} weights are missing (first: {missing[0]}): {_cure(location)}")
    if not isinstance(processor, ProcessorMixin):
        raise UserError(f"{where}: no image processor or no tokenizer beside the weights: {_cure(location)}")
    return Checkpoint(model.to(device).eval(), processor, _canvas(config), device)


def _config(where: str, location: str | Path, pinned: dict[str, Any]) -> PreTrainedConfig:
    folder = Path(location)
    if not folder.exists() and (folder.is_absolute() or str(location).count("/") != 1):
        raise UserError(f"{where}: no such folder: give a folder with config.json, or a hub name like owner/model")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UserError(f"{where}: no config.json in the folder: {_cure(location)}")
    try:
        return AutoConfig.from_pretrained(location, **pinned)
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: cannot be loaded ({_first_line(error)}): {_cure(location)}") from error


def _cure(location: str | Path) -> str:
    if Path(location).is_dir():
        return "copy or train it again"
    return "check the name and the network, or download it first and give its folder"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".:") if str(error).strip() else type(error).__name__


def _canvas(config: PreTrainedConfig) -> int:
    vision = getattr(config, "vision_config", None) or getattr(config, "encoder", None)
    return int(vision.image_size)


def stamp(location: str | Path) -> str:
    """A digest that changes when the files of a checkpoint's folder do; of the name, for a hub name.

    Weights go in by size and time: reading fifteen gigabytes to resume a job is not worth it.
    """
    folder = Path(location)
    if not folder.is_dir():
        return digest_of(str(location))
    files = {}
    for path in sorted(folder.iterdir()):
        state = path.stat()
        files[path.name] = file_digest(path) if path.suffix == ".json" else [state.st_size, state.st_mtime_ns]
    return digest_of(files)


def identity_of(recipe: Mapping[str, Any], pack: Pack, location: str | Path, *files: str | Path) -> dict[str, Any]:
    """What the work of a checkpoint on a pack depends on, as JSON: the recipe, the data, the checkpoint, the files."""
    inputs = [file_digest(path) for path in (pack.folder / INDEX, *files)]
    return {"recipe": dict(recipe), "inputs": inputs, "checkpoint": stamp(location)}


def read_pictures(pack: Pack, positions: Sequence[int], canvas: int) -> dict[int, torch.Tensor]:
    """The pictures at `positions` that decode, each (3, canvas, canvas) uint8; the others are printed and left out."""
    pictures = {}
    for position in positions:
        try:
            pictures[position] = torch.tensor(decode(pack.picture(position), canvas)).permute(2, 0, 1)
        except ValueError as error:
            print(f"unreadable: {pack.rows[position].key}: {error}", flush=True)
    return pictures

"""DiHT's released checkpoints (Radenovic et al. 2023, "Filtering, Distillation, and Hard Negatives for Vision-Language
Pre-Training"), which a user supplies and whose licence a user accepts.

A checkpoint is one file, <model>_<SHA-256>.ckpt, with a flat state dict of CLIP's original layout; see `clip_layout`.
Pictures: short side to the model's size (bicubic), centre, CLIP's mean and deviation. Captions are read as
"a photo of {caption}." in CLIP's byte pairs.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPModel

from vlrepro.data.decoding import decode_exactly
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.dual_encoders.clip_layout import Sizes, configuration, converted, sizes_of
from vlrepro.dual_encoders.folder import WEIGHTS, describe, prompt_of, read_description, written
from vlrepro.dual_encoders.rows import picture_rows, picture_side_size, text_name, unit_rows
from vlrepro.errors import UserError
from vlrepro.files import file_digest
from vlrepro.models.text import tokenise

REVISION = 1
LOCATION = "path"
PROMPT = "a photo of {caption}."
LICENCE = "CC BY-NC 4.0 (no commercial use)"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
MODELS = {
    "diht_vitb32_224px": Sizes(224, 32, 768, 12, 512, 12, 77, 49408, 512),
    "diht_vitb16_224px": Sizes(224, 16, 768, 12, 512, 12, 77, 49408, 512),
    "diht_vitl14_224px": Sizes(224, 14, 1024, 24, 768, 12, 77, 49408, 768),
    "diht_vitl14_336px": Sizes(336, 14, 1024, 24, 768, 12, 77, 49408, 768),
}
_PICTURES, _TEXTS = 32, 256  # at a time: ViT-L/14's layers hold some megabytes for each
_DIGEST = re.compile(r"_([0-9a-f]{64})\.ckpt")


class Diht:
    """A `DualEncoder`; `scale` is what it multiplies cosines with before the softmax."""

    def __init__(self, name: str, prompt: str, model: CLIPModel) -> None:
        self.name, self.prompt = name, prompt
        self.scale = model.logit_scale.exp().item()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self._device).eval()
        self.size = picture_side_size(model)

    def pictures(self, pack: Pack, positions: Sequence[int]) -> Tensor:
        """See `DualEncoder.pictures`."""
        threads, canvas = torch.get_num_threads(), self._model.config.vision_config.image_size
        source = Pictures(pack, canvas, cache_bytes=0, threads=threads, decoder=decode_exactly)
        return picture_rows(source, positions, _PICTURES, self._encode_pictures)

    def texts(self, texts: Sequence[str], embedded: Tensor | None = None) -> Tensor:
        """See `DualEncoder.texts`; `embedded` is not read."""
        return unit_rows(texts, _TEXTS, self._encode_texts, text_name)

    @torch.inference_mode()
    def _encode_pictures(self, pictures: Tensor) -> Tensor:
        mean, std = (torch.tensor(values, device=self._device).view(3, 1, 1) for values in (MEAN, STD))
        pixels = (pictures.to(self._device) / 255 - mean) / std
        return self._model.get_image_features(pixel_values=pixels).pooler_output.cpu()

    @torch.inference_mode()
    def _encode_texts(self, texts: Sequence[str]) -> Tensor:
        ids = tokenise(texts, self._model.config.text_config.max_position_embeddings)
        ids = ids[:, : int(ids.argmax(1).max()) + 1]  # no token sees what follows it, and captions are short
        return self._model.get_text_features(input_ids=ids.to(self._device)).pooler_output.cpu()


def import_model(entry: Mapping[str, Any], folder: Path) -> None:
    """Convert the checkpoint at `entry["path"]` to `folder`.

    `entry["digest"]` is the file's SHA-256; where it is null, the last part of the file's name is.

    Raises:
        UserError: `entry["accept_licence"]` is not true; the file is missing, another than its digest says, no state
            dict, or of none of DiHT's four sizes; the prompt is none.
    """
    path = Path(entry["path"])
    if entry.get("accept_licence") is not True:
        raise UserError(f"{path}: DiHT's weights are licensed {LICENCE}: if you accept that, set accept_licence: true")
    prompt, digest = prompt_of(entry, PROMPT), _checked_digest(path, entry.get("digest"))
    state = _read(path)
    sizes = sizes_of(state, path)
    name = next((name for name, known in MODELS.items() if known == sizes), None)
    if name is None:
        raise UserError(f"{path}: {sizes} is none of DiHT's models: give the file of one of {', '.join(MODELS)}")
    weights = converted(state, sizes, path)
    with written(folder) as part:
        save_file(weights, part / WEIGHTS, {"format": "pt"})
        configuration(sizes).save_pretrained(part)
        describe(part, entry["kind"], prompt, {"model": name, "sha256": digest, "licence": LICENCE})


def load(folder: Path) -> Diht:
    """The model that `import_model` wrote to a run's folder; raises `UserError` where it is not whole."""
    try:
        model, report = CLIPModel.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot be loaded ({_first_line(error)}): import the model again") from error
    if missing := sorted(report["missing_keys"]):
        raise UserError(f"{folder}: {len(missing)} weights are missing ({missing[0]}): import the model again")
    return Diht(folder.name, read_description(folder)["prompt"], model)


def _checked_digest(path: Path, digest: str | None) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint: download it (docs/retrieval.md says where) or mend the path")
    named = _DIGEST.search(path.name)
    expected = digest or (named[1] if named else None)
    if expected is None:
        raise UserError(f"{path}: no SHA-256 in the file's name: keep the published name, or give its digest")
    found = file_digest(path)
    if found != expected:
        raise UserError(f"{path}: SHA-256 {found[:12]}, not {expected[:12]}: download the file again")
    return found


def _read(path: Path) -> Mapping[str, Any]:
    """The state dict; nothing but tensors is unpickled."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{path}: no checkpoint of tensors ({_first_line(error)}): download the file again") from error
    named = isinstance(state, Mapping) and all(isinstance(key, str) for key in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: not a flat state dict of tensors: give the file as DiHT released it")
    return state


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".:") if str(error).strip() else type(error).__name__

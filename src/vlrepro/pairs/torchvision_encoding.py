"""Features of pictures by a model of torchvision with weights that the user supplies: a teacher that has read no text.

Meant for the teacher of Radenovic et al. 2023 (section 3.2): `vit_h_14` with the weights of Singh et al. 2022,
"Revisiting Weakly Supervised Pre-Training of Visual Perception Models" (SWAG), whole (518 pixels) or with a linear
classifier only (224). Their licence is CC BY-NC 4.0, so nothing is downloaded: the file is the user's, its digest is
checked, and the licence is accepted in the config. A feature is what the model's classifier reads.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.files import file_digest
from vlrepro.pairs.encoding import PictureRows

REVISION = 1

_HEADS = ("heads", "fc", "classifier")  # where torchvision's designs keep their classifiers
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of all of torchvision's weights for ImageNet


def embed_by_torchvision(pack: Pack, encoder: Mapping[str, Any], batch_size: int = 64) -> Tensor:
    """Features (n, d) float32 of all of a pack's pictures, of length 1.

    `encoder` holds `model`, a name of torchvision's, `path`, `digest` and `size` of its weights, and `accept_licence`.
    Pictures are scaled to a square of `size` pixels as everywhere, then normalised as torchvision's weights expect.

    Raises:
        UserError: as `load_torchvision`; or a picture does not decode or has no finite feature of positive length.
    """
    return torch.from_numpy(picture_rows_by_torchvision(pack, encoder, batch_size)(0, len(pack)))


def picture_rows_by_torchvision(pack: Pack, encoder: Mapping[str, Any], batch_size: int = 64) -> PictureRows:
    """As `embed_by_torchvision`, some pictures at a time."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_torchvision(encoder).to(device)
    pictures = Pictures(pack, encoder["size"], cache_bytes=0, threads=torch.get_num_threads())
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (_MEAN, _STD))

    def rows(first: int, last: int) -> np.ndarray:
        parts = []
        for start in range(first, last, batch_size):
            batch = pictures.batch(range(start, min(start + batch_size, last))).to(device)
            with torch.inference_mode():
                parts.append(model((batch / 255 - mean) / std).cpu())
            print(f"embedded {start + len(batch):,} of {len(pack):,} pictures", flush=True)
        return _unit(torch.cat(parts), pack, first).numpy()

    return rows


def _unit(features: Tensor, pack: Pack, first: int) -> Tensor:
    lengths = features.norm(dim=1)
    bad = (~(lengths.isfinite() & (lengths > 0))).nonzero().flatten().tolist()
    if bad:
        where = f"{pack.folder}: picture {pack.rows[first + bad[0]].key}"
        raise UserError(f"{where}: {len(bad)} pictures have no finite feature: choose another image encoder")
    return functional.normalize(features, dim=1)


def load_torchvision(encoder: Mapping[str, Any]) -> nn.Module:
    """The model with its weights and without its classifier, in inference mode.

    Raises `UserError` where the licence is not accepted, the file is missing, is another than the digest's or is not
    one of tensors alone, the model is none of torchvision's image classifiers, or the weights are not of this model.
    """
    name, path = encoder["model"], Path(encoder["path"])
    where = f"encoder {name}, {path}"
    if not encoder["accept_licence"]:
        raise UserError(
            f"{where}: SWAG's weights are under CC BY-NC 4.0, others under licences of their own: read the licence "
            "and set accept_licence: true under the encoder's weights"
        )
    if not path.is_file():
        raise UserError(f"{where}: no such file: download the weights yourself and give their path")
    if not file_digest(path).startswith(encoder["digest"]):
        raise UserError(f"{where}: the file is another than the digest's: download it again, or mend the digest")
    model = _fresh(name, encoder["size"], where)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except (OSError, RuntimeError, TypeError, AttributeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{where}: not weights of this model at size {encoder['size']} ({reason}): mend either"
        ) from error
    setattr(model, _head_of(model), nn.Identity())
    return model.eval()


def _fresh(name: str, size: int, where: str) -> nn.Module:
    from torchvision import models  # seconds to import, and other encoders do not need it

    if name not in models.list_models(module=models):  # those of its submodules do not classify pictures
        raise UserError(f"{where}: torchvision has no model {name!r}: choose one that classifies pictures, as vit_h_14")
    # A vision transformer's places are of one size of picture; other designs take any.
    try:
        model = models.get_model(name, weights=None, image_size=size)
    except TypeError:
        model = models.get_model(name, weights=None)
    except (ValueError, AssertionError) as error:
        raise UserError(f"{where}: cannot be built for {size} pixels ({error}): mend size") from error
    if _head_of(model) is None:
        raise UserError(f"{where}: {name} has no classifier that could be left out: choose another, as vit_h_14")
    return model


def _head_of(model: nn.Module) -> str | None:
    return next((name for name in _HEADS if hasattr(model, name)), None)

"""Saliency methods by name."""

from __future__ import annotations

from vlrepro.errors import UserError
from vlrepro.saliency.agf import agf
from vlrepro.saliency.cam import activation, cam, eigen_cam, grad_cam, grad_cam_plus_plus, layer_cam
from vlrepro.saliency.packaged import CLASSES, packaged
from vlrepro.saliency.probe import Method

METHODS: dict[str, Method] = {
    "cam": cam,
    "grad_cam": grad_cam,
    "grad_cam_plus_plus": grad_cam_plus_plus,
    "layer_cam": layer_cam,
    "eigen_cam": eigen_cam,
    "activation": activation,
    "agf": agf,
    **{name: packaged(name) for name in CLASSES},
}


def saliency_method(name: str) -> Method:
    """The method `name`. Raises `UserError` for an unknown name."""
    if name not in METHODS:
        raise UserError(f"saliency method {name!r} is not known: choose one of {', '.join(METHODS)}")
    return METHODS[name]

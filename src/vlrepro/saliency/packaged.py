"""Maps of the grad-cam package (Gildenblat, "PyTorch library for CAM methods" (2021)): vision transformers, peers.

They serve backbones without a feature map before an average pooling, and to compare with. They are slow: the package
computes in NumPy, one picture after the other, and Score-CAM runs the backbone once a channel. Every map comes out of
it rectified, scaled to [0, 1] over its own picture and resized with OpenCV; the maps' scales and signs are gone.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vlrepro.errors import UserError
from vlrepro.models.backbones import Projected
from vlrepro.saliency.feature_maps import layers_before_pooling
from vlrepro.saliency.probe import Method, Probe, check

REVISION = 1

CLASSES = {  # the package's class of each method
    "packaged_grad_cam": "GradCAM",
    "packaged_grad_cam_plus_plus": "GradCAMPlusPlus",  # adds 1e-6 to denominators of squared gradients, often no larger
    "packaged_hires_cam": "HiResCAM",  # Draelos and Carin (2020)
    "packaged_layer_cam": "LayerCAM",
    "packaged_eigen_cam": "EigenCAM",  # its sign is arbitrary: what `eigen_cam` finds salient may be cut off here
    "packaged_score_cam": "ScoreCAM",  # Wang et al. (CVPR workshops 2020); slow
}


def packaged(name: str) -> Method:
    """The method `name` of `CLASSES`. Raises `UserError` for an unknown name, at once."""
    if name not in CLASSES:
        raise UserError(f"saliency method {name!r} is not known: choose one of {', '.join(CLASSES)}")
    return functools.partial(_maps, CLASSES[name])


def _maps(kind: str, backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor) -> Tensor:
    check(backbone, probe, images, classes)
    import pytorch_grad_cam  # seconds to import
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    # The package sets inference mode for good, leaves hooks and gradients behind: it gets a copy.
    with torch.inference_mode(False), torch.enable_grad():
        copied = copy.deepcopy(backbone).to(images.device).float().requires_grad_(False)
        layer, reshape = target_layer(copied)
        method = getattr(pytorch_grad_cam, kind)(_probed(copied, probe, images.device), [layer], reshape)
        # One target an image: images beyond the last target would get a map of 0 without a word.
        targets = [ClassifierOutputTarget(label) for label in classes.tolist()]
        # No weight has a gradient, so the pictures carry the graph; without one the package finds no gradients.
        pictures = images.detach().float().clone().requires_grad_()
        with contextlib.redirect_stderr(io.StringIO()):  # Score-CAM's progress bars, one a picture
            maps = method(pictures, targets)
        method.activations_and_grads.release()
    return torch.from_numpy(maps).to(images.device)


def target_layer(backbone: nn.Module) -> tuple[nn.Module, Callable[[Tensor], Tensor] | None]:
    """The layer whose output the maps explain, and how that becomes a feature map (B, C, h, w), if it is none.

    Of a vision transformer it is the first layer norm of the last block: patch tokens after it reach the class token no
    more, and their gradient is 0. The class token is left out of the map.
    """
    inner = backbone
    while isinstance(inner, Projected):
        inner = inner.backbone
    if type(inner).__name__ == "VisionTransformer":
        return inner.encoder.layers[-1].ln_1, _patches
    return layers_before_pooling(inner)[-1], None


def _patches(tokens: Tensor) -> Tensor:
    """Tokens (B, 1 + s * s, D), the class token first, to (B, D, s, s)."""
    side = math.isqrt(tokens.shape[1] - 1)
    return tokens[:, 1:].mT.unflatten(2, (side, side))


def _probed(backbone: nn.Module, probe: Probe, device: torch.device) -> nn.Module:
    """The backbone with the probe as its classifier: images to scores (B, k)."""
    head = nn.Linear(probe.weights.shape[1], len(probe.weights))
    head.load_state_dict({"weight": probe.weights, "bias": probe.biases})
    return nn.Sequential(backbone, head.to(device).requires_grad_(False))

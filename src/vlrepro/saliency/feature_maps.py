"""The last feature map of a convolutional backbone, what follows its pooling, and maps brought to picture size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from vlrepro.errors import UserError
from vlrepro.models.backbones import Projected
from vlrepro.models.resnet_small import ResNetSmall
from vlrepro.saliency.probe import Probe, inference


def last_map(backbone: nn.Module, images: Tensor) -> Tensor:
    """The feature map (B, C, h, w) that the backbone averages over space, for images (B, 3, S, S)."""
    with inference(backbone), torch.no_grad():
        for layer in layers_before_pooling(backbone):
            images = layer(images)
    return images


def layers_before_pooling(backbone: nn.Module) -> list[nn.Module]:
    """The layers up to the last feature map, in order. Raises `UserError` where a backbone has none."""
    while isinstance(backbone, Projected):
        backbone = backbone.backbone
    if isinstance(backbone, ResNetSmall):
        return list(backbone.layers)
    kind = type(backbone).__name__
    if kind == "ResNet":  # torchvision's, by name: importing it takes seconds and pocket scale does not need it
        names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
        return [getattr(backbone, name) for name in names]
    if kind == "MobileNetV3":
        return list(backbone.features)
    raise UserError(f"backbone {kind}: it has no feature map before an average pooling: choose a packaged_ method")


def channel_weights(backbone: nn.Module, probe: Probe, feature_map: Tensor, classes: Tensor) -> Tensor:
    """Gradients (B, C) of each picture's class score with regard to its pooled feature map.

    These are the rows of the probe where it reads the pooled map itself. Behind `Projected` the score is
    w . relu(n(L p)) of the pooled map p: the gradient then depends on the picture, through which features are above 0.
    The score is a function of the pooled map alone, so that in both cases Grad-CAM at the last map has these weights.
    """
    projections = []
    while isinstance(backbone, Projected):
        projections.append(backbone)
        backbone = backbone.backbone
    if not projections:
        return probe.weights.to(feature_map)[classes]
    with torch.inference_mode(False), torch.enable_grad():
        rows = probe.like(feature_map).weights[classes]
        pooled = feature_map.mean((2, 3)).clone().requires_grad_()
        features = pooled
        for projection in reversed(projections):
            with inference(projection):
                features = torch.relu(projection.norm(projection.linear(features)))
        return torch.autograd.grad((features * rows).sum(), pooled)[0]


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, h, w) to (B, *size) float32, bilinear between the centres of pixels, as OpenCV resizes."""
    return interpolate(maps[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]

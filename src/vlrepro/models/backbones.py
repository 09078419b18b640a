"""Image backbones: images (B, 3, H, W) to pooled features (B, feature_width).

Each builder returns a module with an integer attribute `feature_width` and, where it reads pictures of one size only,
`picture_size`. The full-scale backbones are torchvision's without their classifiers and OpenCLIP's picture towers
(`clip_`); `resnet_small` is the residual design for small pictures. Any of them takes `projection`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from vlrepro.errors import UserError
from vlrepro.models.clip_towers import clip_resnet50, clip_vit
from vlrepro.models.resnet_small import ResNetSmall

REVISION = 1


def build_backbone(name: str, projection: int | None = None, **options: object) -> nn.Module:
    """Build the backbone `name` with random weights drawn from torch's current generator.

    With `projection`, its features pass a `Projected` layer of that width and are those afterwards.
    Raises `UserError` for an unknown name or option.
    """
    if name not in _BUILDERS:
        raise UserError(f"backbone {name!r} is not known: choose one of {', '.join(sorted(_BUILDERS))}")
    try:
        backbone = _BUILDERS[name](**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"backbone {name!r}: {error}: mend its options in the config") from error
    return Projected(backbone, projection) if projection else backbone


class Projected(nn.Module):
    """A backbone whose features are widened: Linear (no bias) -> BatchNorm -> ReLU.

    *Impact of Language Guidance*, section 6, blames ResNet-34's 512-wide embedding for a smaller gain than
    ResNet-50's 2,048-wide one. The same ResNet-34 with its features widened to 2,048 tells width from depth. It
    ends like ResNet-50's last block, because a linear layer alone adds nothing that a linear probe could use.
    """

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.linear = nn.Linear(backbone.feature_width, width, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.feature_width = width
        self.picture_size = getattr(backbone, "picture_size", None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised pictures to (B, width) features, none below 0."""
        return torch.relu(self.norm(self.linear(self.backbone(x))))


def _torchvision(name: str, head: str) -> Callable[..., nn.Module]:
    """A builder of a torchvision model whose classifier, its attribute `head`, is replaced by the identity."""

    def build(**options: object) -> nn.Module:
        from torchvision.models import get_model  # seconds to import, and not needed at pocket scale

        model = get_model(name, weights=None, **options)
        model.feature_width = _input_width(getattr(model, head))
        setattr(model, head, nn.Identity())
        return model

    return build


def _vit(size: int, patch: int, layers: int, width: int, heads: int) -> nn.Module:
    """A vision transformer (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.1) without its head.

    It reads pictures of `size` pixels in squares of `patch`. Hidden layers are four times as wide; no dropout; the
    feature is the class token's after the last norm.
    """
    from torchvision.models import VisionTransformer

    if size % patch or width % heads:
        raise ValueError(f"size {size} must be a multiple of patch {patch}, width {width} of heads {heads}")
    model = VisionTransformer(size, patch, num_layers=layers, num_heads=heads, hidden_dim=width, mlp_dim=4 * width)
    model.feature_width, model.picture_size = width, size
    model.heads = nn.Identity()
    return model


def _vit_small(size: int = 224, patch: int = 16) -> nn.Module:
    """ViT-S (Touvron et al. 2021, "Training data-efficient image transformers", table 1): 12 layers, 384 wide."""
    return _vit(size, patch, layers=12, width=384, heads=6)


def _input_width(head: nn.Module) -> int:
    """What a classifier reads: the input width of its first linear layer."""
    return next(layer.in_features for layer in head.modules() if isinstance(layer, nn.Linear))


_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "clip_resnet50": clip_resnet50,
    "clip_vit_b_16": partial(clip_vit, 16),
    "clip_vit_b_32": partial(clip_vit, 32),
    "resnet_small": ResNetSmall,
    "vit": _vit,
    "vit_small": _vit_small,
    **{name: _torchvision(name, "fc") for name in ("resnet18", "resnet34", "resnet50")},
    **{name: _torchvision(name, "classifier") for name in ("mobilenet_v3_small", "mobilenet_v3_large")},
}

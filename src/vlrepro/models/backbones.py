"""Image backbones: images (B, 3, H, W) to pooled features (B, feature_width).

Each builder returns a module with an integer attribute `feature_width`. Larger-scale backbones are
torchvision's, without their classifiers; `resnet_small` is the same residual design for 32-pixel pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vlrepro.errors import UserError


def build_backbone(name: str, **options: object) -> nn.Module:
    """Build the backbone `name` with random weights drawn from torch's current generator.

    Raises `UserError` for an unknown name or option.
    """
    if name not in _BUILDERS:
        raise UserError(f"backbone {name!r} is not known: choose one of {', '.join(sorted(_BUILDERS))}")
    try:
        return _BUILDERS[name](**options)
    except TypeError as error:
        raise UserError(f"backbone {name!r}: {error}: mend its options in the config") from error


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, "Deep residual learning", figure 2)."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != width_out:
            conv = nn.Conv2d(width_in, width_out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(width_out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in, H, W) to (B, width_out, H / stride, W / stride)."""
        y = torch.relu_(self.norm1(self.conv1(x)))
        return torch.relu_(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNetSmall(nn.Module):
    """A residual network for small pictures: 3x3 stem, four stages of widths w, 2w, 4w, 8w, average pooling.

    Args:
        width: channels of the first stage; features are 8 * width wide.
        blocks: blocks of each stage.
        stem_stride: 2 halves the resolution at once (four times fewer operations), 1 keeps it.
    """

    def __init__(self, width: int = 32, blocks: Sequence[int] = (1, 1, 1, 1), stem_stride: int = 2) -> None:
        super().__init__()
        self.feature_width = width * 8
        stem = [nn.Conv2d(3, width, 3, stem_stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        layers: list[nn.Module] = [nn.Sequential(*stem)]
        wide = width
        for stage, count in enumerate(blocks):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(BasicBlock(wide, width << stage, stride))
                wide = width << stage
        self.layers = nn.Sequential(*layers)
        _init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised pictures to (B, 8 * width) pooled features."""
        return self.layers(x).mean((2, 3))


def _init_convolutions(module: nn.Module) -> None:
    """Kaiming-normal, fan-out convolutions, as torchvision's ResNet."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def _torchvision_resnet(name: str) -> Callable[..., nn.Module]:
    def build(zero_init_residual: bool = False) -> nn.Module:
        from torchvision.models import get_model  # seconds to import, and not needed at pocket scale

        model = get_model(name, weights=None, zero_init_residual=zero_init_residual)
        model.feature_width = model.fc.in_features
        model.fc = nn.Identity()
        return model

    return build


_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "resnet_small": ResNetSmall,
    **{name: _torchvision_resnet(name) for name in ("resnet18", "resnet34", "resnet50")},
}

"""A residual network for small pictures, with basic blocks (as ResNet-34) or bottleneck blocks (as ResNet-50)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, "Deep residual learning", figure 2)."""

    expansion: ClassVar[int] = 1

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(width_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in, H, W) to (B, width, H / stride, W / stride)."""
        y = torch.relu_(self.norm1(self.conv1(x)))
        return torch.relu_(self.norm2(self.conv2(y)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last four times as wide (He et al. 2016, figure 5)."""

    expansion: ClassVar[int] = 4

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(width * self.expansion)
        self.shortcut = _shortcut(width_in, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in, H, W) to (B, 4 * width, H / stride, W / stride)."""
        y = torch.relu_(self.norm1(self.conv1(x)))
        y = torch.relu_(self.norm2(self.conv2(y)))
        return torch.relu_(self.norm3(self.conv3(y)) + self.shortcut(x))


def _shortcut(width_in: int, width_out: int, stride: int) -> nn.Module:
    if stride == 1 and width_in == width_out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(width_in, width_out, 1, stride, bias=False), nn.BatchNorm2d(width_out))


class ResNetSmall(nn.Module):
    """A 3x3 stem, four stages of widths w, 2w, 4w, 8w, average pooling.

    Args:
        width: channels of the first stage; features are 8 * width wide, with bottlenecks 32 * width.
        blocks: blocks of each stage.
        stem_stride: 2 halves the resolution at once (four times fewer operations), 1 keeps it.
        bottleneck: bottleneck blocks instead of basic ones.
    """

    def __init__(
        self,
        width: int = 32,
        blocks: Sequence[int] = (1, 1, 1, 1),
        stem_stride: int = 2,
        bottleneck: bool = False,
    ) -> None:
        super().__init__()
        block_type = Bottleneck if bottleneck else BasicBlock
        stem = [nn.Conv2d(3, width, 3, stem_stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        layers: list[nn.Module] = [nn.Sequential(*stem)]
        wide = width
        for stage, count in enumerate(blocks):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(block_type(wide, width << stage, stride))
                wide = (width << stage) * block_type.expansion
        self.feature_width = wide
        self.layers = nn.Sequential(*layers)
        _init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised pictures to (B, feature_width) pooled features."""
        return self.layers(x).mean((2, 3))


def _init_convolutions(module: nn.Module) -> None:
    """Kaiming-normal, fan-out convolutions, as torchvision's ResNet."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

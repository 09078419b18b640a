"""CLIP's picture towers as OpenCLIP has them (Radford et al. 2021, "Learning Transferable Visual Models", section 2.4).

They end in a projection of their own: their features are the joint space with captions, so a framework's
`joint_width` is null with them. Defaults are the published sizes. OpenCLIP is imported when one is built.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from vlrepro.errors import UserError

HEAD = 64  # channels of an attention head, in every tower


def clip_resnet50(
    size: int = 224, width: int = 64, layers: Sequence[int] = (3, 4, 6, 3), joint_width: int = 1024
) -> nn.Module:
    """ResNet-50 with a stem of three convolutions, blurred strides and attention in the place of average pooling.

    Args:
        size: of pictures, in pixels; a multiple of 32.
        width: channels of the first stage; the last has 32 times as many.
        layers: blocks of the four stages.
        joint_width: of the features.

    Raises:
        ValueError: a size, width or number of stages that cannot be built.
        UserError: OpenCLIP is not installed.
    """
    if size % 32 or width % 2 or len(layers) != 4:
        raise ValueError(f"size {size} must be a multiple of 32, width {width} of 2, layers four numbers")
    _require_open_clip()
    from open_clip.modified_resnet import ModifiedResNet

    model = ModifiedResNet(list(layers), joint_width, 32 * width // HEAD, size, width)
    return _described(model, size, joint_width)


def clip_vit(patch: int, size: int = 224, width: int = 768, layers: int = 12, joint_width: int = 512) -> nn.Module:
    """A vision transformer with a norm before its layers; the class token's output is normed and projected.

    Args:
        patch: side of the squares that pictures are cut into, in pixels.
        size: of pictures, in pixels.
        width: of the layers, with a head for every 64 channels.
        layers: how many.
        joint_width: of the features.

    Raises:
        ValueError: a size or width that cannot be built.
        UserError: OpenCLIP is not installed.
    """
    if size % patch or width % HEAD:
        raise ValueError(f"size {size} must be a multiple of the patch {patch}, width {width} of {HEAD}")
    _require_open_clip()
    from open_clip.transformer import VisionTransformer

    model = VisionTransformer(size, patch, width, layers, width // HEAD, mlp_ratio=4.0, output_dim=joint_width)
    return _described(model, size, joint_width)


def _described(model: nn.Module, size: int, joint_width: int) -> nn.Module:
    model.feature_width, model.picture_size = joint_width, size
    return model


def _require_open_clip() -> None:
    try:
        import open_clip  # noqa: F401  (seconds to import, and only these towers and token ids need it)
    except ModuleNotFoundError as error:
        raise UserError(f"CLIP's towers need {error.name}: pip install open_clip_torch") from error

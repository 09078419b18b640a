"""Colour operations on batches of images, each image with its own strength.

Images are float32 (n, 3, height, width), red, green, blue, values in [0, 1]. A function whose name ends in an
underscore changes them in place. The definitions are those of torchvision's `adjust_*` functions on float
images, so that a strength means here what it means in the published recipes.
"""

from __future__ import annotations

import torch
from torch import Tensor

LUMA = (0.2989, 0.587, 0.114)  # ITU-R Recommendation BT.601, luma equation, to the digits that torchvision keeps


def jitter_colour(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Apply brightness, contrast, saturation and hue to every image, in that image's own order.

    `factors` (n, 4) float32 on the images' device holds one strength a column, in the order of `OPERATIONS`;
    `order` (n, 4) int64 on the CPU holds each image's permutation of the columns 0 to 3 ("A Simple Framework for
    Contrastive Learning of Visual Representations", appendix A: the four are applied in random order).
    """
    # At each of the four places images of one operation are made neighbours and changed as one slice in place: at most
    # 16 calls, where the 24 orders would need 96 on slices too small to be worth a call.
    work, current = images, torch.arange(len(order))
    for column in order.unbind(1):
        rows = column[current].argsort(stable=True)
        work, current = work.index_select(0, rows.to(images.device)), current[rows]
        sizes = column.bincount(minlength=len(OPERATIONS)).tolist()
        strengths = factors[current.to(factors.device)].split(sizes)
        parts = zip(OPERATIONS, work.split(sizes), strengths, strict=True)
        for number, (change, part, strength) in enumerate(parts):
            if len(part):
                change(part, strength[:, number])
    return work.index_select(0, current.argsort().to(images.device))


def brightness_(images: Tensor, factors: Tensor) -> None:
    """Multiply each image by its factor (n,), at least 0, and clamp to [0, 1]."""
    images.mul_(_per_image(factors)).clamp_(0, 1)


def contrast_(images: Tensor, factors: Tensor) -> None:
    """Blend each image with the mean of its luma by its factor (n,): 0 gives flat grey, 1 the image itself."""
    # The luma is linear, so its mean is the luma of the channel means: no grey image is made.
    mean = images.mean((2, 3)) @ images.new_tensor(LUMA)
    images.mul_(_per_image(factors)).add_(_per_image((1 - factors) * mean)).clamp_(0, 1)


def saturation_(images: Tensor, factors: Tensor) -> None:
    """Blend each image with its luma by its factor (n,): 0 gives a grey image, 1 the image itself."""
    # factor * x + (1 - factor) * luma(x) is a 3 x 3 matrix on the colours of a pixel.
    weights = factors.view(-1, 1, 1)
    matrices = weights * torch.eye(3, device=images.device) + (1 - weights) * images.new_tensor(LUMA)
    mixed = torch.bmm(matrices, images.flatten(2)).view_as(images)
    torch.clamp(mixed, 0, 1, out=images)


def hue_(images: Tensor, shifts: Tensor) -> None:
    """Turn each image's hue by its shift (n,), in turns of the colour circle, keeping value and saturation.

    With h the hue in sixths of a turn, each channel of the hexcone model ("Color gamut transform pairs", section
    on the HSV model) is a trapezium of h between min and max, placed at red, green or blue. So neither the
    saturation nor a sector index is needed, and the result equals the round trip through HSV.
    """
    red, green, blue = images.unbind(1)
    low = torch.minimum(red, green).minimum(blue)
    high = torch.maximum(red, green).maximum(blue)
    chroma = high - low
    hue = _hue(red, green, blue, high, chroma).add_(6 * shifts.view(-1, 1, 1)).remainder_(6)
    torch.addcmul(low, chroma, _ramp(hue, 3), out=red)
    torch.addcmul(high, chroma, _ramp(hue, 2), value=-1, out=green)
    torch.addcmul(high, chroma, _ramp(hue, 4), value=-1, out=blue)


def to_grey(images: Tensor) -> Tensor:
    """The images with each of their three channels replaced by the luma, as a view of one channel."""
    luma = torch.matmul(images.new_tensor(LUMA), images.flatten(2))
    return luma.unflatten(1, images.shape[2:]).unsqueeze(1).expand_as(images)


OPERATIONS = (brightness_, contrast_, saturation_, hue_)


def _hue(red: Tensor, green: Tensor, blue: Tensor, high: Tensor, chroma: Tensor) -> Tensor:
    """The hue of every pixel in sixths of a turn, in [-1, 5]; 0 where there is no colour."""
    # Masks as floats under `lerp`, which is exact at 0 and 1, are five times faster than `where` on a CPU.
    at_red = torch.eq(red, high, out=torch.empty_like(high))
    at_green = torch.eq(green, high, out=torch.empty_like(high))
    hue = (red - green).add_(chroma, alpha=4)
    hue.lerp_((blue - red).add_(chroma, alpha=2), at_green).lerp_(green - blue, at_red)
    return hue.div_(chroma.clamp_min(torch.finfo(chroma.dtype).tiny))


def _ramp(hue: Tensor, opposite: int) -> Tensor:
    """0 within a sixth of a turn of the hue `opposite`, 1 from two sixths on, linear between."""
    return (hue - opposite).abs_().sub_(1).clamp_(0, 1)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)

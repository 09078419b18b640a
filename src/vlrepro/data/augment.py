"""Batched image augmentation: one set of drawn parameters a sample, one pass over the whole batch.

What is drawn is separated from what is done. `Augment.draw` makes the parameters on the CPU from an explicit
generator, so they depend neither on the device nor on the number of threads; `Augment.apply` is a pure function
of images and parameters on any device. The transformations and their order are those of the published recipes
(random resized crop, colour jitter, grey, Gaussian blur, flip, normalisation), with torchvision's definitions on
float images. Unlike the published pipeline, which rounds the crop to 8 bits, values stay floats throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vlrepro.data.colour import jitter_colour, to_grey
from vlrepro.errors import UserError

REVISION = 1
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_TRIES = 10  # of a box before the central one is taken, as in torchvision's RandomResizedCrop
_ORDERS = torch.tensor(list(permutations(range(4))))


@dataclass(frozen=True)
class AugmentationOptions:
    """What to draw from; the probabilities are per sample. Raises `UserError` on values that mean nothing.

    `size` is the output's height and width in pixels; `scale` the least and greatest area of the box, as a share
    of the canvas; `ratio` its least and greatest width / height; `jitter` the strengths of brightness, contrast,
    saturation (a factor drawn from 1 - s to 1 + s, at least 0) and hue (a shift from -s to s turns); `blur_kernel`
    and `blur_sigma` are in pixels of the output.
    """

    size: int
    scale: tuple[float, float]
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_probability: float = 0.0
    grey_probability: float = 0.0
    blur_probability: float = 0.0
    blur_kernel: int = 1
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        least = 3 if self.blur_probability else 1  # a kernel of one pixel does nothing
        odd = self.blur_kernel % 2 == 1 and least <= self.blur_kernel < 2 * self.size
        b, c, s, h = self.jitter
        for name, fine, cure in (
            ("size", self.size >= 1, "give a positive number of pixels"),
            ("scale", 0 < self.scale[0] <= self.scale[1] <= 1, "give least and greatest area within (0, 1]"),
            ("ratio", 0 < self.ratio[0] <= self.ratio[1], "give least and greatest width / height, both positive"),
            ("flip", 0 <= self.flip <= 1, "give a probability from 0 to 1"),
            ("jitter", min(b, c, s, h) >= 0 and h <= 0.5, "give strengths of at least 0, the last at most 0.5"),
            ("jitter_probability", 0 <= self.jitter_probability <= 1, "give a probability from 0 to 1"),
            ("grey_probability", 0 <= self.grey_probability <= 1, "give a probability from 0 to 1"),
            ("blur_probability", 0 <= self.blur_probability <= 1, "give a probability from 0 to 1"),
            ("blur_kernel", odd, "give an odd number of pixels, at least 3 to blur, below twice `size`"),
            ("blur_sigma", 0 < self.blur_sigma[0] <= self.blur_sigma[1], "give least and greatest, both positive"),
            ("std", min(self.std) > 0, "give three positive numbers"),
        ):
            if not fine:
                raise UserError(f"augmentation option {name} = {getattr(self, name)}: {cure}")


class AugmentParameters(NamedTuple):
    """What was drawn for each of B samples, on the CPU."""

    boxes: Tensor  # (B, 4) int64: top, left, height, width in pixels of the canvas
    flip: Tensor  # (B,) bool
    jitter: Tensor  # (B,) bool: whether the colours change at all
    factors: Tensor  # (B, 4) float32: brightness, contrast, saturation factors and hue shift
    order: Tensor  # (B, 4) int64: the columns of `factors` in the order in which they are applied
    grey: Tensor  # (B,) bool
    sigma: Tensor  # (B,) float32: standard deviation of the blur in pixels of the output, 0 for none


class Augment:
    """Draws and applies the augmentation that `options` describe."""

    def __init__(self, options: AugmentationOptions) -> None:
        self.options = options

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draw parameters for uint8 images (B, 3, S, S) and apply them; see `draw` and `apply`."""
        return self.apply(images, self.draw(len(images), images.shape[-1], generator))

    def draw(self, batch: int, canvas: int | Tensor, generator: torch.Generator) -> AugmentParameters:
        """Draw parameters for `batch` images from a CPU generator: squares of `canvas` pixels, or of sizes (B, 2).

        Every decision has a column of its own in one table of uniform numbers, a row a sample. So the draw of
        sample i does not depend on the batch size, and changing one option moves no other option's draw.
        """
        options = self.options
        uniform = torch.rand(batch, 2 * _TRIES + 12, generator=generator, dtype=torch.float64)
        boxes = random_boxes(uniform[:, : 2 * _TRIES + 2], canvas, options.scale, options.ratio)
        flip, jitter, order, grey, blur, sigma = uniform[:, -10:-4].unbind(1)
        low, high = options.blur_sigma
        return AugmentParameters(
            boxes=boxes,
            flip=flip < options.flip,
            jitter=jitter < options.jitter_probability,
            factors=_strengths(uniform[:, -4:], options.jitter),
            order=_ORDERS[(order * len(_ORDERS)).long()],
            grey=grey < options.grey_probability,
            sigma=torch.where(blur < options.blur_probability, low + (high - low) * sigma, 0.0).float(),
        )

    def apply(self, images: Tensor, parameters: AugmentParameters) -> Tensor:
        """Crop, flip, jitter, grey, blur and normalise uint8 images (B, 3, S, S) to float32 (B, 3, T, T).

        Runs on the images' device, in float32 under any autocast (TF32 products, if switched on, leave 10 bits).
        The boxes must lie in the canvas: draw them with this `S`. Raises `ValueError` on images of another type or
        shape, or on parameters drawn for another number of images.
        """
        _check(images, len(parameters.boxes))
        with torch.autocast(images.device.type, enabled=False):  # the products move pixels: never in half precision
            return self._changed(crop(images, parameters.boxes, parameters.flip, self.options.size), parameters)

    def finish(self, crops: Tensor, parameters: AugmentParameters) -> Tensor:
        """What follows crop and flip in `apply`, for uint8 (B, 3, T, T) that are cropped and mirrored already: float32.

        Raises `ValueError` on images of another type or shape, or on parameters drawn for another number of images.
        """
        _check(crops, len(parameters.boxes))
        with torch.autocast(crops.device.type, enabled=False):
            return self._changed(crops / 255, parameters)

    @property
    def plain(self) -> bool:
        """Whether nothing but normalisation ever follows crop and flip."""
        options = self.options
        return not (options.jitter_probability or options.grey_probability or options.blur_probability)

    def _changed(self, output: Tensor, parameters: AugmentParameters) -> Tensor:
        options, device = self.options, output.device
        _, _, jitter, factors, order, grey, sigma = parameters
        _change(output, jitter, lambda part: jitter_colour(part, factors[jitter].to(device), order[jitter]))
        _change(output, grey, to_grey)
        blurred = sigma > 0
        _change(output, blurred, lambda part: gaussian_blur(part, sigma[blurred].to(device), options.blur_kernel))
        return _normalise_(output, options.mean, options.std)


def centre(images: Tensor, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """The evaluation transform: resize uint8 images (B, 3, S, S) to `size` pixels and normalise, in float32.

    Bicubic with antialiasing; what overshoots is clamped to [0, 1] first, as it is in any 8-bit pipeline. Raises
    `ValueError` on images of another type or shape.
    """
    _check(images, len(images))
    resized = functional.interpolate(images / 255, size=(size, size), mode="bicubic", antialias=True)
    return _normalise_(resized.clamp_(0, 1), mean, std)


def random_boxes(uniform: Tensor, canvas: int | Tensor, scale: Sequence[float], ratio: Sequence[float]) -> Tensor:
    """Boxes (B, 4) int64 of top, left, height, width by the law of torchvision's `RandomResizedCrop`.

    `uniform` (B, 2 n + 2) float64 in [0, 1) decides: n areas, n log-ratios, the vertical and the horizontal
    place. `canvas` is the pixels of a square, or heights and widths (B, 2). The first of the n boxes that fits is
    taken; if none does, the largest central box whose ratio is allowed.
    """
    sizes = (
        canvas.double() if isinstance(canvas, Tensor) else torch.full((len(uniform), 2), canvas, dtype=torch.float64)
    )
    tries = uniform.shape[1] // 2 - 1
    areas, ratios, place = uniform.split([tries, tries, 2], dim=1)
    areas = sizes.prod(1, keepdim=True) * (scale[0] + (scale[1] - scale[0]) * areas)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratios = torch.exp(low + (high - low) * ratios)
    sides = torch.stack(((areas / ratios).sqrt(), (areas * ratios).sqrt()), dim=2).round()
    fits = ((sides >= 1) & (sides <= sizes.unsqueeze(1))).all(2)
    chosen = sides[torch.arange(len(sides)), fits.byte().argmax(1)]
    height, width = sizes.unbind(1)
    central = torch.stack(
        (torch.minimum(height, (width / ratio[0]).round()), torch.minimum(width, (height * ratio[1]).round())), 1
    )
    found = fits.any(1, keepdim=True)
    sides = torch.where(found, chosen, central.clamp_min(1))
    corner = torch.where(found, (place * (sizes - sides + 1)).floor(), (sizes - sides).div(2).floor())
    return torch.cat((corner, sides), dim=1).long()


def crop(images: Tensor, boxes: Tensor, flip: Tensor, size: int) -> Tensor:
    """Cut each image's box out, resize it to `size` pixels and mirror it where `flip` says so.

    uint8 images (B, 3, S, S) become float32 (B, 3, size, size) in [0, 1]. Bilinear with antialiasing is a linear
    map along each axis, so a crop is two products with per-sample matrices, and the flip reverses one of them.
    The matrices are dense: that is fast for small images and on a GPU; at 224 pixels on a CPU a sparse resize of
    one image after another is faster.
    """
    boxes, flip = boxes.to(images.device), flip.to(images.device)
    canvas = images.shape[-1]
    rows = resampling_weights(boxes[:, 0], boxes[:, 2], torch.zeros_like(flip), size, canvas)
    columns = resampling_weights(boxes[:, 1], boxes[:, 3], flip, size, canvas).div_(255)
    narrow = torch.bmm(images.float().flatten(1, 2), columns.mT).unflatten(1, (3, canvas))
    return rows.unsqueeze(1) @ narrow


def resampling_weights(start: Tensor, length: Tensor, reverse: Tensor, size: int, canvas: int) -> Tensor:
    """Weights (B, size, canvas) that resample pixels start .. start + length - 1 of a line to `size` pixels.

    Linear interpolation, antialiased as in Pillow and torchvision: the triangle filter is as wide as one output
    pixel when the line shrinks, is centred on the output pixel's centre in input pixels, reads nothing outside
    the interval, and is scaled to sum 1. `start` and `length` (B,) are in pixels, `reverse` (B,) bool mirrors.
    """
    step = (length / size).view(-1, 1, 1)
    target = torch.arange(size, device=start.device).expand(len(start), size)
    target = torch.where(reverse.unsqueeze(1), size - 1 - target, target).unsqueeze(2)
    source = torch.arange(canvas, device=start.device) - start.view(-1, 1, 1)
    distance = (source + 0.5 - (target + 0.5) * step).abs_()
    weights = distance.div_(step.clamp_min(1)).neg_().add_(1).clamp_min_(0)
    weights *= (source >= 0) & (source < length.view(-1, 1, 1))
    return weights.div_(weights.sum(2, keepdim=True))


def gaussian_blur(images: Tensor, sigma: Tensor, kernel: int) -> Tensor:
    """Blur float images (n, 3, T, T) with a Gaussian of its own `sigma` (n,) each, cut to `kernel` pixels.

    The edges are reflected without repeating the border pixel, so `kernel` must be odd and below 2 T. Reflection
    and convolution together are a linear map along each axis: two products with per-sample matrices.
    """
    size, radius = images.shape[-1], kernel // 2
    taps = torch.arange(-radius, radius + 1, device=images.device)
    strengths = torch.softmax(-((taps / sigma.unsqueeze(1)) ** 2) / 2, dim=1)
    pixels = torch.arange(size, device=images.device)
    source = (taps.unsqueeze(1) + pixels).abs_()
    source = torch.where(source < size, source, 2 * (size - 1) - source)
    reached = (source.unsqueeze(2) == pixels).to(images.dtype)  # (kernel, output, input)
    matrices = (strengths @ reached.flatten(1)).unflatten(1, (size, size))
    blurred = torch.bmm(images.flatten(1, 2), matrices.mT).view_as(images)
    return matrices.unsqueeze(1) @ blurred


def _strengths(uniform: Tensor, jitter: Sequence[float]) -> Tensor:
    """Factors (B, 4) float32 of brightness, contrast, saturation and the hue shift from `uniform` (B, 4)."""
    strength = torch.tensor(jitter, dtype=uniform.dtype)
    middle = torch.tensor([1, 1, 1, 0], dtype=uniform.dtype)
    low = torch.cat(((1 - strength[:3]).clamp_min(0), -strength[3:]))
    return (low + (middle + strength - low) * uniform).float()


def _change(images: Tensor, chosen: Tensor, function: Callable[[Tensor], Tensor]) -> None:
    """Replace the images under the CPU mask `chosen` (B,) by what `function` makes of them."""
    rows = chosen.nonzero().squeeze(1).to(images.device)
    if len(rows):
        images.index_copy_(0, rows, function(images.index_select(0, rows)))


def _check(images: Tensor, batch: int) -> None:
    shape = tuple(images.shape)
    if images.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        raise ValueError(f"images are {images.dtype} {shape}, not uint8 (B, 3, S, S)")
    if shape[0] != batch:
        raise ValueError(f"{shape[0]} images, but parameters for {batch}")


def _normalise_(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Subtract the mean and divide by the standard deviation of each channel, in place."""
    return images.sub_(images.new_tensor(mean).view(3, 1, 1)).div_(images.new_tensor(std).view(3, 1, 1))

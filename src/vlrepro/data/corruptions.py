"""Corrupted pictures: four kinds of damage, a fixed one for each picture.

Gaussian noise, Gaussian blur, loss of contrast and pixelation of Hendrycks and Dietterich 2019, "Benchmarking Neural
Network Robustness to Common Corruptions and Perturbations" (ICLR), section 3, at the five severities of its code
(github.com/hendrycks/robustness). Lengths that are given there for 224 pixels scale with the canvas; noise, which is
drawn for each pixel, does not; the mildest blur of 48 pixels is none. Unlike there, a picture gets one kind only, and
is not compressed afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from vlrepro.data.augment import gaussian_blur
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.randomness import torch_generator

REVISION = 1

# What each kind is at severities 1 to 5.
KINDS: dict[str, tuple[float, ...]] = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),  # standard deviation, as a share of the range of values
    "gaussian_blur": (1, 2, 3, 4, 6),  # standard deviation in pixels of a canvas of 224
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),  # what is left of a value's distance from its channel's mean
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),  # the pixels that are left along a side, as a share
}
_CANVAS = 224


class CorruptedPictures(Pictures):
    """The pictures of a pack, corrupted by their positions in the index; to be read like any `Pictures`."""

    def __init__(self, pack: Pack, canvas: int, seed: int, severity: int, **options: int) -> None:
        """`seed` and `severity` as in `corrupt`, all others as in `Pictures`."""
        super().__init__(pack, canvas, **options)
        self.seed = seed
        self.severity = severity

    def batch(self, positions: Sequence[int] | Tensor) -> Tensor:
        """Corrupted pictures at `positions`, (B, 3, canvas, canvas) uint8; raises as `Pictures` and `corrupt` do."""
        return corrupt(super().batch(positions), self.seed, self.severity, positions)


def corrupt(pictures: Tensor, seed: int, severity: int, positions: Sequence[int] | Tensor | None = None) -> Tensor:
    """Corrupt uint8 pictures (n, 3, S, S) on the CPU; the same type and shape.

    The kinds of `KINDS` take turns along the positions. A picture's result depends on itself, its position, the seed
    and the severity only, whatever batch it comes in.

    Args:
        pictures: as of `Pictures.batch`; they stay as they are.
        seed: of the noise.
        severity: 1 to 5.
        positions: (n,) of the pictures in their pack; 0 to n - 1 unless given.

    Raises:
        UserError: another severity.
        ValueError: pictures of another type or shape, or another number of positions.
    """
    if severity not in range(1, 6):
        raise UserError(f"corrupted pictures: severity {severity}: give 1, 2, 3, 4 or 5")
    places = torch.arange(len(pictures)) if positions is None else torch.as_tensor(positions)
    _check(pictures, places)
    output = pictures.clone()
    for number, (kind, levels) in enumerate(KINDS.items()):
        rows = (places % len(KINDS) == number).nonzero().squeeze(1)
        if len(rows):
            # Doubles: batches of other sizes may round otherwise, and that must not reach a grey level.
            changed = _changed(kind, pictures[rows].double(), levels[severity - 1], places[rows], seed)
            output[rows] = changed.round_().clamp_(0, 255).to(torch.uint8)
    return output


def _changed(kind: str, pictures: Tensor, level: float, places: Tensor, seed: int) -> Tensor:
    """Pictures (m, 3, S, S) of grey levels 0 to 255, in float64, corrupted by one kind; neither rounded nor cut."""
    match kind:
        case "gaussian_noise":
            return pictures + 255 * level * _noise(pictures.shape[1:], places, seed)
        case "gaussian_blur":
            return _blurred(pictures, level * pictures.shape[-1] / _CANVAS)
        case "contrast":
            means = pictures.mean((2, 3), keepdim=True)
            return (pictures - means) * level + means
        case _:
            return _pixelated(pictures, max(1, int(pictures.shape[-1] * level)))


def _noise(shape: Sequence[int], places: Tensor, seed: int) -> Tensor:
    """Standard normal numbers (m, *shape), float64, by the seed and each picture's place."""
    drawn = [torch.randn(*shape, generator=torch_generator(seed, "corruption", place)) for place in places.tolist()]
    return torch.stack(drawn).double()


def _blurred(pictures: Tensor, sigma: float) -> Tensor:
    """Blur by a Gaussian of `sigma` pixels, cut off at 4 sigma and where the canvas ends; edges are reflected."""
    radius = min(math.ceil(4 * sigma), pictures.shape[-1] - 1)
    return gaussian_blur(pictures, pictures.new_full((len(pictures),), sigma), 2 * radius + 1)


def _pixelated(pictures: Tensor, kept: int) -> Tensor:
    """Cut each side into `kept` cells, which need not hold as many pixels each, and fill each cell with its mean."""
    side = pictures.shape[-1]
    cells = (2 * torch.arange(side) + 1) * kept // (2 * side)  # where the pixels' centres lie
    member = one_hot(cells, kept).to(pictures)
    counts = member.sum(0)
    means = (member.T @ pictures @ member) / counts.outer(counts)
    return means[..., cells, :][..., cells]


def _check(pictures: Tensor, places: Tensor) -> None:
    shape = tuple(pictures.shape)
    if pictures.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        raise ValueError(f"pictures are {pictures.dtype} {shape}, not uint8 (n, 3, S, S)")
    if places.shape != shape[:1]:
        raise ValueError(f"{shape[0]} pictures, but positions {tuple(places.shape)}")

"""Maps that look at no model, and the best that a coarse map can do.

Objects tend to be large and centred, so a map that sees no picture at all scores well: no saliency score means anything
without these beside it. What is fitted is fitted on training masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, gaussian_filter

from vlrepro.errors import UserError
from vlrepro.randomness import numpy_generator
from vlrepro.saliency.canvas import IGNORE, OBJECT, Array, Maps, Masks, check
from vlrepro.saliency.overlap import count, mean_iou
from vlrepro.saliency.resizing import cell_sums, upsampled
from vlrepro.saliency.thresholds import MEAN, Threshold, best_threshold, binarise

SIGMAS = tuple(round(0.05 * step, 2) for step in range(1, 13))
"""Widths that `tuned_gaussian` tries, as shares of the side."""
CELLS = 7
"""Cells of the grid, both ways, that a ResNet's last stage has at 224 pixels."""


@dataclass(frozen=True)
class Baseline:
    """One map for all images, (H, W), and the threshold that goes with it."""

    map: Array
    threshold: Threshold

    def maps(self, n: int) -> Maps:
        """The map for each of `n` images, (n, H, W), without copies."""
        return np.broadcast_to(self.map, (n, *self.map.shape))


def all_object(shape: tuple[int, int]) -> Baseline:
    """Every pixel (H, W) is object. Its map is constant, so scores without a threshold are at chance."""
    return Baseline(np.ones(shape), Threshold("value", 0.5))


def all_background(shape: tuple[int, int]) -> Baseline:
    """No pixel (H, W) is object. Its map is constant, so scores without a threshold are at chance."""
    return Baseline(np.zeros(shape), Threshold("value", 0.5))


def noise(keys: Sequence[str], shape: tuple[int, int], seed: int = 0, cells: int | None = None) -> Array:
    """Uniform random maps (n, H, W), one for each picture key, or random `cells` x `cells` grids enlarged to it.

    The coarse ones are as smooth as class activation maps. A picture's noise depends on its key, not on the others.
    """
    drawn = (cells, cells) if cells else shape
    maps = np.stack([numpy_generator("saliency", "noise", seed, key).random(drawn) for key in keys])
    return upsampled(maps, shape) if cells else maps


def centred_gaussian(shape: tuple[int, int], sigma: float) -> Array:
    """A Gaussian (H, W) around the centre, 1 at its top; `sigma` is a share of each side.

    All widths rank the pixels of a canvas alike: threshold-free scores by order do not depend on `sigma`.
    """
    height, width = shape
    # In whole numbers, so that pixels at the same distance get the same value at every width.
    y, x = (2 * np.arange(height)[:, None] + 1 - height) * width, (2 * np.arange(width) + 1 - width) * height
    return np.exp(-((y**2 + x**2) / (2 * height * width) ** 2) / (2 * sigma**2))


def tuned_gaussian(masks: Masks, sigmas: Sequence[float] = SIGMAS) -> tuple[Baseline, float]:
    """The centred Gaussian for training masks (n, H, W), with its level threshold, and its `sigma`.

    `sigma` is the one with the best mean IoU over the set when binarised at the map's mean, as maps of models are;
    then the threshold is the best for that map. Raises `UserError` as `vlrepro.saliency.canvas.check` does.
    """
    check(np.broadcast_to(np.float32(0), masks.shape), masks)
    found = []
    for sigma in sigmas:
        maps = np.broadcast_to(centred_gaussian(masks.shape[1:], sigma), masks.shape)
        found.append(mean_iou(count(binarise(maps, masks, MEAN), masks)).value)
    sigma = sigmas[int(np.argmax(found))]
    return _tuned(centred_gaussian(masks.shape[1:], sigma), masks), sigma


def mean_mask(masks: Masks) -> Baseline:
    """How often each pixel is object in training masks (n, H, W), with its best level threshold on them.

    A pixel that all masks ignore gets the object's share of the set.
    Raises `UserError` as `vlrepro.saliency.canvas.check` does.
    """
    check(np.broadcast_to(np.float32(0), masks.shape), masks)
    found, valid = (masks == OBJECT).sum(axis=0), (masks != IGNORE).sum(axis=0)
    share = found.sum() / valid.sum()
    return _tuned(np.where(valid > 0, found / np.maximum(valid, 1), share), masks)


def _tuned(one: Array, masks: Masks) -> Baseline:
    return Baseline(one, best_threshold(np.broadcast_to(one, masks.shape), masks))


def edges(pictures: NDArray[np.uint8], blur: float = 0.0) -> Array:
    """The gradient magnitude of pictures (n, C, H, W): (n, H, W), over all channels together (Sobel's kernels).

    It sees the picture and no model: the anchor of Adebayo et al., "Sanity Checks for Saliency Maps" (NeurIPS 2018).
    `blur` is the standard deviation in pixels of a Gaussian over the result, which fills outlines.
    Raises `UserError` where the pictures have another shape.
    """
    if pictures.ndim != 4:
        raise UserError(f"pictures of shape {pictures.shape}: pass (n, channels, H, W)")
    values = pictures.astype(np.float64)
    squares = 0
    for along, across in ((2, 3), (3, 2)):  # scipy's `sobel` would smooth over channels and pictures too
        slopes = correlate1d(values, [-1, 0, 1], axis=along, mode="nearest")
        squares = squares + correlate1d(slopes, [1, 2, 1], axis=across, mode="nearest") ** 2
    magnitude = np.sqrt(squares.sum(axis=1))
    return gaussian_filter(magnitude, (0, blur, blur), mode="nearest") if blur else magnitude


def ceiling(masks: Masks, cells: int = CELLS) -> Array:
    """The truth as a coarse map shows it: the object's share of each cell of masks (n, H, W), enlarged to (n, H, W).

    Class activation maps have `cells` x `cells` values, so this is about as well as one can do; about, because another
    threshold or sharper values may do a little better. Ignored pixels are in no cell's share.
    """
    found, valid = (cell_sums(flags, cells) for flags in (masks == OBJECT, masks != IGNORE))
    return upsampled(np.where(valid > 0, found / np.where(valid > 0, valid, 1), 0), masks.shape[1:])

"""Resizing maps: bilinear from a coarse grid, and averages over the cells of one.

Both are products with one small matrix an axis.
"""

from __future__ import annotations

import numpy as np

from vlrepro.saliency.canvas import Array, Maps


def upsampled(maps: Maps, shape: tuple[int, int]) -> Array:
    """Maps (n, h, w) enlarged bilinearly to (n, H, W), cell centres on cell centres, edges held.

    The same as `torch.nn.functional.interpolate` with `align_corners=False`, which class activation maps go through.
    """
    down, across = (_bilinear(size, wanted) for size, wanted in zip(maps.shape[1:], shape, strict=True))
    return down @ maps.astype(np.float64) @ across.T


def cell_sums(maps: Maps, cells: int) -> Array:
    """Sums of maps (n, H, W) over the cells of a grid, (n, cells, cells), in pixels.

    A pixel that a cell's border cuts counts by its area on each side.
    """
    down, across = (_overlap(size, cells) for size in maps.shape[1:])
    return down @ maps.astype(np.float64) @ across.T


def _bilinear(size: int, wanted: int) -> Array:
    """(wanted, size): the weights of `size` points at `wanted` points, along one axis."""
    places = np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, size - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(size)))


def _overlap(size: int, cells: int) -> Array:
    """(cells, size): how much of each pixel lies in each cell, along one axis."""
    starts = np.arange(cells)[:, None] * size / cells
    pixels = np.arange(size)
    shared = np.minimum(starts + size / cells, pixels + 1) - np.maximum(starts, pixels)
    return np.maximum(0, shared)

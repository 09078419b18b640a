"""Scaling down, several times as fast as Pillow's and as close to a Lanczos filter. `docs/packs.md` has the numbers.

Changes of what comes out raise the REVISION of `pictures`.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

cv2.setNumThreads(1)  # each worker has a core; a thread's stack would count towards its memory limit


def scaled_down(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`pixels` (height, width, 3) uint8 as (size[1], size[0], 3) uint8; `size` is (width, height), no side larger.

    Cubic interpolation alone would skip pixels, which shows as jagged edges. So it goes to a whole multiple of `size`
    that has no fewer pixels than the picture, and each block of that is averaged: a box filter over all of them.
    """
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    times = max(2, math.ceil(max(width / size[0], height / size[1]) - 0.01))  # sides are rounded: 2.001 is 2
    fine = cv2.resize(pixels, (times * size[0], times * size[1]), interpolation=cv2.INTER_CUBIC)
    return cv2.resize(fine, size, interpolation=cv2.INTER_AREA)

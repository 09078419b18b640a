"""Inner products of rows of unit length that no order of sums changes, and how far float32 products are from them.

Each number of a row is rounded to a multiple of 2^-26. Products of two are then multiples of 2^-52, and for rows of
unit length so is every partial sum, below 2: float64 holds them all, and adds them without rounding in any order. The
rounding moves a product by about 1e-8, less than a float32 product of rows does. So exact products are the same in
blocks of any size, on any number of threads and on any device.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GRID = float(1 << 26)
_ROUNDING = 2.0**-24  # float32's unit roundoff


def on_grid(rows: Tensor) -> Tensor:
    """Rows with each number rounded to a multiple of 2^-26, float64; their products in any order are exact."""
    return rows.double().mul(_GRID).round_().div_(_GRID)


def exact_products(left: Tensor, right: Tensor) -> Tensor:
    """Exact inner products of rows (p, d) with rows (p, d): (p,) float64."""
    left, right = ((rows.double() * _GRID).round_() for rows in (left, right))
    return torch.einsum("pd,pd->p", left, right) / _GRID**2  # whole numbers until here, below 2^53


def error_bound(width: int) -> float:
    """How far a float32 product of rows of `width` numbers can be from the exact one, whatever its order of sums.

    With u float32's roundoff: width * u for the sums and products (Higham 2002, "Accuracy and Stability of Numerical
    Algorithms", section 3.1), sqrt(width) * u / 4 for the grid, and a few u for rounding rows and thresholds to float32
    and lengths that are not quite 1. A product that is allowed fewer bits is not trusted at all.
    """
    if torch.get_float32_matmul_precision() != "highest":
        return 4.0
    return (width + width**0.5 + 16) * _ROUNDING

"""Numbers as a paper prints them: 39.90 is not 39.9 to whoever asks how far it was rounded.

Imported while Snakemake parses, so nothing heavy.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import PlainValidator

_DECIMAL = re.compile(r"[+-]?\d+\.\d+")


class PrintedNumber(float):
    """A float that is shown with the digits it was written with."""

    text: str

    def __new__(cls, text: str | float) -> PrintedNumber:
        """`text` as it is printed; a float is printed with the fewest digits that are it."""
        number = super().__new__(cls, text)
        number.text = str(text)
        return number

    def __str__(self) -> str:
        return self.text

    def __format__(self, spec: str) -> str:
        return format(float(self), spec) if spec else self.text


def as_written(text: str) -> PrintedNumber | None:
    """The number that `text` is, with its digits; None where it is no plain decimal, such as `.inf` or `1e3`."""
    return PrintedNumber(text) if _DECIMAL.fullmatch(text) else None


def decimals(value: float) -> int:
    """Decimals that a printed number has: 26 has none, 26.0 has one."""
    return max(0, -int(Decimal(str(value)).as_tuple().exponent))


def half_unit(value: float) -> float:
    """Half a unit of a printed number's last digit, which is how far rounding can have moved it."""
    return 0.5 * 10 ** -decimals(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("Input should be a valid number")
    return value


Printed = Annotated[float, PlainValidator(_number)]
"""A field that keeps a number as it was written (pydantic's own floats lose the digits)."""

"""Statements that code can check without a run: sizes of networks, what a paper's tables leave out.

Each check takes the study and the arguments that the study file gives, and returns what it found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlrepro.errors import UserError
from vlrepro.tables.claims import FactName
from vlrepro.tables.study import PaperTable, Study

_STAGES = {"resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
_WIDTHS = (64, 128, 256, 512)


@dataclass(frozen=True)
class Fact:
    """Whether a statement holds, what was found, and whether it is about what the paper prints."""

    holds: bool
    reason: str
    printed: bool = False


def check_fact(study: Study, name: FactName, arguments: Mapping[str, Any]) -> Fact:
    """Check the fact `name`.

    Raises `UserError` where the study file gives arguments that the check does not take.
    """
    try:
        return _FACTS[name](study, **arguments)
    except (TypeError, KeyError) as error:
        raise UserError(f"{study.slug}: fact {name}: {error}: mend the claim's arguments") from error


def resnet_parameters(network: str, classes: int = 0) -> int:
    """Parameters of a ResNet for ImageNet, with a classifier of `classes` or without one.

    He et al. 2016, "Deep residual learning for image recognition", table 1: a 7x7 stem of 64, then four stages of
    basic blocks (ResNet-34) or bottlenecks (ResNet-50), a batch norm (two numbers a channel) after every
    convolution, and a projected shortcut where the width or the stride changes.
    """
    count, width_in = _convolution(3, 64, 7), 64
    for width, blocks in zip(_WIDTHS, _STAGES[network], strict=True):
        for block in range(blocks):
            width_out = width * _expansion(network)
            if network == "resnet34":
                count += _convolution(width_in, width, 3) + _convolution(width, width, 3)
            else:
                count += _convolution(width_in, width, 1) + _convolution(width, width, 3)
                count += _convolution(width, width_out, 1)
            if block == 0 and width_in != width_out:
                count += _convolution(width_in, width_out, 1)
            width_in = width_out
    return count + (width_in + 1) * classes


def _expansion(network: str) -> int:
    return 4 if network == "resnet50" else 1


def _convolution(width_in: int, width_out: int, side: int) -> int:
    """A convolution without bias and the batch norm after it."""
    return width_in * width_out * side * side + 2 * width_out


def _parameters(study: Study, stated: Mapping[str, float], units: Mapping[str, float]) -> Fact:
    """Stated millions, with a classifier of ImageNet's 1,000 classes, are true to `units` of their last digit."""
    counts = {name: resnet_parameters(name, 1000) for name in stated}
    holds = all(abs(counts[name] / 1e6 - value) < units[name] for name, value in stated.items())
    words = [
        f"{name} has {counts[name]:,} parameters with a classifier of 1,000 classes and {resnet_parameters(name):,}"
        f" without ({value} million stated)"
        for name, value in stated.items()
    ]
    return Fact(holds, f"{'; '.join(words)}.")


def _width(study: Study, stated: Mapping[str, int]) -> Fact:
    widths = {name: _WIDTHS[-1] * _expansion(name) for name in stated}
    words = [f"{name} has {widths[name]:,} features ({value:,} stated)" for name, value in stated.items()]
    return Fact(widths == dict(stated), f"{'; '.join(words)}.")


def _unaccounted(study: Study, original: Sequence[str], excepted: Sequence[str]) -> Fact:
    """Every data set of the original is a column of the printed tables or named as an exception."""
    printed = {column.title for table in printed_tables(study) for column in table.data_sets()}
    left = [name for name in original if name not in printed and name not in excepted]
    words = f"not a column and not named: {', '.join(left)}" if left else "all others are columns"
    return Fact(not left, f"Of {len(original)} data sets, {len(excepted)} are named as exceptions; {words}.", True)


def _blank_rows(study: Study, rows: Sequence[str]) -> Fact:
    """Each of `rows` (ids) has a number in every printed table."""
    blank = [
        f"{table.row(name).full_label()} in table {table.number}"
        for table in printed_tables(study)
        for name in rows
        if not table.reported(name)
    ]
    return Fact(not blank, f"Without a number: {', '.join(blank)}." if blank else "All have numbers.", True)


def _links_left(study: Study, rows: int, stated_rows: int, dead: float, used: int) -> Fact:
    """Of `rows` links, or as many as the text states, enough are left for the `used` pictures if `dead` bring none."""
    left = [round(count * (1 - dead)) for count in (rows, stated_rows)]
    words = (
        f"Of {rows:,} rows {left[0]:,} are left, of the stated {stated_rows:,} {left[1]:,}; {used:,} pictures are used."
    )
    return Fact(max(left) >= used, words, True)


def printed_tables(study: Study) -> list[PaperTable]:
    """The tables that the paper prints."""
    return [table for table in study.tables if table.printed]


_FACTS: dict[FactName, Callable[..., Fact]] = {
    "resnet_parameters": _parameters,
    "resnet_width": _width,
    "unaccounted_sets": _unaccounted,
    "blank_rows": _blank_rows,
    "links_left": _links_left,
}

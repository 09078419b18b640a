"""Pre-training frameworks, one file each, all with the same shape.

A framework's file holds

    REVISION    raised whenever its results change; part of every recipe's digest
    VIEWS       how many views of each picture it takes
    TEXTS       whether it also takes the pictures' captions
    LABELS      whether it also takes their class numbers; its Options then have `classes`, how many there are
    CONCEPTS    whether it also takes what a teacher sees in them; may be left out where it does not. Its Options then
                have `objects` and `attributes`, how many words of each there are
    Options     a frozen dataclass of its settings, the papers' values as defaults
    Framework   an `nn.Module`: `Framework(backbone, options)`; `forward(batch)` returns a `Step`

so adding one is adding a file here and a block in the config. Language guidance is no framework of its own:
it is where the second view comes from (a neighbour by caption), and the recipe's `pairs` says so. Whatever a
framework carries from step to step (queues, prototypes) is a parameter or a persistent buffer, and what depends
on time depends on `Batch.step` alone, so its state dict is all that resuming needs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from types import ModuleType
from typing import Any, NamedTuple

from torch import Tensor, nn

from vlrepro.errors import UserError


class Concepts(NamedTuple):
    """Soft targets of B pictures: the k likeliest objects and attributes, and how likely each is.

    `objects`, `attributes`: (B, k) int64 places in their vocabularies; `object_weights`, `attribute_weights`: (B, k)
    floats that sum to 1 in each row.
    """

    objects: Tensor
    object_weights: Tensor
    attributes: Tensor
    attribute_weights: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Concepts:
        """These targets with each tensor changed: rows chosen, or moved to a device."""
        return Concepts(*map(change, self))


class Batch(NamedTuple):
    """What one step trains on.

    `views`: each (B, 3, S, S) normalised floats; view 0 is of the picture, view 1 of its neighbour or of itself,
    the others of the picture. `texts`: the captions of the pictures as (B, d) sentence embeddings or (B, L) token
    ids, or None. `step`: the optimiser step, from 0. `labels`: (B,) int64 class numbers of the pictures, or None.
    `seed`: the run's, for what a framework draws by lot: for the joint batch of all ranks, by (seed, step).
    `concepts`: what a teacher sees in the pictures, or None.
    """

    views: tuple[Tensor, ...]
    texts: Tensor | None
    step: int
    labels: Tensor | None = None
    seed: int = 0
    concepts: Concepts | None = None


class Step(NamedTuple):
    """What one forward pass of a framework gives: the loss to minimise and figures for the log."""

    loss: Tensor
    logs: dict[str, float]


def framework_module(name: str) -> ModuleType:
    """The module of framework `name`. Raises `UserError` where there is none."""
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise UserError(f"framework {name!r} has no file in vlrepro/frameworks: mend the recipe") from error


def build_framework(name: str, backbone: nn.Module, options: dict[str, Any]) -> nn.Module:
    """Build `frameworks/<name>.py`'s Framework on `backbone`.

    Raises `UserError` for an unknown framework, an option it does not have or one that it cannot do without.
    """
    module = framework_module(name)
    known = {field.name: field for field in fields(module.Options)}
    if unknown := sorted(set(options) - set(known)):
        raise UserError(f"framework {name!r} has no option {unknown[0]!r}: it has {', '.join(sorted(known)) or 'none'}")
    if missing := [option for option, field in known.items() if option not in options and _required(field)]:
        raise UserError(f"framework {name!r} needs the option {missing[0]!r}: give it in the recipe's options")
    return module.Framework(backbone, module.Options(**options))


def _required(field: Field) -> bool:
    """Whether an option has no default: it depends on the data."""
    return field.default is MISSING and field.default_factory is MISSING

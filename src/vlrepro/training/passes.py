"""How a batch goes through a model and its gradients come back: whole or in parts, in full or mixed precision.

Frameworks that part `encode` (towers to unit rows) from `contrast` (rows to a loss) can do both. Towers then compute
under autocast; rows are widened to float32 first, so similarities and losses never lose digits: at a scale of 100
bfloat16 would round them to halves.

With `accumulate` n a batch is cut into n equal parts that pass the towers one after another, so that memory holds the
activations of one (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
section 3.2): all parts are encoded without gradients; the joined rows are contrasted once, which gives the loss, the
log and the gradients of the rows; each part is then encoded again and its rows' gradients sent back. Loss and
gradients are those of the whole batch. Not so with BatchNorm, whose batch statistics are of a part (of all
processes); its running statistics move once for each part, not again when it is encoded the second time.

With several processes gradients are averaged while backward runs. In parts they are after the last one: the first
parts' gradients are not yet the batch's, so little could be sent ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vlrepro.distributed import average_gradients, data_parallel, world_size
from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, Concepts, Step


class Forward(NamedTuple):
    """A step's loss and log, and what puts the parameters' gradients in their place (added to those there)."""

    result: Step
    backward: Callable[[], None]


class Passes:
    """Forward and backward of a recipe's model on all processes, and the optimiser's step after them.

    The recipe's `precision` (float32, bfloat16 or float16, the last with a loss scale that adapts) and `accumulate`
    (parts, 1 or more) say how. `scaler` holds the loss scale, a part of the training's state.

    Raises:
        UserError: the framework does not part encoding from contrast and the recipe needs it; or the rows of a process
            cannot be cut into so many parts, or not without parts of one row that BatchNorm cannot take.
    """

    def __init__(self, model: nn.Module, recipe: Mapping[str, Any], device: torch.device, name: str) -> None:
        self.model = model
        self.parts = recipe.get("accumulate", 1)
        precision = recipe.get("precision", "float32")
        self.dtype = getattr(torch, precision)
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
        if (self.parts > 1 or precision != "float32") and not hasattr(model, "encode"):
            raise UserError(
                f"{name}: framework {recipe['framework']!r} does not part encoding from contrast: "
                "leave its accumulate at 1 and its precision at float32"
            )
        if recipe["steps"]:
            _check_parts(model, recipe["batch_size"], self.parts, name)
        whole = _Whole(model, device, self.dtype)
        self.encode = whole.encode
        self.whole = data_parallel(whole) if self.parts == 1 and recipe["steps"] else whole

    def forward(self, batch: Batch) -> Forward:
        """This process's rows to the loss; call `backward` before the next forward."""
        if self.parts > 1:
            return self._in_parts(batch)
        result = self.whole(batch)
        return Forward(result, lambda: self.scaler.scale(result.loss).backward())

    def update(self, optimiser: torch.optim.Optimizer) -> None:
        """The optimiser's step, left out where a scaled gradient overflowed (float16: the scale is then halved)."""
        self.scaler.unscale_(optimiser)
        self.scaler.step(optimiser)
        self.scaler.update()

    def _in_parts(self, batch: Batch) -> Forward:
        parts = _cut(batch, self.parts)
        with torch.no_grad():
            encoded = [self.encode(part) for part in parts]
        joined = tuple(torch.cat(rows).requires_grad_() for rows in zip(*encoded, strict=True))
        result = self.model.contrast(joined, batch)

        def backward() -> None:
            self.scaler.scale(result.loss).backward()
            gradients = zip(*(rows.grad.chunk(self.parts) for rows in joined), strict=True)
            with _running_statistics_kept(self.model):
                for part, wanted in zip(parts, gradients, strict=True):
                    pairs = [pair for pair in zip(self.encode(part), wanted, strict=True) if pair[0].requires_grad]
                    torch.autograd.backward(*zip(*pairs, strict=True))
            average_gradients(self.model)

        return Forward(result, backward)


class _Whole(nn.Module):
    """A whole batch through `model` in one forward, its towers in `dtype`; `model` keeps its parameters' names."""

    def __init__(self, model: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.device = device
        self.dtype = dtype

    def forward(self, batch: Batch) -> Step:
        """This process's rows to the loss."""
        return self.model(batch) if self.dtype == torch.float32 else self.model.contrast(self.encode(batch), batch)

    def encode(self, batch: Batch) -> tuple[Tensor, ...]:
        """Rows of the towers, float32 or wider."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            rows = self.model.encode(batch)
        return tuple(row.to(torch.promote_types(row.dtype, torch.float32)) for row in rows)


def _check_parts(model: nn.Module, batch_size: int, parts: int, name: str) -> None:
    processes = world_size()
    if batch_size < 2:
        raise UserError(f"{name}: a batch of {batch_size} has nothing to tell a picture from: raise batch_size")
    if batch_size % (processes * parts):
        raise UserError(
            f"{name}: batch_size {batch_size} on {processes} process{'es' * (processes > 1)} cannot be cut into "
            f"{parts} equal parts each: change accumulate or batch_size"
        )
    if batch_size == parts and any(isinstance(layer, _BatchNorm) for layer in model.modules()):
        raise UserError(f"{name}: accumulate {parts} leaves parts of one row, too few for BatchNorm: lower it")


def _cut(batch: Batch, parts: int) -> list[Batch]:
    """The batch's rows in `parts` equal parts, in order."""
    views = zip(*(view.chunk(parts) for view in batch.views), strict=True)
    texts, labels = ([None] * parts if rows is None else rows.chunk(parts) for rows in (batch.texts, batch.labels))
    concepts = [None] * parts
    if batch.concepts is not None:
        concepts = [Concepts(*rows) for rows in zip(*(rows.chunk(parts) for rows in batch.concepts), strict=True)]
    rows = zip(views, texts, labels, concepts, strict=True)
    return [batch._replace(views=seen, texts=said, labels=named, concepts=shown) for seen, said, named, shown in rows]


@contextmanager
def _running_statistics_kept(model: nn.Module) -> Iterator[None]:
    """In training mode BatchNorm layers use batch statistics as ever, but leave their running ones alone."""
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True

"""One training: the model, its optimiser, its state, how far it is, and what becomes of a loss that is not finite."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from vlrepro import distributed
from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, build_framework
from vlrepro.models.backbones import build_backbone
from vlrepro.randomness import key
from vlrepro.training.compiling import compile_towers, layout_of
from vlrepro.training.optimiser import adamw
from vlrepro.training.passes import Passes
from vlrepro.training.schedule import learning_rate
from vlrepro.training.state import StateFolder


class Trainer:
    """A recipe's model from its initial weights, or a saved state (`resume`), to its end, one batch at a time.

    Attributes:
        step: optimiser steps taken so far.
        history: an entry a step: step (from 1), loss, learning rate, the framework's figures; loss and figures are
            means over all processes, those of the joint batch where they are means over rows (`spread` is not). Of a
            training that failed, the last has the step and `failed` alone.
        failed: why the training stopped before its end, or None.
        seconds: that its steps took in this process.
    """

    def __init__(self, recipe: Mapping[str, Any], states: StateFolder, device: torch.device, name: str) -> None:
        self.recipe = recipe
        self.states = states
        self.name = name
        self.device = device
        model = _initial(recipe)
        self.layout = layout_of(model, recipe, device, name)
        self.model = distributed.synced_batch_norm(model.to(self.device, memory_format=self.layout)).train()
        if recipe.get("compile") and recipe["steps"]:
            compile_towers(self.model, device, name)
        self.passes = Passes(self.model, recipe, device, name)
        self.optimiser = adamw(self.model, recipe["optimiser"])
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.failed: str | None = None
        self.seconds = 0.0
        self._saved: int | None = None

    @property
    def unfinished(self) -> bool:
        """Whether there are steps to take."""
        return self.failed is None and self.step < self.recipe["steps"]

    def take(self, batch: Batch) -> None:
        """Take the step that `batch` is for, or stop for good where the loss is not finite (on any rank)."""
        start = time.perf_counter()
        self._take(batch)
        self.seconds += time.perf_counter() - start

    def _take(self, batch: Batch) -> None:
        recipe = self.recipe
        rate = learning_rate(self.step, recipe["steps"], recipe["batch_size"], recipe["optimiser"])
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        result, backward = self.passes.forward(self.placed(batch))
        figures = distributed.mean_over_ranks({"loss": result.loss.item(), **result.logs}, self.device)
        if not math.isfinite(figures["loss"]):  # nor is it on some rank
            self._fail(figures["loss"], buffers)
            return
        self.optimiser.zero_grad(set_to_none=True)
        backward()
        self.passes.update(self.optimiser)
        self.step += 1
        self.history.append({"step": self.step, "learning_rate": rate, **figures})

    def placed(self, batch: Batch) -> Batch:
        """`batch` on the device, its views laid out as the model's filters."""
        views = tuple(view.to(self.device, memory_format=self.layout) for view in batch.views)
        texts, labels = (None if rows is None else rows.to(self.device) for rows in (batch.texts, batch.labels))
        concepts = batch.concepts and batch.concepts.map(lambda rows: rows.to(self.device))
        return batch._replace(views=views, texts=texts, labels=labels, concepts=concepts)

    def _fail(self, loss: float, buffers: list[torch.Tensor]) -> None:
        """Stop with the weights that the bad step started from or, where not all of them are finite, the initial ones.

        In the first case they are saved as a state. In the second the step before broke them, and the states that are
        there already are the last good ones. Either way the same recipe fails again at the same step.
        """
        why = f"the loss is {loss} at step {self.step + 1}"
        print(f"{self.name}: {why}: stopped; another learning rate may go further", flush=True)
        for buffer, before in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        self.save()
        if not self._finite():
            self.model.load_state_dict(_initial(self.recipe).state_dict())
        self.history.append({"step": self.step + 1, "failed": why})
        self.failed = why

    def _finite(self) -> bool:
        tensors = self.model.state_dict().values()
        return all(bool(tensor.isfinite().all()) for tensor in tensors if tensor.is_floating_point())

    def save(self) -> None:
        """Save all that the next step depends on, unless it is saved: weights, buffers, optimiser, loss scale, history.

        Nothing where the training failed or a weight is not finite: no later step could mend it.
        """
        if distributed.rank() > 0 or self.failed or self._saved == self.step or not self._finite():
            return
        parts = {"model": self.model, "optimiser": self.optimiser, "scaler": self.passes.scaler}
        state = {name: part.state_dict() for name, part in parts.items()}
        self.states.save(self.step, state | {"history": self.history})
        self._saved = self.step

    def resume(self) -> None:
        """Go on from the newest saved state, if there is one."""
        state = distributed.first_alone(self.states.load)  # which removes what is cut short
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            if self.passes.scaler.is_enabled():
                self.passes.scaler.load_state_dict(state["scaler"])
            self.history = state["history"]
            self.step = self._saved = state["step"]
            print(f"{self.name}: resumed at step {self.step}", flush=True)


def _initial(recipe: Mapping[str, Any]) -> nn.Module:
    """The recipe's framework with its initial weights, drawn from torch's generator keyed by the seed.

    Raises `UserError` where the backbone reads pictures of another size than the recipe's.
    """
    torch.manual_seed(key(recipe["seed"], 0, 0, "initial weights"))
    options = dict(recipe["backbone"])
    backbone = build_backbone(options.pop("name"), **options)
    needs, size = getattr(backbone, "picture_size", None), recipe["pictures"]["size"]
    if needs not in (None, size):
        raise UserError(
            f"backbone {recipe['backbone']['name']!r} reads pictures of {needs} pixels but the recipe's are of {size}: "
            "give it the option size"
        )
    return build_framework(recipe["framework"], backbone, recipe["options"])

"""The training loop: a recipe and its data to a model, the same bits whether or not it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from tqdm import tqdm

from vlrepro import distributed
from vlrepro.config.training import steps_allowed
from vlrepro.data.augment import Augment, AugmentationOptions
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.files import digest_of
from vlrepro.frameworks import Batch, build_framework, framework_module
from vlrepro.models.backbones import build_backbone
from vlrepro.randomness import fix_kernels, key
from vlrepro.training.schedule import learning_rate
from vlrepro.training.state import StateFolder
from vlrepro.training.views import Views, read_labels, read_pairs, read_texts
from vlrepro.training.writing import write_run

REVISION = 1


class Files(NamedTuple):
    """Where a training's data are: the pack's folder, mined pairs or None, and embedded captions or None.

    `captions` is the caption file whose rows `texts` holds.
    """

    pack: str | Path
    pairs: str | Path | None = None
    texts: str | Path | None = None
    captions: str | Path | None = None


def train(
    recipe: Mapping[str, Any],
    files: Files,
    state: str | Path,
    output: str | Path,
    checkpoint_seconds: float,
    name: str = "train",
) -> None:
    """Train `recipe` to the end and write `model.safetensors` and `history.jsonl` into `output` (`writing`).

    Resumes from `state` where an interrupted run of the same recipe left one. Determinism: CPU kernels with
    the recipe's number of threads, generators keyed by seed and step. Under torchrun each process takes its part
    of every batch; the first one writes.

    Raises:
        UserError: the data allow fewer steps than the recipe asks for, a file is unusable, or the loss is not
            finite (the state of the last checkpoint is kept).
    """
    fix_kernels(recipe["threads"])
    device = distributed.start()
    try:
        trainer = Trainer(recipe, files, StateFolder(state, digest_of(dict(recipe))), device, name)
        trainer.run(checkpoint_seconds)
        if distributed.rank() == 0:
            write_run(Path(output), trainer.model, recipe, trainer.history)
            trainer.states.clear()
    finally:
        distributed.stop()


class Trainer:
    """One training: the model, its optimiser, its data and how far it is."""

    def __init__(
        self, recipe: Mapping[str, Any], files: Files, states: StateFolder, device: torch.device, name: str
    ) -> None:
        self.recipe = recipe
        self.states = states
        self.name = name
        self.device = device
        torch.manual_seed(key(recipe["seed"], 0, 0, "initial weights"))
        backbone = dict(recipe["backbone"])
        model = build_framework(
            recipe["framework"], build_backbone(backbone.pop("name"), **backbone), recipe["options"]
        )
        self.layout = _layout(model)
        self.model = distributed.synced_batch_norm(model.to(self.device, memory_format=self.layout))
        self.optimiser = _adamw(self.model, recipe["optimiser"])
        self.views = self._views(files) if recipe["steps"] else None
        self.step = 0
        self.history: list[dict[str, float]] = []

    def _views(self, files: Files) -> Views:
        recipe = self.recipe
        sizes = recipe["pictures"]
        pictures = Pictures(Pack(files.pack), sizes["canvas"], threads=recipe["threads"])
        rows = read_pairs(files.pairs, pictures)
        texts = read_texts(files.texts, files.captions, pictures) if files.texts else None
        reads_labels = framework_module(recipe["framework"]).LABELS
        labels = read_labels(pictures, recipe["options"]["classes"]) if reads_labels else None
        augments = [_augment(options, sizes) for options in recipe["augmentations"]]
        views = Views(pictures, rows, augments, recipe["batch_size"], recipe["seed"], texts, labels)
        allowed = steps_allowed(len(views), recipe["batch_size"], recipe["max_epochs"])
        if recipe["steps"] > allowed:
            raise UserError(
                f"{self.name}: {recipe['steps']} steps of {recipe['batch_size']} pictures are asked for but "
                f"{len(views)} usable pairs in {files.pairs or files.pack} allow {allowed} "
                f"(training.max_epochs = {recipe['max_epochs']}): "
                "lower steps or batch_size, raise max_epochs, or bring more data"
            )
        return views

    def run(self, checkpoint_seconds: float) -> None:
        """Take all steps that are left, saving the state about every `checkpoint_seconds`."""
        self._resume()
        self.model.train()
        steps = self.recipe["steps"]
        saved = time.monotonic()
        with _progress(self.name, self.step, steps) as bar:
            while self.step < steps:
                self._step(bar)
                if time.monotonic() - saved >= checkpoint_seconds and self.step < steps:
                    self.save()
                    saved = time.monotonic()

    def _step(self, bar: tqdm) -> None:
        recipe = self.recipe
        rate = learning_rate(self.step, recipe["steps"], recipe["batch_size"], recipe["optimiser"])
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        result = self.model(self._batch())
        loss = result.loss.item()
        if loss != loss or loss in (float("inf"), float("-inf")):
            raise UserError(f"{self.name}: the loss is {loss} at step {self.step}: lower the learning rate")
        self.optimiser.zero_grad(set_to_none=True)
        result.loss.backward()
        distributed.average_gradients(self.model)
        self.optimiser.step()
        self.step += 1
        self.history.append({"step": self.step, "loss": loss, "learning_rate": rate, **result.logs})
        elapsed = max(bar.format_dict["elapsed"], 1e-9)
        pace = (bar.n + 1 - bar.initial) * recipe["batch_size"] / elapsed
        bar.set_postfix({"loss": f"{loss:.3f}", "images/s": f"{pace:.0f}"}, refresh=False)
        bar.update(1)

    def _batch(self) -> Batch:
        batch = self.views.step(self.step)
        views = tuple(view.to(self.device, memory_format=self.layout) for view in batch.views)
        texts, labels = (None if rows is None else rows.to(self.device) for rows in (batch.texts, batch.labels))
        return batch._replace(views=views, texts=texts, labels=labels)

    def save(self) -> None:
        """Save all that the next step depends on: weights, buffers, optimiser, history."""
        if distributed.rank() > 0:
            return
        state = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(), "history": self.history}
        self.states.save(self.step, state)

    def _resume(self) -> None:
        state = self.states.load()
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.history = state["history"]
            self.step = state["step"]
            print(f"{self.name}: resumed at step {self.step}", flush=True)


def _layout(model: nn.Module) -> torch.memory_format:
    """How filters and pictures lie in memory: channels last, a sixth faster on CPUs than contiguous.

    Not where a convolution has fewer than 8 channels: on CPUs without AVX-512 the backward kernels for channels last
    (torch 2.14.1, oneDNN) then write past the end of their buffers.
    """
    narrow = any(isinstance(layer, nn.Conv2d) and layer.out_channels < 8 for layer in model.modules())
    return torch.contiguous_format if narrow else torch.channels_last


def _augment(options: Mapping[str, Any], sizes: Mapping[str, Any]) -> Augment:
    """An augmentation of a recipe (JSON: lists for tuples) for pictures of the recipe's sizes."""
    values = dict(options) | {"size": sizes["size"], "mean": sizes["mean"], "std": sizes["std"]}
    tupled = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Augment(AugmentationOptions(**tupled))


def _adamw(model: nn.Module, settings: Mapping[str, Any]) -> torch.optim.AdamW:
    """AdamW; with `decay_all` weight decay is on every parameter, as in the code the paper builds on."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    plain = [p for p in parameters if p.ndim < 2 and not settings["decay_all"]]
    decayed = [p for p in parameters if p.ndim >= 2 or settings["decay_all"]]
    groups = [{"params": decayed, "weight_decay": settings["weight_decay"]}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings["learning_rate"], fused=True)


def _progress(name: str, done: int, total: int) -> tqdm:
    """A bar that prints a whole line every few seconds, so that jobs side by side stay readable."""
    return tqdm(total=total, initial=done, desc=name, unit="step", mininterval=5, ascii=" =", ncols=120, file=_Lines())


class _Lines:
    """A stream that turns the bar's carriage returns into line ends."""

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            print(text, flush=True)

    def flush(self) -> None:
        """Nothing is held back."""

"""The training loop: recipes and their data to models, the same bits whether or not it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from vlrepro import distributed
from vlrepro.config.training import steps_allowed
from vlrepro.data.augment import Augment, AugmentationOptions
from vlrepro.data.crops import Crops
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.files import digest_of
from vlrepro.frameworks import framework_module
from vlrepro.randomness import fix_kernels
from vlrepro.training.state import StateFolder
from vlrepro.training.stopping import Stop, Unfinished
from vlrepro.training.trainer import Trainer
from vlrepro.training.views import Views, read_labels, read_pairs, read_targets, read_texts
from vlrepro.training.writing import write_run

REVISION = 1
_SHARED = ("pack", "pairs", "texts", "concepts", "pictures", "augmentations", "batch_size", "seed", "threads")


class Files(NamedTuple):
    """Where a training's data are: the pack's folder, mined pairs or None, embedded captions or None.

    `captions` is the caption file whose rows `texts` holds; `concepts` what a teacher sees in the pictures, or None.
    """

    pack: str | Path
    pairs: str | Path | None = None
    texts: str | Path | None = None
    captions: str | Path | None = None
    concepts: str | Path | None = None


class Job(NamedTuple):
    """One model to train: its recipe, the folders of its state and of what it leaves, and its name in messages."""

    recipe: Mapping[str, Any]
    state: str | Path
    output: str | Path
    name: str = "train"


def train(
    recipe: Mapping[str, Any],
    files: Files,
    state: str | Path,
    output: str | Path,
    checkpoint_seconds: float,
    name: str = "train",
) -> None:
    """Train `recipe` to the end and write `model.safetensors` and `history.jsonl` into `output`: see `train_together`.

    A loss that is not finite ends the training too, and is a result: the metadata of the weights
    (`outcome.failure_of`) and the last line of the history say so, and the state is kept.
    """
    train_together([Job(recipe, state, output, name)], files, checkpoint_seconds)


def train_together(
    jobs: Sequence[Job], files: Files, checkpoint_seconds: float, stop: Stop | None = None
) -> list[float]:
    """Train recipes that see the same batches, step by step side by side, each to the bits that it gets alone.

    Pictures are decoded and every batch is augmented once for all. Each job resumes from its `state`, where an
    interrupted run of the same recipe left one. What they leave is written when all are at their end, so that a
    stopped job of several begins none of them again. Determinism: CPU kernels with the recipes' number of threads,
    generators keyed by seed and step. Under torchrun each process takes its part of every batch; the first one
    writes, and alone returns the seconds that each job's own steps took, without what all share.

    Raises:
        UserError: the recipes differ in what a step sees, the data allow fewer steps than one asks for, or a file is
            unusable.
        Unfinished: `stop` said so; the states are saved.
    """
    _check_shared(jobs)
    fix_kernels(jobs[0].recipe["threads"])
    device = distributed.start()
    try:
        views = read_views(jobs, files, device) if any(job.recipe["steps"] for job in jobs) else None
        trainers = [Trainer(job.recipe, _states(job), device, job.name) for job in jobs]
        if views is not None:
            stop = stop or Stop()
            with stop.listening():
                _run(trainers, views, checkpoint_seconds, stop)
        if distributed.rank() == 0:
            _finish(jobs, trainers)
        return [trainer.seconds for trainer in trainers] if distributed.rank() == 0 else []
    finally:
        distributed.stop()


def read_views(jobs: Sequence[Job], files: Files, device: torch.device | None = None) -> Views:
    """What each step of all `jobs` trains on. Raises `UserError` where the data allow fewer steps than one asks for."""
    recipe = jobs[0].recipe
    sizes = recipe["pictures"]
    pictures = Pictures(Pack(files.pack, names=()), sizes["canvas"], threads=recipe["threads"])
    rows = read_pairs(files.pairs, pictures)
    texts = read_texts(files.texts, files.captions, pictures) if files.texts else None
    classes = _classes(recipe)
    labels = None if classes is None else read_labels(pictures, classes)
    distils = files.concepts and getattr(framework_module(recipe["framework"]), "CONCEPTS", False)
    concepts = read_targets(files.concepts, pictures, recipe["options"]) if distils else None
    crops = None if pictures.cached else Crops(pictures.pack, recipe["threads"])
    augments = [_augment(options, sizes) for options in recipe["augmentations"]]
    views = Views(
        pictures, rows, augments, recipe["batch_size"], recipe["seed"], texts, labels, concepts, crops, device
    )
    for job in jobs:
        _check_steps(job, len(views), files)
    return views


def _check_shared(jobs: Sequence[Job]) -> None:
    first = jobs[0]
    for job in jobs[1:]:
        differ = [name for name in _SHARED if job.recipe.get(name) != first.recipe.get(name)]
        differ += ["classes"] * (_classes(job.recipe) != _classes(first.recipe))
        if differ:
            raise UserError(
                f"{job.name} cannot be trained together with {first.name}: their recipes differ in {differ[0]}: "
                "train them apart"
            )


def _check_steps(job: Job, usable: int, files: Files) -> None:
    recipe = job.recipe
    allowed = steps_allowed(usable, recipe["batch_size"], recipe["max_epochs"])
    if recipe["steps"] > allowed:
        raise UserError(
            f"{job.name}: {recipe['steps']} steps of {recipe['batch_size']} pictures are asked for but "
            f"{usable} usable pairs in {files.pairs or files.captions or files.pack} allow {allowed} "
            f"(training.max_epochs = {recipe['max_epochs']}): "
            "lower steps or batch_size, raise max_epochs, or bring more data"
        )


def _classes(recipe: Mapping[str, Any]) -> int | None:
    """How many classes a recipe's framework tells apart, or None where it reads no labels."""
    return recipe["options"].get("classes") if framework_module(recipe["framework"]).LABELS else None


def _states(job: Job) -> StateFolder:
    return StateFolder(job.state, digest_of(dict(job.recipe)))


def _run(trainers: Sequence[Trainer], views: Views, checkpoint_seconds: float, stop: Stop) -> None:
    """Take all steps that are left, saving the states about every `checkpoint_seconds` and when `stop` says so."""
    for trainer in trainers:
        trainer.resume()
    saved = time.monotonic()
    with _progress(trainers) as bar:
        while active := [trainer for trainer in trainers if trainer.unfinished]:
            step = min(trainer.step for trainer in active)
            batch = views.step(step)
            for trainer in active:
                if trainer.step == step:
                    trainer.take(batch)
            _advance(bar, trainers, views.batch_size)
            if not any(trainer.unfinished for trainer in active):
                continue
            why = stop.why(active[0].device)
            if why or time.monotonic() - saved >= checkpoint_seconds:
                for trainer in trainers:
                    trainer.save()
                saved = time.monotonic()
            if why:
                print(f"{_name(trainers)}: {why}: saved after step {step + 1}, to go on from there", flush=True)
                raise Unfinished(why)


def _finish(jobs: Sequence[Job], trainers: Sequence[Trainer]) -> None:
    """Write what the trainings leave; then remove the states of those that did not fail."""
    for job, trainer in zip(jobs, trainers, strict=True):
        write_run(Path(job.output), trainer.model, job.recipe, trainer.history, trainer.failed)
    for trainer in trainers:
        if trainer.failed is None:
            trainer.states.clear()


def _augment(options: Mapping[str, Any], sizes: Mapping[str, Any]) -> Augment:
    """An augmentation of a recipe (JSON: lists for tuples) for pictures of the recipe's sizes."""
    values = dict(options) | {"size": sizes["size"], "mean": sizes["mean"], "std": sizes["std"]}
    tupled = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Augment(AugmentationOptions(**tupled))


def _name(trainers: Sequence[Trainer]) -> str:
    return trainers[0].name if len(trainers) == 1 else f"{len(trainers)} runs"


def _progress(trainers: Sequence[Trainer]) -> tqdm:
    """A bar that prints a whole line every few seconds, so that jobs side by side stay readable."""
    name = _name(trainers)
    done, total = min(trainer.step for trainer in trainers), max(trainer.recipe["steps"] for trainer in trainers)
    return tqdm(total=total, initial=done, desc=name, unit="step", mininterval=5, ascii=" =", ncols=120, file=_Lines())


def _advance(bar: tqdm, trainers: Sequence[Trainer], batch_size: int) -> None:
    """One step further, with the mean loss of those that took it and the pictures that were seen a second."""
    pace = (bar.n + 1 - bar.initial) * batch_size / max(bar.format_dict["elapsed"], 1e-9)
    losses = [trainer.history[-1]["loss"] for trainer in trainers if trainer.failed is None and trainer.history]
    loss = f"{sum(losses) / len(losses):.3f}" if losses else "none"
    bar.set_postfix({"loss": loss, "images/s": f"{pace:.0f}"}, refresh=False)
    bar.update(1)


class _Lines:
    """A stream that turns the bar's carriage returns into line ends."""

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            print(text, flush=True)

    def flush(self) -> None:
        """Nothing is held back."""

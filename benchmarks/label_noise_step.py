"""What label noise and HN-NCE add to a training step of CLIP, and CLIP's loss beside open_clip's, in one run.

    python benchmarks/label_noise_step.py [--repeats N] [--batch B] [--rows R]

First whole steps at pocket scale (forward, backward, optimiser; labels drawn anew each time), then the loss alone with
its gradients on R unit rows of 512, as at full scale. Programs take turns, so all meet the same load of the machine;
medians of processor milliseconds and ratios to CLIP are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from open_clip import ClipLoss
from torch import Tensor
from torch.nn.functional import normalize

from vlrepro.frameworks import Batch, build_framework
from vlrepro.frameworks.clip import clip_loss, scaled_similarities
from vlrepro.frameworks.clip_hard_negatives import hn_nce
from vlrepro.frameworks.clip_label_noise import STRATEGIES, LabelNoise, draw, noisy_loss
from vlrepro.models.backbones import build_backbone

SIZE, WIDTH, SENTENCE, JOINT = 24, 16, 384, 128  # as in config.yaml
RATE, SCALE = 0.1, 20.0


def steps(batch: int) -> dict[str, Callable[[int], None]]:
    """Name -> a whole training step, called with its number."""
    pictures = torch.randn(batch, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    texts = torch.randn(batch, SENTENCE)
    built: dict[str, tuple[str, Mapping[str, Any]]] = {"clip": ("clip", {})}
    for name in STRATEGIES:
        built[name] = ("clip_label_noise", {"label_noise": {"strategy": name, "rate": RATE}})
    built["hn_nce"] = ("clip_hard_negatives", {})
    return {name: _step(framework, options, pictures, texts) for name, (framework, options) in built.items()}


def _step(framework: str, options: Mapping[str, Any], pictures: Tensor, texts: Tensor) -> Callable[[int], None]:
    shared = {"joint_width": JOINT, "text_tower": {"name": "sentence", "width": SENTENCE}}
    model = build_framework(framework, build_backbone("resnet_small", width=WIDTH), {**shared, **options})
    model = model.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step(number: int) -> None:
        optimiser.zero_grad(set_to_none=True)
        model(Batch((pictures,), texts, number)).loss.backward()
        optimiser.step()

    return step


def losses(rows: int) -> dict[str, Callable[[int], None]]:
    """Name -> the loss and its gradients on unit rows, called with a step's number."""
    pictures, texts = (normalize(torch.randn(rows, 512), dim=1).requires_grad_() for _ in range(2))
    theirs = ClipLoss()
    found: dict[str, Callable[[int], None]] = {
        "clip": lambda step: clip_loss(pictures, texts, SCALE)[0].backward(),
        "open_clip": lambda step: theirs(pictures, texts, SCALE).backward(),
    }
    for name in STRATEGIES:
        found[name] = _noisy(LabelNoise(name, RATE), pictures, texts)

    def hard(step: int) -> None:
        similarities = scaled_similarities(pictures, texts, SCALE)
        directions = (similarities.to_texts, similarities.to_pictures)
        torch.stack([hn_nce(entry, similarities.own, 1.0, 0.25) for entry in directions]).mean().backward()

    return found | {"hn_nce": hard}


def _noisy(noise: LabelNoise, pictures: Tensor, texts: Tensor) -> Callable[[int], None]:
    def loss(step: int) -> None:
        labels = draw(noise, len(pictures), 0, step)
        noisy_loss(scaled_similarities(pictures, texts, SCALE), labels, noise).backward()

    return loss


def medians(programs: Mapping[str, Callable[[int], None]], repeats: int) -> dict[str, float]:
    """The median processor milliseconds of each program; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    warm = 3
    for repeat in range(repeats + warm):
        for name, program in programs.items():
            start = time.process_time()
            program(repeat)
            if repeat >= warm:
                times[name].append(1000 * (time.process_time() - start))
    return {name: statistics.median(spent) for name, spent in times.items()}


def main() -> None:
    """Parse the arguments and print a line a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100, help="timed steps of each (default 100)")
    parser.add_argument("--batch", type=int, default=64, help="pictures of a whole step (default 64)")
    parser.add_argument("--rows", type=int, default=1024, help="rows of the losses alone (default 1024)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for heading, programs in (
        (f"whole steps, {arguments.batch} pictures of {SIZE} pixels", steps(arguments.batch)),
        (f"loss and gradients, {arguments.rows} rows of 512", losses(arguments.rows)),
    ):
        print(f"{heading}, one thread; processor milliseconds, ratio to clip")
        found = medians(programs, arguments.repeats)
        for name, spent in found.items():
            print(f"  {name:<16} {spent:8.2f}  {spent / found['clip']:5.2f}")


if __name__ == "__main__":
    main()

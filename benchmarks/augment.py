"""Our batched augmentation beside torchvision's, image by image, on the same images in one run, on one thread.

    python benchmarks/augment.py [--repeats N] [--paper]

The peer is a `torchvision.transforms.v2` pipeline of the same recipe on one 8-bit tensor image at a time, which
is how a data loader's worker runs it. The two alternate, so both meet the same load of the machine; the medians
and their ratio are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from vlrepro.data.augment import Augment, AugmentationOptions
from vlrepro.randomness import torch_generator

POCKET = (256, 48, 32, 3)  # images, canvas, output size, blur kernel
PAPER = (64, 256, 224, 15)


def options(name: str, size: int, kernel: int) -> AugmentationOptions:
    """The two recipes of language-guided self-supervision (arXiv 2302.12248), by name."""
    if name == "global_crop":
        return AugmentationOptions(size=size, scale=(0.5, 1.0))
    return AugmentationOptions(
        size=size,
        scale=(0.2, 1.0),
        flip=0.5,
        jitter=(0.4, 0.4, 0.4, 0.1),
        jitter_probability=0.8,
        grey_probability=0.2,
        blur_probability=0.5,
        blur_kernel=kernel,
    )


def peer(chosen: AugmentationOptions) -> Callable[[Tensor], Tensor]:
    """The same recipe as a torchvision pipeline for one uint8 image (3, S, S)."""
    steps = [v2.RandomResizedCrop(chosen.size, chosen.scale, chosen.ratio, antialias=True)]
    if chosen.jitter_probability:
        steps.append(v2.RandomApply([v2.ColorJitter(*chosen.jitter)], chosen.jitter_probability))
        steps.append(v2.RandomGrayscale(chosen.grey_probability))
        steps.append(v2.RandomApply([v2.GaussianBlur(chosen.blur_kernel, chosen.blur_sigma)], chosen.blur_probability))
        steps.append(v2.RandomHorizontalFlip(chosen.flip))
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(chosen.mean, chosen.std)]
    return v2.Compose(steps)


def compare(name: str, shape: tuple[int, int, int, int], repeats: int) -> None:
    """Time both on the same random images and print one line."""
    batch, canvas, size, kernel = shape
    generator = torch_generator("benchmark", name)
    images = torch.randint(0, 256, (batch, 3, canvas, canvas), dtype=torch.uint8, generator=generator)
    augment = Augment(options(name, size, kernel))
    theirs = peer(augment.options)
    programs = (lambda: augment(images, generator), lambda: torch.stack([theirs(image) for image in images]))
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for program, spent in zip(programs, times, strict=True):
            start = time.perf_counter()
            program()
            if repeat:  # the first round warms up
                spent.append(1000 * (time.perf_counter() - start))
    ours, other = map(statistics.median, times)
    print(
        f"{name:<12} {batch:>4} x {canvas} -> {size} px   ours {ours:8.1f} ms ({1000 * batch / ours:7.0f} images/s)   "
        f"torchvision {other:8.1f} ms ({1000 * batch / other:7.0f} images/s)   ratio {other / ours:5.1f}"
    )


def main() -> None:
    """Parse the arguments and compare both recipes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="timed rounds of each (default 15)")
    parser.add_argument("--paper", action="store_true", help="the papers' size, 256 to 224 pixels, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)  # torchvision draws from the global generator
    for shape in (POCKET, PAPER) if arguments.paper else (POCKET,):
        for name in ("global_crop", "simclr"):
            compare(name, shape, arguments.repeats)


if __name__ == "__main__":
    main()

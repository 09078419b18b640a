"""Time our saliency maps beside the grad-cam package: the same backbone, probe, pictures and classes, in one run.

The closed forms start from the last feature maps, which scoring has at hand after the first method, and three methods
from the pictures, as the package always does. AGF, which the package lacks, is compared with its Grad-CAM. All go
through the pictures in the same batches, in turns, and the medians over the rounds count. Processor seconds, which
other programs on the machine disturb less than the clock, and the ratios less than the seconds.

By default it has the size of the pocket study: 1,000 pictures of 96 pixels and a `resnet_small` of width 16. Asked of
it on two cores: all closed forms of 1,000 pictures in less than 5 s after the features, each at least 20 times as fast
as the package, and AGF of at least 50 pictures a second.

Measured with one thread while other programs kept both cores busy (load 2.7 at the start, 2.3 at the end): 0.13 s for
all six closed forms; the package takes 33 times as long for Eigen-CAM, 156 to 181 times for the others; AGF makes 90
pictures a second.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from vlrepro.models.backbones import build_backbone
from vlrepro.saliency.cam import (
    activation_map,
    cam_map,
    eigen_cam_map,
    grad_cam_map,
    grad_cam_plus_plus_map,
    layer_cam_map,
)
from vlrepro.saliency.feature_maps import last_map, upsample
from vlrepro.saliency.methods import METHODS
from vlrepro.saliency.probe import Probe

CLOSED_FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cam": cam_map,
    "grad_cam": grad_cam_map,
    "grad_cam_plus_plus": grad_cam_plus_plus_map,
    "layer_cam": layer_cam_map,
    "eigen_cam": lambda feature_map, _: eigen_cam_map(feature_map),
    "activation": lambda feature_map, _: activation_map(feature_map),
}
FROM_PICTURES = ("grad_cam", "eigen_cam", "agf")
PEERS = ("packaged_grad_cam", "packaged_layer_cam", "packaged_eigen_cam", "packaged_grad_cam_plus_plus")
_PEER_OF = {  # the others' is packaged_grad_cam
    "grad_cam_plus_plus": "packaged_grad_cam_plus_plus",
    "layer_cam": "packaged_layer_cam",
    "eigen_cam": "packaged_eigen_cam",
}


def smooth_pictures(count: int, size: int) -> Tensor:
    """Pictures (count, 3, size, size) of blurred noise, of unit scale."""
    coarse = torch.randn(count, 3, size // 8, size // 8, generator=torch.Generator().manual_seed(0))
    return interpolate(coarse, size=size, mode="bilinear")


def peer_of(name: str) -> str:
    """The package's method that a method is compared with."""
    return name if name in PEERS else _PEER_OF.get(name, "packaged_grad_cam")


def timed(action: Callable[[], object]) -> float:
    """Processor seconds of an action."""
    start = time.process_time()
    action()
    return time.process_time() - start


def from_pictures(name: str, backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor, batch: int) -> None:
    """All maps of a method, some pictures at a time."""
    for some, labels in zip(images.split(batch), classes.split(batch), strict=True):
        METHODS[name](backbone, probe, some, labels)


def from_features(name: str, feature_map: Tensor, weights: Tensor, size: tuple[int, int], batch: int) -> None:
    """All maps of a closed form at the size of the pictures, some at a time, from (B, C, h, w) and (B, C)."""
    for some, rows in zip(feature_map.split(batch), weights.split(batch), strict=True):
        upsample(CLOSED_FORMS[name](some, rows), size)


def main() -> None:
    """Print one row a method: seconds, pictures a second, and how many times as long the package takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--size", type=int, default=96, help="pixels a side")
    parser.add_argument("--width", type=int, default=16, help="of resnet_small: an eighth of the features")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    backbone = build_backbone("resnet_small", width=options.width).eval()
    probe = Probe(torch.randn(32, backbone.feature_width), torch.randn(32))
    images = smooth_pictures(options.pictures, options.size)
    classes = torch.arange(options.pictures) % 32
    report(backbone, probe, images, classes, options.batch, options.rounds)


def report(backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor, batch: int, rounds: int) -> None:
    """Run everything and print the table, what is asked, and how busy the machine was."""
    feature_map, weights, size = last_map(backbone, images), probe.weights[classes], tuple(images.shape[2:])
    actions: dict[str, Callable[[], None]] = {}
    for name in CLOSED_FORMS:
        actions[f"{name} from features"] = partial(from_features, name, feature_map, weights, size, batch)
    for name in (*FROM_PICTURES, *PEERS):
        actions[name] = partial(from_pictures, name, backbone, probe, images, classes, batch)
        METHODS[name](backbone, probe, images[:2], classes[:2])  # warm up
    load = os.getloadavg()[0]
    taken = [{name: timed(action) for name, action in actions.items()} for _ in range(rounds)]
    seconds = {name: median(one[name] for one in taken) for name in actions}
    ratios = {name: seconds[peer_of(name.split()[0])] / seconds[name] for name in actions}
    print(f"{len(images)} pictures of {size[0]} px, feature maps {tuple(feature_map.shape[1:])}, {rounds} rounds")
    print(f"{'method':<36}{'CPU s':>9}{'pictures/s':>12}{'package takes':>15}")
    for name, value in seconds.items():
        print(f"{name:<36}{value:>9.3f}{len(images) / value:>12.0f}{ratios[name]:>14.2f}x")
    forms = [f"{name} from features" for name in CLOSED_FORMS]
    slowest = min(forms, key=ratios.__getitem__)
    print(f"all {len(forms)} closed forms after features: {sum(seconds[name] for name in forms):.2f} s")
    print(f"least ratio of a closed form to the package: {ratios[slowest]:.1f} ({slowest.split()[0]})")
    print(f"AGF: {len(images) / seconds['agf']:.0f} pictures a second with {torch.get_num_threads()} thread(s)")
    print(f"load of the machine: {load:.1f} before, {os.getloadavg()[0]:.1f} after, on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()

"""Time our saliency maps beside the grad-cam package: the same backbone, probe, pictures and classes, in one run.

The closed forms start from the last feature maps, which scoring has at hand after the first method, and once from the
pictures. The package always starts from the pictures; AGF, which it lacks, is compared with its Grad-CAM. Processor
seconds, which other programs on the machine disturb less than the clock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

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
from vlrepro.saliency.probe import Method, Probe

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
_PEER_OF = {
    "grad_cam_plus_plus": "packaged_grad_cam_plus_plus",
    "layer_cam": "packaged_layer_cam",
    "eigen_cam": "packaged_eigen_cam",
}


def smooth_pictures(count: int, size: int) -> Tensor:
    """Pictures (count, 3, size, size) of blurred noise, of unit scale."""
    coarse = torch.randn(count, 3, size // 8, size // 8, generator=torch.Generator().manual_seed(0))
    return interpolate(coarse, size=size, mode="bilinear")


def timed(action: Callable[[], object]) -> float:
    """Processor seconds of an action."""
    start = time.process_time()
    action()
    return time.process_time() - start


def in_batches(method: Method, backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor, size: int) -> None:
    """All maps of a method, some pictures at a time."""
    for some, labels in zip(images.split(size), classes.split(size), strict=True):
        method(backbone, probe, some, labels)


def main() -> None:
    """Print one row a method: seconds, pictures a second, and how many times the package's time that saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--size", type=int, default=96, help="pixels a side")
    parser.add_argument("--width", type=int, default=16, help="of resnet_small: an eighth of the features")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    backbone = build_backbone("resnet_small", width=options.width).eval()
    probe = Probe(torch.randn(32, backbone.feature_width), torch.randn(32))
    images = smooth_pictures(options.pictures, options.size)
    classes = torch.arange(options.pictures) % 32
    report(backbone, probe, images, classes, options.batch)


def report(backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor, batch: int) -> None:
    """Run everything and print the table."""
    for name in (*FROM_PICTURES, *PEERS):  # warm up
        METHODS[name](backbone, probe, images[:2], classes[:2])
    feature_map, weights = last_map(backbone, images), probe.weights[classes]
    peers = {
        name: timed(lambda n=name: in_batches(METHODS[n], backbone, probe, images, classes, batch)) for name in PEERS
    }
    print(f"{len(images)} pictures of {images.shape[2]} px, feature maps {tuple(feature_map.shape[1:])}")
    print(f"{'method':<36}{'CPU s':>9}{'pictures/s':>12}{'package takes':>15}")
    for name, closed_form in CLOSED_FORMS.items():
        seconds = timed(lambda form=closed_form: upsample(form(feature_map, weights), images.shape[2:]))
        _row(f"{name} from feature maps", seconds, len(images), peers[_PEER_OF.get(name, "packaged_grad_cam")])
    for name in FROM_PICTURES:
        seconds = timed(lambda n=name: in_batches(METHODS[n], backbone, probe, images, classes, batch))
        _row(name, seconds, len(images), peers[_PEER_OF.get(name, "packaged_grad_cam")])
    for name, seconds in peers.items():
        _row(name, seconds, len(images), seconds)


def _row(name: str, seconds: float, pictures: int, peer: float) -> None:
    print(f"{name:<36}{seconds:>9.3f}{pictures / seconds:>12.0f}{peer / seconds:>14.2f}x")


if __name__ == "__main__":
    main()

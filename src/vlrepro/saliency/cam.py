"""Class activation maps in closed form, from the last feature map A (B, C, h, w) before the average pooling.

A linear probe reads the mean of A over its h w places, so the gradient of a class score with regard to A_k is the
probe's weight w_k / (h w) everywhere. That makes several methods one sum without a backward pass; factors that are the
same over a picture are left out. Behind a `Projected` backbone, w is the gradient at the picture (`channel_weights`).

Each `*_map` takes A, and (B, C) weights where it has a class, and returns (B, h, w); each method upsamples that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vlrepro.saliency.feature_maps import channel_weights, last_map, upsample
from vlrepro.saliency.probe import Probe, check

REVISION = 2

_LEAST = 1e-6  # hard-swish lets the mean of a feature map below 0, and with it a denominator of Grad-CAM++
_SQUARINGS = 8  # enough in float32 where the second eigenvalue is at most 0.977 of the first


def cam_map(feature_map: Tensor, weights: Tensor) -> Tensor:
    """sum_k w_k A_k: Zhou et al., "Learning Deep Features for Discriminative Localization" (CVPR 2016), eq. 2."""
    return torch.einsum("bc,bchw->bhw", weights, feature_map)


def grad_cam_map(feature_map: Tensor, weights: Tensor) -> Tensor:
    """The rectified sum relu(sum_k w_k A_k) of Selvaraju et al., "Grad-CAM" (ICCV 2017), eq. 2.

    Here it is also XGrad-CAM and the rectified HiResCAM (Draelos and Carin 2020), as the gradient is the same at every
    place.
    """
    return cam_map(feature_map, weights).relu()


def layer_cam_map(feature_map: Tensor, weights: Tensor) -> Tensor:
    """relu(sum_k relu(w_k) A_k), without negative gradients: Jiang et al., "LayerCAM" (IEEE TIP 2021)."""
    return cam_map(feature_map, weights.relu()).relu()


def grad_cam_plus_plus_map(feature_map: Tensor, weights: Tensor) -> Tensor:
    """Chattopadhay et al., "Grad-CAM++" (WACV 2018), eq. 19: relu(sum_k v_k A_k) with v_k = relu(w_k) / (2 + p_k w_k).

    p_k is the mean of A_k. It depends on the scale of the scores, as the method explains their exponential.
    """
    positive = weights.relu()
    return cam_map(feature_map, positive / (2 + feature_map.mean((2, 3)) * positive).clamp_min(_LEAST)).relu()


def activation_map(feature_map: Tensor) -> Tensor:
    """The mean activation over channels: Karjauv and Albayrak, "LaFAM" (2024). It knows no class.

    The map is rectified first, which changes nothing behind a ReLU; hard-swish lets slightly negative values through.
    """
    return feature_map.relu().mean(1)


def eigen_cam_map(feature_map: Tensor) -> Tensor:
    """The places' first principal component: Muhammad and Yeasin, "Eigen-CAM" (IJCNN 2020). It knows no class.

    The channel vectors of the h w places, less their mean, are projected on their first right singular vector. A
    singular vector has no sign of its own: the map is given the sign with which it correlates positively with the
    activation map, so that strongly activated places are salient, and positive where that correlation is exactly 0.
    Without the mean taken off, an all-positive feature map would have a first component that hardly differs from that
    activation map.
    """
    places = feature_map.flatten(2).mT
    centred = places - places.mean(1, keepdim=True)
    # With X = U s V^T, the projection X v_1 is s_1 u_1, and u_1 an eigenvector of X X^T, of h w places only.
    component = _first_component(centred @ centred.mT)
    agreement = (component * activation_map(feature_map).flatten(1)).sum(1, keepdim=True)
    signed = torch.where(agreement < 0, -component, component)
    return signed.view(-1, *feature_map.shape[2:])


def _first_component(products: Tensor) -> Tensor:
    """s_1 u_1 (B, n) of inner products X X^T (B, n, n): the first eigenvector, as long as the root of its eigenvalue.

    LAPACK takes one matrix after the other and finds every eigenvector. Squaring all matrices at once leaves the first
    alone. How far alone, the trace t of the square of a matrix P of trace 1 tells: P's first eigenvalue is at least t,
    so the others sum to at most q = (1 - t) / t of it, and those of P P to q^2. A picture is squared until 1 - t is
    below eps^(1/7); then a column of P P, multiplied by P P three more times, is off by at most sqrt(n) q^8, which is
    the rounding error of the dtype. Where the first two eigenvalues are too close for that, LAPACK decides. Raises
    `torch.linalg.LinAlgError` where products are not finite.
    """
    numbers, everyone = torch.finfo(products.dtype), torch.arange(len(products), device=products.device)
    power, left = _of_trace_one(products)[0], everyone
    for _ in range(_SQUARINGS):
        if len(left) == len(power):
            power, trace = _of_trace_one(power @ power)
        else:
            some = power[left]
            power[left], trace = _of_trace_one(some @ some)
        left = left[~(trace > 1 - numbers.eps ** (1 / 7))]  # what is not a number stays too
    # A column of u u^T is u times one of its entries: under the largest on the diagonal, which is surely not 0.
    vectors = power[everyone, :, power.diagonal(dim1=1, dim2=2).argmax(1)].unsqueeze(2)
    for _ in range(3):
        vectors = power @ vectors
    if len(left):
        vectors[left] = torch.linalg.eigh(products[left]).eigenvectors[..., -1:]
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    value = (vectors.mT @ (products @ vectors)).clamp_min(0)
    return (vectors * value.sqrt()).squeeze(2)


def _of_trace_one(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices (B, n, n) divided by their traces (B,), and these; of 0 they stay 0."""
    trace = matrices.diagonal(dim1=1, dim2=2).sum(1)
    return matrices / trace.clamp_min(torch.finfo(trace.dtype).tiny)[:, None, None], trace


OF_CLASS = {
    "cam": cam_map,
    "grad_cam": grad_cam_map,
    "layer_cam": layer_cam_map,
    "grad_cam_plus_plus": grad_cam_plus_plus_map,
}
OF_PICTURE = {"eigen_cam": eigen_cam_map, "activation": activation_map}
CLOSED_FORMS = (*OF_CLASS, *OF_PICTURE)


def closed_forms(
    names: Sequence[str], backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor
) -> dict[str, Tensor]:
    """The maps of several of `CLOSED_FORMS` from one pass through the backbone: each as a `Method` gives it."""
    check(backbone, probe, images, classes)
    feature_map = last_map(backbone, images)
    maps = {name: OF_PICTURE[name](feature_map) for name in names if name in OF_PICTURE}
    if of_class := [name for name in names if name in OF_CLASS]:
        weights = channel_weights(backbone, probe, feature_map, classes)
        maps |= {name: OF_CLASS[name](feature_map, weights) for name in of_class}
    return {name: upsample(maps[name], images.shape[2:]) for name in names}


def cam(backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor) -> Tensor:
    """Signed class activation maps (`cam_map`); a `Method`."""
    return closed_forms(["cam"], backbone, probe, images, classes)["cam"]


def grad_cam(backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM (`grad_cam_map`), none below 0; a `Method`."""
    return closed_forms(["grad_cam"], backbone, probe, images, classes)["grad_cam"]


def layer_cam(backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor) -> Tensor:
    """LayerCAM (`layer_cam_map`), none below 0; a `Method`."""
    return closed_forms(["layer_cam"], backbone, probe, images, classes)["layer_cam"]


def grad_cam_plus_plus(backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM++ (`grad_cam_plus_plus_map`), none below 0; a `Method`."""
    return closed_forms(["grad_cam_plus_plus"], backbone, probe, images, classes)["grad_cam_plus_plus"]


def eigen_cam(backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor) -> Tensor:
    """Eigen-CAM (`eigen_cam_map`), of mean 0 before upsampling, the same for every class; a `Method`."""
    return closed_forms(["eigen_cam"], backbone, probe, images, classes)["eigen_cam"]


def activation(backbone: nn.Module, probe: Probe, images: Tensor, classes: Tensor) -> Tensor:
    """Label-free activation maps (`activation_map`), none below 0, the same for every class; a `Method`."""
    return closed_forms(["activation"], backbone, probe, images, classes)["activation"]

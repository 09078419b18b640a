"""Backbones, pictures and comparisons that the tests of saliency maps share."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from vlrepro.models.backbones import build_backbone
from vlrepro.saliency.probe import Probe

CONVOLUTIONAL = {
    "basic": ("resnet_small", {"width": 8}),
    "bottleneck": ("resnet_small", {"width": 4, "bottleneck": True}),
    "projected": ("resnet_small", {"width": 8, "projection": 40}),
    "resnet18": ("resnet18", {}),
    "mobilenet": ("mobilenet_v3_small", {}),
}


def used(name, options, seed=0):
    """A backbone in inference mode whose batch norms have statistics as after training, all of them its own."""
    torch.manual_seed(seed)
    backbone = build_backbone(name, **options)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return backbone.eval()


def random_probe(backbone, classes=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    width = backbone.feature_width
    return Probe(torch.randn(classes, width, generator=generator), torch.randn(classes, generator=generator))


def random_images(count, size=64, seed=2):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def one_to_zero(maps):
    """Each map (B, S, S) scaled to [0, 1]; a constant one to 0."""
    least, most = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - least) / (most - least).clamp_min(1e-12)


def textured_pictures(count, seed, size=48, side=16):
    """A patch of stripes or checks on random checks of the same contrast: images, labels of 4 textures, masks.

    Nothing but its texture tells the patch from what is around it, so a model that has learned nothing cannot.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    textures = [rows // 2 % 2, columns // 2 % 2, (rows + columns) // 2 % 2, (rows // 3 + columns // 3) % 2]
    labels = torch.arange(count) % 4
    signs = torch.randint(0, 2, (count, size // 2, size // 2), generator=generator)
    signs = signs.repeat_interleave(2, 1).repeat_interleave(2, 2)
    masks = torch.zeros(count, size, size, dtype=torch.bool)
    for i, (top, left) in enumerate(torch.randint(0, size - side, (count, 2), generator=generator).tolist()):
        signs[i, top : top + side, left : left + side] = textures[labels[i]]
        masks[i, top : top + side, left : left + side] = True
    colours = 1 + torch.rand(count, 3, 1, 1, generator=generator)
    return (2 * signs[:, None] - 1) * colours, labels, masks


def trained_on_textures(name, options, steps=100):
    """A backbone and a probe trained together to tell the textures, in inference mode."""
    torch.manual_seed(0)
    backbone = build_backbone(name, **options)
    head = nn.Linear(backbone.feature_width, 4)
    optimiser = torch.optim.Adam([*backbone.parameters(), *head.parameters()], 3e-3)
    images, labels, _ = textured_pictures(512, seed=0)
    for step in range(steps):
        batch = slice(step % 8 * 64, step % 8 * 64 + 64)
        loss = cross_entropy(head(backbone(images[batch])), labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return backbone.eval(), Probe(head.weight.detach(), head.bias.detach())


def ranks(maps):
    return maps.flatten(1).argsort(1).argsort(1).double()


def rank_correlation(first, second):
    """Spearman's, of each pair of maps (B, S, S): (B,)."""
    first, second = (ranks(maps) - ranks(maps).mean(1, keepdim=True) for maps in (first, second))
    return (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1))


def area_under_curve(maps, masks):
    """How often a pixel in the mask is above one outside, each picture: (B,)."""
    inside = masks.flatten(1).double()
    n = inside.sum(1)
    return ((ranks(maps) * inside).sum(1) - n * (n - 1) / 2) / (n * (inside.shape[1] - n))

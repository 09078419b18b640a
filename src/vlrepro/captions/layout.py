"""A vision tower for the stand-ins: where edges and colours lie in a small, centred drawing, then one hidden layer.

A network from scratch learns too little from 800 drawings of as many concepts. What survives from one design to
another is the layout, so the first layer is fixed: histograms of oriented gradients (Dalal and Triggs 2005,
"Histograms of Oriented Gradients for Human Detection", section 6) on a grid of cells, and the mean colour of coarser
cells. They may be whitened (Hariharan et al. 2012, "Discriminative Decorrelation for Clustering and Classification",
section 2), since what most drawings share says little about one. Only what follows is fitted. The tower is registered
with transformers' Auto classes, so checkpoints that hold it are loaded like any other: importing this module is enough.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

_COLOUR_CELLS = 8
_FLOOR = 0.05  # added to a cell's edge strength, so that flat cells do not amplify noise


class LayoutConfig(PreTrainedConfig):
    """Shape of the tower: pictures of `image_size` pixels, cells of `cell` pixels, `units` hidden units.

    `activation` is `gelu` (a perceptron) or `softmax` (a memory: the units are stored layouts, the output a mean of
    what is stored with them, weighted by softmax(sharpness * cosine)).
    """

    model_type = "vlrepro_layout"

    def __init__(
        self,
        image_size: int = 48,
        cell: int = 6,
        orientations: int = 8,
        colour_weight: float = 0.7,
        units: int = 512,
        activation: str = "gelu",
        sharpness: float = 24.0,
        dropout: float = 0.0,
        hidden_size: int = 256,
        **others: object,
    ) -> None:
        self.image_size = image_size
        self.cell = cell
        self.orientations = orientations
        self.colour_weight = colour_weight
        self.units = units
        self.activation = activation
        self.sharpness = sharpness
        self.dropout = dropout
        self.hidden_size = hidden_size
        super().__init__(**others)

    @property
    def edge_width(self) -> int:
        """Numbers that tell the edges: orientations times overlapping blocks of 2 x 2 cells."""
        return self.orientations * (self.image_size // self.cell - 1) ** 2

    @property
    def layout_width(self) -> int:
        """Numbers that tell a picture's layout: edges and colours."""
        return self.edge_width + 3 * _COLOUR_CELLS**2


class LayoutModel(PreTrainedModel):
    """Pictures (B, 3, S, S) in [0, 1] to one token each: `last_hidden_state` (B, 1, d), `pooler_output` (B, d)."""

    config_class = LayoutConfig
    main_input_name = "pixel_values"
    base_model_prefix = "layout"

    def __init__(self, config: LayoutConfig) -> None:
        super().__init__(config)
        self.register_buffer("mean", torch.zeros(config.layout_width))
        self.register_buffer("whitening", torch.eye(config.layout_width))
        self.keys = nn.Linear(config.layout_width, config.units, bias=config.activation == "gelu")
        self.values = nn.Linear(config.units, config.hidden_size, bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def layout(self, pictures: Tensor) -> Tensor:
        """Unit rows (B, layout_width) of pictures (B, 3, S, S) in [0, 1]: edges and colours less the mean, whitened."""
        config = self.config
        rows = self.describe(pictures) - self.mean
        edges, colours = rows[:, : config.edge_width], rows[:, config.edge_width :]
        weight = config.colour_weight
        rows = torch.cat((functional.normalize(edges, dim=1), weight * functional.normalize(colours, dim=1)), dim=1)
        return functional.normalize(rows @ self.whitening, dim=1)

    def describe(self, pictures: Tensor) -> Tensor:
        """Edges and colours (B, layout_width) of pictures (B, 3, S, S) in [0, 1], as they are."""
        edges = oriented_edges(pictures, self.config.cell, self.config.orientations)
        colours = functional.adaptive_avg_pool2d(1 - pictures, _COLOUR_CELLS)
        return torch.cat((edges.flatten(1), colours.flatten(1)), dim=1)

    def recall(self, rows: Tensor) -> BaseModelOutputWithPooling:
        """What is kept for layouts (B, layout_width), as `forward`'s result: the part of the tower that is fitted."""
        config = self.config
        hidden = self.keys(config.sharpness * rows.to(self.keys.weight.dtype))
        hidden = hidden.softmax(1) if config.activation == "softmax" else functional.gelu(hidden)
        pooled = self.values(functional.dropout(hidden, config.dropout, self.training))
        return BaseModelOutputWithPooling(last_hidden_state=pooled.unsqueeze(1), pooler_output=pooled)

    def forward(self, pixel_values: Tensor, **unused: object) -> BaseModelOutputWithPooling:
        """One token a picture; other keyword arguments of transformers' vision towers are accepted and ignored."""
        return self.recall(self.layout(pixel_values.float()))


def oriented_edges(pictures: Tensor, cell: int, orientations: int) -> Tensor:
    """Histograms of gradient orientation (B, orientations, n - 1, n - 1) of pictures (B, 3, S, S), n = S // cell.

    At each pixel the colour channel with the strongest gradient counts. Its strength goes to the orientations
    (modulo half a turn) by a squared-cosine window, is averaged over blocks of 2 x 2 cells that overlap by one cell,
    and each block's histogram is divided by its length plus a floor.
    """
    padded = functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    strength, channel = (across**2 + down**2).max(1, keepdim=True)
    angle = 2 * torch.atan2(down.gather(1, channel), across.gather(1, channel))
    centres = torch.arange(orientations, device=pictures.device) * (2 * math.pi / orientations)
    window = torch.cos(angle - centres.view(1, -1, 1, 1)).clamp_min(0) ** 2
    blocks = functional.avg_pool2d(strength.sqrt() * window, 2 * cell, cell)
    return blocks / (blocks.norm(dim=1, keepdim=True) + _FLOOR)


AutoConfig.register(LayoutConfig.model_type, LayoutConfig)
AutoModel.register(LayoutConfig, LayoutModel)

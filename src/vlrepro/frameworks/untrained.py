"""No training at all: the backbone's random weights, the control that every table needs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, Step

REVISION = 1
VIEWS = 1
TEXTS = False
LABELS = False


@dataclass(frozen=True)
class Options:
    """Nothing to set."""


class Framework(nn.Module):
    """A backbone that is saved as it was initialised; its recipe must ask for 0 steps."""

    def __init__(self, backbone: nn.Module, options: Options) -> None:
        super().__init__()
        self.options = options
        self.backbone = backbone

    def forward(self, batch: Batch) -> Step:
        """Raise `UserError`: there is no loss to minimise."""
        raise UserError("framework 'untrained' has no loss: set its recipe's steps to 0")

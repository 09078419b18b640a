"""A queue of past representations: NNCLR draws neighbours from one, SwAV fills up small batches with one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlrepro.distributed import gather
from vlrepro.errors import UserError


class Queue(nn.Module):
    """The last `size` rows that entered, as unit rows in float32; the first in leaves first.

    Rows enter from all processes, so every process holds the same queue. Its state dict holds everything, so training
    resumes with the neighbours it was stopped with. Until rows of data have entered it is filled with random
    directions from torch's current generator.

    Raises `UserError` for a size below 1.
    """

    rows: Tensor
    entered: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        if size < 1:
            raise UserError(f"a queue cannot hold {size} rows: set queue_size to 1 or more")
        self.register_buffer("rows", functional.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("entered", torch.zeros((), dtype=torch.int64))

    @property
    def full(self) -> bool:
        """Whether every row is one that entered."""
        return self.entered.item() >= len(self.rows)

    @torch.no_grad()
    def nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Find each of (n, d) queries' nearest row by cosine.

        Look up before `enqueue`, or every query finds itself. No gradient passes.

        Returns:
            (n, d) unit rows, and (n,) whether each is a row that entered and not one of the random ones.
        """
        best = (queries.to(self.rows.dtype) @ self.rows.T).argmax(1)
        return self.rows[best], best < self.entered

    @torch.no_grad()
    def enqueue(self, rows: Tensor) -> None:
        """Let (B, d) rows of every process in, rank 0's first; of more than the queue holds, the last."""
        rows = functional.normalize(gather(rows.detach()).to(self.rows.dtype), dim=1)
        kept = rows[-len(self.rows) :]
        ends = self.entered + len(rows)
        places = torch.arange(-len(kept), 0, device=rows.device) + ends
        self.rows.index_copy_(0, places % len(self.rows), kept)
        self.entered.copy_(ends)

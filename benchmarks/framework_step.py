"""One step of each image-only framework, forward and backward, beside the same step of lightly's modules, in one run.

    python benchmarks/framework_step.py [--repeats N] [--batch B] [--together]

The peer is written as lightly's own examples are: each view passes the network by itself, then lightly's heads, loss
and memory bank. Both have the same backbone, widths, queues and precision, and no optimiser. The two alternate, so
both meet the same load of the machine; the medians of processor milliseconds and their ratio are printed. With
--together a third column times the peer with both views in one pass, as ours are: what is left is not the batching.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss, SwaVLoss
from lightly.models.modules import NNMemoryBankModule, heads
from lightly.models.modules.memory_bank import MemoryBankModule
from torch import Tensor, nn
from torch.nn.functional import normalize

from vlrepro.frameworks import Batch, build_framework
from vlrepro.models.backbones import build_backbone

SIZE, WIDTH, HIDDEN, OUTPUT, PREDICTOR, PROTOTYPES, QUEUE = 24, 16, 256, 128, 256, 256, 512  # as in config.yaml
OPTIONS: dict[str, dict[str, Any]] = {
    "simclr": {},
    "simsiam": {"predictor_width": PREDICTOR, "final_norm_affine": False},
    "nnclr": {"predictor_width": PREDICTOR, "queue_size": QUEUE, "variant": "full"},
    "swav": {"prototypes": PROTOTYPES, "queue_size": QUEUE, "queue_start": 0, "freeze_steps": 0},
}


class Peer(nn.Module):
    """What lightly's examples share: a backbone and a projection head, each view on its own or both in one pass."""

    def __init__(self, head: type[nn.Module], together: bool, **layers: int) -> None:
        super().__init__()
        self.backbone = build_backbone("resnet_small", width=WIDTH)
        self.head = head(self.backbone.feature_width, HIDDEN, OUTPUT, **layers)
        self.together = together

    def project(self, views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Two views to their projections, (B, d) each."""
        if self.together:
            return self.head(self.backbone(torch.cat(views))).chunk(2)
        return tuple(self.head(self.backbone(view)) for view in views)


class SimCLR(Peer):
    """lightly's SimCLR with the projector's depth of ours."""

    def __init__(self, together: bool) -> None:
        super().__init__(heads.SimCLRProjectionHead, together, num_layers=3)
        self.criterion = NTXentLoss(temperature=0.1)

    def forward(self, views: tuple[Tensor, ...]) -> Tensor:
        """Two views to the loss."""
        return self.criterion(*self.project(views))


class SimSiam(Peer):
    """lightly's SimSiam."""

    def __init__(self, together: bool) -> None:
        super().__init__(heads.SimSiamProjectionHead, together)
        self.predictor = heads.SimSiamPredictionHead(OUTPUT, PREDICTOR, OUTPUT)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, views: tuple[Tensor, ...]) -> Tensor:
        """Two views to the loss."""
        z0, z1 = self.project(views)
        p0, p1 = self.predictor(z0), self.predictor(z1)
        return (self.criterion(p0, z1.detach()) + self.criterion(p1, z0.detach())) / 2


class NNCLR(Peer):
    """lightly's NNCLR."""

    def __init__(self, together: bool) -> None:
        super().__init__(heads.NNCLRProjectionHead, together)
        self.predictor = heads.NNCLRPredictionHead(OUTPUT, PREDICTOR, OUTPUT)
        self.bank = NNMemoryBankModule(size=(QUEUE, OUTPUT))
        self.criterion = NTXentLoss(temperature=0.1)

    def forward(self, views: tuple[Tensor, ...]) -> Tensor:
        """Two views to the loss."""
        z0, z1 = self.project(views)
        p0, p1 = self.predictor(z0), self.predictor(z1)
        n0, n1 = self.bank(z0.detach(), update=False), self.bank(z1.detach(), update=True)
        return (self.criterion(n0, p1) + self.criterion(n1, p0)) / 2


class SwAV(Peer):
    """lightly's SwAV with two crops and a queue for each."""

    def __init__(self, together: bool) -> None:
        super().__init__(heads.SwaVProjectionHead, together)
        self.prototypes = heads.SwaVPrototypes(OUTPUT, PROTOTYPES)
        self.queues = nn.ModuleList(MemoryBankModule(size=(QUEUE, OUTPUT)) for _ in range(2))
        self.criterion = SwaVLoss()

    def forward(self, views: tuple[Tensor, ...]) -> Tensor:
        """Two views to the loss."""
        self.prototypes.normalize()
        rows = [normalize(z, dim=1) for z in self.project(views)]
        with torch.no_grad():
            past = [queue(z.detach(), update=True)[1].T for queue, z in zip(self.queues, rows, strict=True)]
            queued = [self.prototypes(rows) for rows in past]
        return self.criterion([self.prototypes(z) for z in rows], [], queued)


PEERS: dict[str, type[Peer]] = {"simclr": SimCLR, "simsiam": SimSiam, "nnclr": NNCLR, "swav": SwAV}


def ours(name: str, views: tuple[Tensor, ...]) -> Callable[[], Tensor]:
    """Our framework's loss on the views, at the options the peer is built with."""
    options = {"hidden_width": HIDDEN, "output_width": OUTPUT} | OPTIONS[name]
    model = prepared(build_framework(name, build_backbone("resnet_small", width=WIDTH), options))
    return lambda: model(Batch(views, None, 0)).loss


def theirs(name: str, views: tuple[Tensor, ...], together: bool) -> Callable[[], Tensor]:
    """The peer's loss on the views."""
    model = prepared(PEERS[name](together))
    return lambda: model(views)


def prepared(model: nn.Module) -> nn.Module:
    """The model as the training loop has it: filters with the channels last."""
    return model.to(memory_format=torch.channels_last).train()


def medians(programs: list[Callable[[], Tensor]], repeats: int) -> list[float]:
    """The median processor milliseconds of each program's forward and backward pass; they take turns."""
    times: list[list[float]] = [[] for _ in programs]
    warm = 5  # also fills every queue
    for repeat in range(repeats + warm):
        for program, spent in zip(programs, times, strict=True):
            start = time.process_time()
            program().backward()
            if repeat >= warm:
                spent.append(1000 * (time.process_time() - start))
    return [statistics.median(spent) for spent in times]


def main() -> None:
    """Parse the arguments and print one line a framework."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=60, help="timed steps of each (default 60)")
    parser.add_argument("--batch", type=int, default=64, help="pictures a step (default 64)")
    parser.add_argument("--together", action="store_true", help="also the peer with both views in one pass")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    views = tuple(torch.randn(arguments.batch, 3, SIZE, SIZE).to(memory_format=torch.channels_last) for _ in range(2))
    print(f"{arguments.batch} pictures of {SIZE} pixels, one thread; processor milliseconds a step, ratio to ours")
    for name in PEERS:
        programs = [ours(name, views), theirs(name, views, together=False)]
        if arguments.together:
            programs.append(theirs(name, views, together=True))
        own, *others = medians(programs, arguments.repeats)
        columns = "".join(
            f"   {label} {other:7.1f} ({other / own:4.2f})"
            for label, other in zip(("lightly", "lightly in one pass"), others, strict=False)
        )
        print(f"{name:<8} ours {own:7.1f}{columns}")


if __name__ == "__main__":
    main()

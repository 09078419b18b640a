"""Several processes that train one model as one process would on their joint batch.

Every process (rank) holds B rows of a batch of world * B, rank 0's first. A framework's loss is a mean over its own
rows against columns gathered from all ranks (`gather`), its batch statistics are those of all rows
(`synced_batch_norm`), and gradients are averaged, while backward runs (`data_parallel`) or after it
(`average_gradients`). Backward sums what the ranks send, so each rank's gradient is d(sum of all ranks' losses) / d(its
own copy of the weights), and their average is the gradient of the mean loss: that of one process on the joint batch.
All of it works on CPUs too (gloo).

With one process every function here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from vlrepro.errors import UserError

T = TypeVar("T")
_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def start() -> torch.device:
    """Join the processes that torchrun started, if it did, and return the device this one computes on.

    Reads torchrun's environment (WORLD_SIZE, RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT); nccl between GPUs, gloo
    between CPUs.

    Raises:
        UserError: the environment is incomplete, or this process has no GPU of its own.
    """
    cuda = torch.cuda.is_available()
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return torch.device("cuda" if cuda else "cpu")
    if missing := [name for name in _NEEDED if name not in os.environ]:
        raise UserError(f"WORLD_SIZE is {count} but {', '.join(missing)} is not set: start the processes with torchrun")
    device = torch.device("cpu")
    if cuda:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        if device.index >= torch.cuda.device_count():
            raise UserError(
                f"process {device.index} of this machine finds {torch.cuda.device_count()} GPUs: "
                "start no more processes than GPUs (torchrun --nproc-per-node)"
            )
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    return device


def stop() -> None:
    """Leave the other processes."""
    if _joined():
        dist.destroy_process_group()


def rank() -> int:
    """This process's place among all, from 0."""
    return dist.get_rank() if _joined() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _joined() else 1


def gather(x: Tensor) -> Tensor:
    """(B, ...) of every rank to (world * B, ...), rank 0's rows first; B must be the same on all ranks.

    Differentiable: backward sums over ranks, so a loss on the gathered rows of every rank gives d(sum of all ranks'
    losses) / dx. Without that sum the rows that other ranks use as negatives get no gradient from there.
    """
    return x if world_size() == 1 else _Gather.apply(x)


class _Gather(torch.autograd.Function):
    """All-gather forward, sum all-reduce and own slice backward."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(world_size())[rank()]


def synced_batch_norm(module: nn.Module) -> nn.Module:
    """Replace every BatchNorm in `module` (or itself) by one whose batch statistics are over all ranks.

    Parameters, buffers and names in the state dict stay as they are. Call it on the device the module trains on: GPUs
    get torch's own layer, which refuses CPUs.
    """
    if world_size() == 1:
        return module
    if any(tensor.is_cuda for tensor in (*module.parameters(), *module.buffers())):
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    if isinstance(module, _BatchNorm):
        return _SyncedBatchNorm.like(module)
    for name, child in module.named_children():
        setattr(module, name, synced_batch_norm(child))
    return module


def is_synced(layer: nn.Module) -> bool:
    """Whether `layer` is one that `synced_batch_norm` put there."""
    return isinstance(layer, (_SyncedBatchNorm, nn.SyncBatchNorm))


class _SyncedBatchNorm(_BatchNorm):
    """Batch normalisation over the rows of all ranks (Ioffe and Szegedy 2015, algorithm 1), on any device.

    While training, with n rows (and pixels) on all ranks together:

        y = (x - mean) / sqrt(var + eps) * weight + bias,  mean = sum x / n,  var = sum (x - mean)^2 / n

    and the running variance takes n / (n - 1) var. In evaluation it is BatchNorm.
    """

    @classmethod
    def like(cls, layer: _BatchNorm) -> _SyncedBatchNorm:
        """A layer of this kind that holds `layer`'s own parameters and buffers."""
        synced = cls(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            setattr(synced, name, getattr(layer, name))
        return synced.train(layer.training)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 2:
            raise ValueError(f"expected (B, C, ...), got {x.ndim} dimensions")

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape."""
        self._check_input_dim(x)
        if not self.training:
            return super().forward(x)
        others = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # half precision is too coarse for sums
        count = world_size() * x.numel() // x.shape[1]
        mean = _sum_over_ranks(wide.sum(others)) / count
        centred = wide - mean.view(shape)
        var = _sum_over_ranks(centred.square().sum(others)) / count
        self._track(mean.detach(), var.detach() * count / (count - 1))
        y = centred * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

    def _track(self, mean: Tensor, var: Tensor) -> None:
        if not self.track_running_stats:
            return
        self.num_batches_tracked += 1
        weight = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
        self.running_var.lerp_(var.to(self.running_var.dtype), weight)


def data_parallel(module: nn.Module) -> nn.Module:
    """`module`, with several processes inside torch's DistributedDataParallel; its own names and tensors stay its own.

    Each backward after a forward of it leaves the mean of all ranks' gradients, sent in buckets while the rest is still
    computed (Li et al. 2020, "PyTorch Distributed", section 3.2.3). Buffers are left alone: `synced_batch_norm` and
    what frameworks carry from step to step are the same on all ranks by themselves. Some parameters have no gradient in
    some steps (SwAV's prototypes), so unused ones are looked for; that also keeps buckets as they are first cut, where
    DDP would cut them anew after one step and a resumed training would add in another order than one that was not.
    """
    if world_size() == 1 or not any(parameter.requires_grad for parameter in module.parameters()):
        return module
    return nn.parallel.DistributedDataParallel(
        module, forward_sync_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True
    )


def mean_over_ranks(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """Each value's mean over all ranks, in double precision and in rank order; all ranks must have the same names."""
    if world_size() == 1:
        return values
    own = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    return dict(zip(values, gather(own[None]).mean(0).tolist(), strict=True))


def largest(number: int, device: torch.device) -> int:
    """The largest of the ranks' numbers, the same on all of them."""
    if world_size() == 1:
        return number
    agreed = torch.tensor(number, device=device)
    dist.all_reduce(agreed, dist.ReduceOp.MAX)
    return int(agreed)


def first_alone(call: Callable[[], T]) -> T:
    """What `call` gives each rank, the others' turn being after rank 0's: it may tidy files up that they then find."""
    if world_size() == 1:
        return call()
    found = call() if rank() == 0 else None
    dist.barrier()
    return found if rank() == 0 else call()


def average_gradients(module: nn.Module) -> None:
    """Replace every parameter's gradient by its mean over all ranks.

    A rank without a gradient counts as zero. A parameter without one on any rank keeps none, so that optimisers pass
    it over as they do in one process.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if world_size() == 1 or not parameters:
        return
    present = torch.tensor([parameter.grad is not None for parameter in parameters], device=parameters[0].device).int()
    dist.all_reduce(present, dist.ReduceOp.MAX)
    parameters = [parameter for parameter, some in zip(parameters, present.tolist(), strict=True) if some]
    if not parameters:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    # One message for all: hundreds of small ones would spend their time waiting.
    flat = torch.cat([parameter.grad.reshape(-1) for parameter in parameters])
    dist.all_reduce(flat)
    flat /= world_size()
    for parameter, mean in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad.copy_(mean.view_as(parameter))


def _sum_over_ranks(x: Tensor) -> Tensor:
    """The sum over ranks of a tensor of any shape, added in rank order so that it is the same bits everywhere."""
    return gather(x[None]).sum(0)


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()

"""Two and four processes, with and without parts, against one process on the whole batch."""

import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch
from pass_models import ROWS, batch_of, gradients_of, model_of, passes_of
from safetensors.torch import load_file, save_file

from vlrepro import distributed

WORLDS, PARTS = (2, 4), (1, 3)
CASES = ("clip transformer", "permutation", "secondary_blend", "clip_hard_negatives")


def ways():
    return [(world, parts, case) for world in WORLDS for parts in PARTS for case in CASES]


def found_by(rank: int, world: int, parts: int, case: str) -> dict[str, torch.Tensor]:
    model, batch, share = model_of(case), batch_of(case), ROWS // world
    own = slice(rank * share, (rank + 1) * share)
    batch = batch._replace(views=(batch.views[0][own],), texts=batch.texts[own])
    result, backward = passes_of(model, accumulate=parts).forward(batch)
    backward()
    distributed.average_gradients(model)
    return {"loss": result.loss.detach(), **gradients_of(model)}


def process(rank: int, ports: list[int], folder: str) -> None:
    """The first two of the four processes meet first, then all."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
    found = {}
    for world, port in zip(WORLDS, ports, strict=True):
        if rank < world:
            os.environ |= {"WORLD_SIZE": str(world), "MASTER_PORT": str(port)}
            distributed.start()
            for way in ways():
                if way[0] == world:
                    found |= {f"{way} {name}": value for name, value in found_by(rank, *way).items()}
            distributed.stop()
    save_file({name: value.contiguous() for name, value in found.items()}, Path(folder) / f"{rank}.safetensors")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each process found, by way and name."""
    folder = tmp_path_factory.mktemp("ranks")
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in WORLDS]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=process, args=(rank, ports, str(folder))) for rank in range(max(WORLDS))]
    for one in processes:
        one.start()
    for one in processes:
        one.join(120)
        if one.is_alive():
            one.kill()
    assert [one.exitcode for one in processes] == [0] * len(processes)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(max(WORLDS))]


@pytest.mark.parametrize("way", ways(), ids=str)
def test_processes_and_parts_give_the_gradients_of_one(way, ranks):
    world, _, case = way
    model = model_of(case)
    loss = model(batch_of(case)).loss
    loss.backward()
    losses = [found[f"{way} loss"] for found in ranks[:world]]
    assert len({value.item() for value in losses}) == world  # each over its own rows
    assert torch.stack(losses).mean().item() == pytest.approx(loss.item(), rel=1e-10)
    for name, gradient in gradients_of(model).items():
        for found in ranks[:world]:
            torch.testing.assert_close(found[f"{way} {name}"], gradient, rtol=1e-8, atol=1e-12, msg=name)

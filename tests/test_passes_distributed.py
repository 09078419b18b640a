"""Two and four processes, with and without parts, against one process on the whole batch."""

import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch
from pass_models import OPTIONS, ROWS, batch_of, gradients_of, model_of, passes_of
from safetensors.torch import load_file, save_file

from vlrepro import distributed
from vlrepro.frameworks import Batch, Step
from vlrepro.training.passes import Forward
from vlrepro.training.state import StateFolder
from vlrepro.training.trainer import Trainer

WORLDS, PARTS = (2, 4), (1, 3)
CASES = ("clip transformer", "permutation", "secondary_blend", "clip_hard_negatives", "clip_distillation")


def ways():
    return [(world, parts, case) for world in WORLDS for parts in PARTS for case in CASES]


def found_by(rank: int, world: int, parts: int, case: str) -> dict[str, torch.Tensor]:
    model, batch, share = model_of(case), batch_of(case), ROWS // world
    own = slice(rank * share, (rank + 1) * share)
    concepts = batch.concepts.map(lambda rows: rows[own])
    batch = batch._replace(views=(batch.views[0][own],), texts=batch.texts[own], concepts=concepts)
    result, backward = passes_of(model, accumulate=parts).forward(batch)
    backward()
    return {"loss": result.loss.detach(), **gradients_of(model)}


def stopped(rank: int) -> torch.Tensor:
    """Whether a training ends where the last rank's loss alone is not finite, at which step and for what."""
    recipe = {
        **{"framework": "clip", "options": OPTIONS, "seed": 0, "steps": 9, "batch_size": ROWS},
        "backbone": {"name": "resnet_small", "width": 2},
        "pictures": {"size": 16},
        "optimiser": {
            **{"learning_rate": 0.1, "reference_batch": ROWS, "weight_decay": 0.0, "decay_all": True},
            **{"warmup_steps": 0, "warmup_start": 0.0, "final_rate": 0.0},
        },
    }
    trainer = Trainer(recipe, StateFolder("nowhere", ""), torch.device("cpu"), "run")
    trainer.save = lambda: None
    worst = distributed.world_size() - 1
    loss = trainer.model.projection.weight.sum() * (float("inf") if rank == worst else 1.0)
    trainer.passes.forward = lambda batch: Forward(Step(loss, {}), loss.backward)
    before = trainer.model.projection.weight.clone()
    trainer.take(Batch((), None, 0))
    kept = torch.equal(before, trainer.model.projection.weight)
    told = trainer.failed in ("the loss is inf at step 1", "the loss is -inf at step 1")
    return torch.tensor([kept, told, trainer.step == 0, not trainer.unfinished])


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
            found[f"stopped {world}"] = stopped(rank)
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


@pytest.mark.parametrize("world", WORLDS)
def test_all_processes_stop_where_one_has_no_finite_loss(world, ranks):
    for found in ranks[:world]:
        assert found[f"stopped {world}"].all()

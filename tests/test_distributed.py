"""Two processes against one on their joint batch: losses, gradients, statistics and queues, for every framework.

Two processes are started once and go through all cases, in double precision; what they find is compared here with
plain code in one process that knows nothing of ranks: native BatchNorm, no gathering.
"""

import multiprocessing
import os
import socket
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from pass_models import concepts_of
from safetensors.torch import load_file, save_file
from torch import nn

from vlrepro import distributed, frameworks
from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, build_framework, framework_module
from vlrepro.models.resnet_small import ResNetSmall
from vlrepro.randomness import torch_generator

WORLD, ROWS, STEPS = 2, 6, 3
SMALL = {"hidden_width": 8, "output_width": 6}
TEXT = {"text_tower": {"name": "sentence", "width": 5}, "joint_width": 6}
TRANSFORMER = {"text_tower": {"name": "transformer", "layers": 1, "width": 8, "heads": 2, "vocabulary": 20}}
# Queues of 16 rows wrap in the second step and take part in SwAV's third; prototypes stand still in the first.
NNCLR = {**SMALL, "predictor_width": 10, "queue_size": 16}
SWAV = {**SMALL, "prototypes": 7, "freeze_steps": 1, "queue_size": 16, "queue_start": 0}
CASES = {
    "simclr": ("simclr", SMALL),
    "simsiam": ("simsiam", {**SMALL, "predictor_width": 4}),
    "nnclr paper": ("nnclr", {**NNCLR, "variant": "paper"}),
    "nnclr lgssl": ("nnclr", {**NNCLR, "variant": "lgssl"}),
    "nnclr full": ("nnclr", {**NNCLR, "variant": "full"}),
    "swav official": ("swav", {**SWAV, "variant": "official"}),
    "swav lgssl": ("swav", {**SWAV, "variant": "lgssl"}),
    "clip": ("clip", TEXT),
    "clip limited": ("clip", {**TEXT, "scale_limit": 12.0}),
    "clip transformer": ("clip", {**TRANSFORMER, "joint_width": 6}),
    **{
        f"clip_label_noise {strategy} {columns}": (
            "clip_label_noise",
            {**TEXT, "label_noise": {"strategy": strategy, "rate": 0.4, "columns": columns}},
        )
        for strategy, columns in (
            ("reselection", "shared"),
            ("reselection", "independent"),
            ("permutation", "shared"),
            ("permutation", "inverse"),
            ("secondary", "shared"),
            ("secondary_blend", "clean"),
        )
    },
    "clip_hard_negatives": ("clip_hard_negatives", {**TEXT, "alpha": 0.9, "beta": 0.5}),
    "clip_distillation": (
        "clip_distillation",
        {**TEXT, "alpha": 0.9, "beta": 0.5, "objects": 7, "attributes": 5, "attribute_weight": 0.7},
    ),
    "slip": ("slip", {**TEXT, **SMALL, "weight": 0.7}),
    "lgslip": ("lgslip", {**TEXT, "hidden_width": 8, "weight": 0.7}),
    "supervised": ("supervised", {"classes": 4, "label_smoothing": 0.1}),
}
NORMS = {
    "rows": (nn.BatchNorm1d(4), (ROWS, 4)),
    "sequences": (nn.BatchNorm1d(4), (ROWS, 4, 3)),
    "pictures": (nn.BatchNorm2d(4, momentum=0.3), (ROWS, 4, 3, 2)),
    "plain": (nn.BatchNorm2d(4, affine=False), (ROWS, 4, 3, 2)),
    "averaging": (nn.BatchNorm1d(4, momentum=None), (ROWS, 4)),
    "forgetful": (nn.BatchNorm1d(4, track_running_stats=False), (ROWS, 4)),
}


def built(case: str) -> nn.Module:
    """The same model in every process."""
    name, options = CASES[case]
    torch.manual_seed(0)
    return build_framework(name, ResNetSmall(width=2), options).double().train()


def joint_batch(case: str, step: int) -> Batch:
    """Both ranks' rows. Captions repeat, within a rank and across."""
    name, options = CASES[case]
    module, count = framework_module(name), WORLD * ROWS
    generator = torch_generator(step, case)
    views = tuple(torch.randn(count, 3, 16, 16, generator=generator, dtype=torch.float64) for _ in range(module.VIEWS))
    texts = None
    if module.TEXTS and options["text_tower"]["name"] == "sentence":
        texts = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    elif module.TEXTS:
        texts = torch.randint(1, 19, (count, 9), generator=generator)
        ends = torch.randint(2, 9, (count,), generator=generator)
        texts = texts.scatter(1, ends[:, None], 19) * (torch.arange(9) <= ends[:, None])
    if texts is not None:
        texts[1] = texts[0]
        texts[-1] = texts[0]
    labels = torch.randint(0, options["classes"], (count,), generator=generator) if module.LABELS else None
    return Batch(views, texts, step, labels, concepts=concepts_of(count, step))


def part(batch: Batch, rank: int) -> Batch:
    own = slice(rank * ROWS, (rank + 1) * ROWS)
    texts, labels = (None if rows is None else rows[own] for rows in (batch.texts, batch.labels))
    concepts = batch.concepts.map(lambda rows: rows[own])
    return Batch(tuple(view[own] for view in batch.views), texts, batch.step, labels, concepts=concepts)


def trained(model: nn.Module, batches) -> dict[str, torch.Tensor]:
    """A few plain descent steps; every loss and gradient on the way, and the state at the end."""
    found = {}
    for step, batch in enumerate(batches):
        loss = model(batch).loss
        model.zero_grad(set_to_none=True)
        loss.backward()
        distributed.average_gradients(model)
        found[f"loss {step}"] = loss.detach().clone()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                found[f"gradient {step} {name}"] = parameter.grad.clone()
                parameter.data -= 0.1 * parameter.grad
    return found | {f"state {name}": tensor.clone() for name, tensor in model.state_dict().items()}


def normalised(layer: nn.Module, rows: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Two training passes and one evaluation through `layer`, and what a loss sends back."""
    found = {}
    for step, x in enumerate(rows):
        x = x.clone().requires_grad_()
        y = layer(x)
        (y.pow(3) * torch.arange(1.0, 5).view(1, 4, *[1] * (x.ndim - 2))).sum().backward()
        found |= {f"output {step}": y.detach(), f"input gradient {step}": x.grad}
    found["evaluated"] = layer.eval()(rows[0]).detach()
    found |= {f"gradient {name}": parameter.grad for name, parameter in layer.named_parameters()}
    return found | {f"state {name}": tensor.clone() for name, tensor in layer.state_dict().items()}


def norm_rows(name: str) -> list[torch.Tensor]:
    count, *rest = NORMS[name][1]
    generator = torch_generator(0, name)
    return [5 + 2 * torch.randn(WORLD * count, *rest, generator=generator, dtype=torch.float64) for _ in range(2)]


def double(layer: nn.Module) -> nn.Module:
    return deepcopy(layer).double().train()


def gathered(rank: int) -> dict[str, torch.Tensor]:
    """`gather` forward, and backward from a loss that weighs every rank's copy of every row differently."""
    x = torch.arange(6.0).view(2, 3).add(10 * rank).T.requires_grad_()  # not contiguous
    joint = distributed.gather(x)
    weights = torch.arange(12.0).view(6, 2) * (rank + 1)
    (joint * weights).sum().backward()
    return {"joint": joint.detach(), "gradient": x.grad, "ids": distributed.gather(torch.tensor([rank, 7]))}


def averaged(rank: int) -> dict[str, torch.Tensor]:
    """`average_gradients` where both, one and no rank has a gradient, and with one that is not contiguous."""
    model = nn.ParameterDict({name: torch.zeros(3, 2) for name in ("both", "one", "none", "frozen")})
    model["frozen"].requires_grad_(False)
    model["both"].grad = torch.arange(6.0).view(2, 3).T * (rank + 1)
    if rank == 1:
        model["one"].grad = torch.ones(3, 2)
    distributed.average_gradients(model)
    return {name: parameter.grad.contiguous() for name, parameter in model.items() if parameter.grad is not None}


def process(rank: int, port: int, folder: str) -> None:
    """What each of the two processes does: everything, into one file of tensors."""
    torch.set_num_threads(1)
    os.environ |= {"WORLD_SIZE": str(WORLD), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    found = {"device": torch.tensor(distributed.start().type == "cpu")}
    found["place"] = torch.tensor([distributed.rank(), distributed.world_size()])
    results = {"gather": gathered(rank), "average": averaged(rank)}
    for name, (layer, _) in NORMS.items():
        own = [x[rank * ROWS : (rank + 1) * ROWS] for x in norm_rows(name)]
        results[f"norm {name}"] = normalised(distributed.synced_batch_norm(double(layer)), own)
    half = [x[rank * ROWS : (rank + 1) * ROWS].bfloat16() for x in norm_rows("pictures")]
    found["half"] = distributed.synced_batch_norm(deepcopy(NORMS["pictures"][0]))(half[0]).detach()
    for case in CASES:
        model = distributed.synced_batch_norm(built(case))
        found[f"{case}: native norms"] = torch.tensor(
            sum(type(m) in (nn.BatchNorm1d, nn.BatchNorm2d) for m in model.modules())
        )
        results[case] = trained(model, [part(joint_batch(case, step), rank) for step in range(STEPS)])
    distributed.stop()
    found["place after"] = torch.tensor([distributed.rank(), distributed.world_size()])
    for group, tensors in results.items():
        found |= {f"{group}: {name}": tensor for name, tensor in tensors.items()}
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, Path(folder) / f"{rank}.safetensors")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each process found, by name."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=process, args=(rank, port, str(folder))) for rank in range(WORLD)]
    for one in processes:
        one.start()
    for one in processes:
        one.join(120)
        if one.is_alive():
            one.kill()
    assert [one.exitcode for one in processes] == [0] * WORLD
    return [load_file(folder / f"{rank}.safetensors") for rank in range(WORLD)]


def group_of(found: dict[str, torch.Tensor], group: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{group}: "): value for name, value in found.items() if name.startswith(f"{group}: ")}


def test_every_framework_has_a_case():
    files = {path.stem for path in Path(frameworks.__file__).parent.glob("*.py")}
    assert files - {"__init__", "untrained"} == {name for name, _ in CASES.values()}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one_on_the_joint_batch(case, ranks):
    one = trained(built(case), [joint_batch(case, step) for step in range(STEPS)])
    two = [group_of(found, case) for found in ranks]
    assert two[0].pop("native norms") == two[1].pop("native norms") == 0
    assert one.keys() == two[0].keys() == two[1].keys()  # the same parameters have gradients, the same names states
    for name, expected in one.items():
        if name.startswith("loss"):
            mean = (two[0][name] + two[1][name]) / 2
            assert mean.item() == pytest.approx(expected.item(), abs=1e-9), name
        else:
            assert torch.equal(two[0][name], two[1][name]), name  # ranks never drift apart
            assert torch.allclose(two[0][name], expected, rtol=1e-7, atol=1e-9), name


@pytest.mark.parametrize("case", CASES)
def test_ranks_see_different_losses(case, ranks):
    # Otherwise the comparison above could not tell the mean from either.
    assert not torch.equal(*(group_of(found, case)["loss 0"] for found in ranks))


@pytest.mark.parametrize("name", NORMS)
def test_synced_batch_norm_equals_native_on_the_joint_batch(name, ranks):
    one = normalised(double(NORMS[name][0]), norm_rows(name))
    two = [group_of(found, f"norm {name}") for found in ranks]
    assert one.keys() == two[0].keys() == two[1].keys()
    for key, expected in one.items():
        if key.startswith("gradient"):
            found = two[0][key] + two[1][key]
        elif key.startswith("state"):
            found = two[1][key]
        elif key == "evaluated" and name == "forgetful":
            continue  # without running statistics evaluation is over the rank's own rows, as in torch
        else:
            found = torch.cat([two[0][key], two[1][key]])
        assert found.dtype == expected.dtype
        assert torch.allclose(found.to(expected.dtype), expected, rtol=1e-7, atol=1e-9), key


def test_synced_batch_norm_keeps_half_precision(ranks):
    layer = deepcopy(NORMS["pictures"][0])
    expected = layer(norm_rows("pictures")[0].bfloat16())
    found = torch.cat([found["half"] for found in ranks])
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected.float(), atol=0.02)


def test_gather_orders_by_rank_and_sums_backward(ranks):
    # Row j of rank r stands at 3 r + j; both ranks' losses weigh it, by 1 and by 2 times its weight.
    rows = [torch.arange(6.0).view(2, 3).add(10 * rank).T for rank in range(WORLD)]
    weights = torch.arange(12.0).view(6, 2) * 3
    for rank, found in enumerate(ranks):
        assert torch.equal(found["gather: joint"], torch.cat(rows))
        assert torch.equal(found["gather: gradient"], weights[3 * rank : 3 * rank + 3])
        assert found["gather: ids"].tolist() == [0, 7, 1, 7]


def test_average_gradients_fills_what_one_rank_lacks(ranks):
    for found in ranks:
        average = group_of(found, "average")
        assert set(average) == {"both", "one"}  # nobody has the others: optimisers must go on passing them over
        assert torch.equal(average["both"], torch.arange(6.0).view(2, 3).T * 1.5)
        assert torch.equal(average["one"], torch.full((3, 2), 0.5))


def test_start_and_stop(ranks):
    for rank, found in enumerate(ranks):
        assert found["device"].item() == (not torch.cuda.is_available())
        assert found["place"].tolist() == [rank, WORLD]
        assert found["place after"].tolist() == [0, 1]


def test_one_process_is_left_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    device = distributed.start()
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    x = torch.randn(3, 2)
    assert distributed.gather(x) is x
    layer = nn.BatchNorm1d(2)
    assert distributed.synced_batch_norm(layer) is layer
    layer.weight.grad = torch.ones(2)
    distributed.average_gradients(layer)
    assert torch.equal(layer.weight.grad, torch.ones(2))
    assert layer.bias.grad is None
    distributed.stop()


def test_an_incomplete_environment_is_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not set: start the processes with"):
        distributed.start()


def test_more_processes_than_gpus_is_named(monkeypatch):
    for name, value in {
        "WORLD_SIZE": "2",
        "RANK": "1",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "x",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="process 1 of this machine finds 1 GPUs: start no more processes than GPUs"):
        distributed.start()

"""Optimisers: named blocks in the configuration, their schedules, their updates; recipes that were there stay."""

import copy
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_config_plan import merged, planned

from vlrepro.config.training import OptimiserConfig
from vlrepro.errors import UserError
from vlrepro.files import digest_of
from vlrepro.tables.study import load_study
from vlrepro.training.optimiser import adamw
from vlrepro.training.schedule import learning_rate

BLOCK = {
    **{"learning_rate": 0.0005, "reference_batch": 128, "weight_decay": 0.1, "decay_all": False},
    **{"warmup_steps": 10_000, "warmup_start": 0.0, "final_rate": 0.0},
}
CHANGED = {"betas": [0.9, 0.98], "eps": 1e-6, "schedule_offset": 7}


@pytest.fixture(scope="module")
def study():
    return load_study(Path(__file__).parents[1] / "config/papers/language_guidance.yaml")


@pytest.fixture
def values():
    return copy.deepcopy(merged("config.yaml"))


@pytest.mark.parametrize(
    ("scale", "names"),
    [
        ("config.yaml", "96cafa3ea235b6ce"),
        ("tiny.yaml", "855640457824450f"),
        ("paper.yaml", "a4cb9386975417ff"),
        ("evidence.yaml", "2da26acaae60a3d5"),
    ],
)
def test_the_first_studys_runs_keep_their_names(scale, names, study):
    """Digests of the runs' ids, from before recipes could name an optimiser, a precision or an accumulation.

    A name holds a digest of the recipe: a key more in every recipe would train every model again. Who changes these
    runs on purpose (a REVISION, a recipe) changes these digests.
    """
    values = merged("config.yaml", scale)
    ours = {table.name for table in study.tables}
    values["tables"] = values.get("tables") and [name for name in values["tables"] if name in ours]
    values["without"] = [name for name in values["without"] if name != "backbones"]  # then a table of every scale
    assert digest_of(sorted(planned(values, study).runs))[:16] == names


def recipe_of(values, study, **changes):
    values["recipes"]["simclr"] |= changes
    (found,) = (run.recipe for run in planned(values, study).runs.values() if run.recipe_name == "simclr")
    return found


def test_a_recipe_names_its_optimiser(values, study):
    values["optimisers"] = {"changed": BLOCK | CHANGED, "plain": BLOCK}
    assert recipe_of(values, study, optimiser="changed")["optimiser"] == {**BLOCK, **CHANGED, "betas": (0.9, 0.98)}
    assert recipe_of(values, study, optimiser="plain")["optimiser"] == BLOCK
    assert recipe_of(values, study, learning_rate=0.1)["optimiser"] == BLOCK | {"learning_rate": 0.1}
    values["recipes"]["simclr"]["optimiser"] = "moon"
    with pytest.raises(UserError, match=r"recipes.simclr.optimiser names 'moon', which is not under optimisers"):
        planned(values, study)


def test_precision_and_accumulation_show_where_they_are_not_the_default(values, study):
    plain = recipe_of(values, study)
    assert recipe_of(values, study, precision="float32", accumulate=1) == plain
    other = recipe_of(values, study, precision="bfloat16", accumulate=4)
    assert other == plain | {"precision": "bfloat16", "accumulate": 4}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"betas": [0.9, 1.0]}, "betas.1: Input should be less than 1"),
        ({"eps": 0}, "eps: Input should be greater than 0"),
        ({"schedule_offset": -1}, "schedule_offset: Input should be greater than or equal to 0"),
    ],
)
def test_settings_out_of_range(values, study, change, words):
    values["optimisers"] = {"wrong": BLOCK | change}
    with pytest.raises(UserError, match=f"config: optimisers.wrong.{words}"):
        planned(values, study)


@pytest.mark.parametrize("epochs", [32, 64])
def test_cyclips_counter_that_starts_at_one(epochs):
    """Its steps are numbered batches * epoch + batch with epochs from 1; 20,560 batches of 128 an epoch."""
    batches = 20_560
    steps = batches * epochs
    block = OptimiserConfig(**BLOCK, schedule_offset=batches).settings()

    def rate(epoch, batch):
        number = batches * epoch + batch
        return 0.5 * (1 + math.cos(math.pi * (number - 10_000) / (steps - 10_000))) * 5e-4

    for epoch, batch in ((1, 0), (1, 1), (17, 5), (epochs, 0), (epochs, batches - 1)):
        step = batches * (epoch - 1) + batch
        assert learning_rate(step, steps, 128, block) == pytest.approx(rate(epoch, batch), rel=1e-9)
    first, last = (learning_rate(step, steps, 128, block) for step in (0, steps - 1))
    assert first == pytest.approx(5e-4, rel=1e-3)  # no warm-up
    assert learning_rate(steps - batches, steps, 128, block) < 1e-12 < last  # it ends above its lowest


@given(
    st.integers(0, 300), st.integers(1, 50), st.integers(1, 250), st.sampled_from((32, 128, 512)), st.floats(0, 1e-4)
)
def test_an_offset_is_a_later_step(step, offset, warmup, batch, final):
    block = BLOCK | {"warmup_steps": warmup, "final_rate": final}
    shifted = learning_rate(step, 300, batch, block | {"schedule_offset": offset})
    assert shifted == learning_rate(step + offset, 300, batch, block)
    assert shifted <= max(block["learning_rate"] * batch / 128, final) * (1 + 1e-12)


@pytest.mark.parametrize("settings", [BLOCK, BLOCK | CHANGED])
def test_updates_are_adamws(settings):
    """Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2, on a matrix and a vector."""
    model = torch.nn.Linear(3, 2).double()
    optimiser = adamw(model, settings)
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    beta, gamma = settings.get("betas", (0.9, 0.999))
    eps, rate = settings.get("eps", 1e-8), settings["learning_rate"]
    first, second = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    for step in range(1, 4):
        gradients = [1e-6 * torch.randn_like(w) for w in weights]
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        optimiser.step()
        for i, gradient in enumerate(gradients):
            first[i] = beta * first[i] + (1 - beta) * gradient
            second[i] = gamma * second[i] + (1 - gamma) * gradient**2
            whole = (first[i] / (1 - beta**step)) / ((second[i] / (1 - gamma**step)).sqrt() + eps)
            decay = settings["weight_decay"] if weights[i].ndim > 1 else 0
            weights[i] = weights[i] - rate * (whole + decay * weights[i])
    for parameter, expected in zip(model.parameters(), weights, strict=True):
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-12)

"""Compiled towers and the layout of pictures: the numbers of plain ones, the same names, and what is refused."""

import pytest
import torch
from pass_models import batch_of, gradients_of, model_of, passes_of
from torch._inductor import cpp_builder

from vlrepro.config.training import RecipeConfig
from vlrepro.errors import UserError
from vlrepro.training.compiling import compile_towers, layout_of

CPU = torch.device("cpu")


def has_compiler() -> bool:
    try:
        return bool(cpp_builder.get_cpp_compiler())
    except Exception:
        return False


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler, which compiled towers need on CPUs")
def test_compiled_towers_give_the_gradients_of_plain_ones():
    plain, compiled = model_of("clip"), model_of("clip")
    called = []
    compiled.backbone[0].register_forward_hook(lambda *_: called.append(torch.compiler.is_compiling()))
    compile_towers(compiled, CPU, "run")
    losses = []
    for model in (plain, compiled):
        result, backward = passes_of(model).forward(batch_of("clip"))
        backward()
        losses.append(result.loss.item())
    assert called == [True]  # traced once: the compiled code ran, not the layers
    assert list(plain.state_dict()) == list(compiled.state_dict())
    assert losses[1] == pytest.approx(losses[0], rel=1e-10)
    found = gradients_of(compiled)
    for name, gradient in gradients_of(plain).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-12)


def test_a_missing_compiler_is_one_line(monkeypatch):
    def none() -> str:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    with pytest.raises(UserError, match=r"run: compile needs a C\+\+ compiler on CPUs .*: install g\+\+"):
        compile_towers(model_of("clip"), CPU, "run")


def test_the_layout_is_the_recipes():
    narrow = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    wide = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3))
    assert layout_of(narrow, {}, CPU, "run") == torch.contiguous_format
    assert layout_of(wide, {}, CPU, "run") == torch.channels_last
    assert layout_of(wide, {"layout": "contiguous"}, CPU, "run") == torch.contiguous_format
    assert layout_of(narrow, {"layout": "channels_last"}, torch.device("cuda"), "run") == torch.channels_last
    with pytest.raises(UserError, match=r"run: layout channels_last is not safe on CPUs .*: leave layout out"):
        layout_of(narrow, {"layout": "channels_last"}, CPU, "run")


def test_recipes_name_only_what_is_not_the_default():
    plain = RecipeConfig(framework="clip", augmentation="weak")
    assert plain.passes() == {}
    changed = plain.model_copy(update={"compile": True, "layout": "contiguous"})
    assert changed.passes() == {"compile": True, "layout": "contiguous"}

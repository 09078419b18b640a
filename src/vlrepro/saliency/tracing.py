"""Run a backbone and keep the value of every operation, for methods that go back through it."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from vlrepro.errors import UserError

# A recorded value must survive what follows it.
_OUT_OF_PLACE = {torch.relu_: torch.relu, operator.iadd: operator.add, operator.imul: operator.mul}


class Trace(fx.Interpreter):
    """A backbone's operations in their order, and after `run` the value of each in `values`.

    `picture` is the node of the input, `features` that of the result; `operations` are what lies between, the result
    included. Raises `UserError` for a backbone whose operations depend on its input.
    """

    def __init__(self, backbone: nn.Module) -> None:
        try:
            super().__init__(fx.symbolic_trace(backbone), garbage_collect_values=False)
        except fx.proxy.TraceError as error:
            kind = type(backbone).__name__
            raise UserError(f"backbone {kind}: cannot be traced ({error}): choose another saliency method") from error
        self.picture, *self.operations, output = self.module.graph.nodes
        self.features = output.args[0]
        self.values: dict[fx.Node, Tensor] = {}

    def layer(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls, if it calls one."""
        return self.fetch_attr(node.target) if node.op == "call_module" else None

    def run_node(self, n: fx.Node) -> Any:
        """Run one operation and keep its value."""
        self.values[n] = super().run_node(n)
        return self.values[n]

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        """Call a function, never one that overwrites its argument."""
        return super().call_function(_OUT_OF_PLACE.get(target, target), args, kwargs)

    def call_module(self, target: Any, args: tuple, kwargs: dict) -> Any:
        """Call a layer, on a copy if it overwrites its argument."""
        if getattr(self.fetch_attr(target), "inplace", False):
            args = tuple(arg.clone() for arg in args)
        return super().call_module(target, args, kwargs)

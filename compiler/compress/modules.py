"""A program that was accepted, as modules of PyTorch that can be trained.

What has weights is a module again (`nn.Conv2d`, `nn.Linear`, `nn.BatchNorm2d`, ...), and so is a
dropout; all else is a call of the program's own operator, none of which works in place. Nothing
depends on the size of the batch, nor on how many channels a tensor has where that follows from the
weights.
"""

from __future__ import annotations

import operator
import re

import torch
from torch import fx, nn
from torch.fx.node import Argument

from ..ir import Names, PenjingError
from ..load import aten, pt2
from ..load import torch as pytorch
from ..load.aten.graph import Arguments, caller, layer_name, references
from ..load.floats import FloatArgMax
from ..load.pt2 import Node, Reference, Value
from .makers import MAKERS, Dims, Parameters, tensor

__all__ = ["graph_module"]

_IN_PLACE = {"aten.pow_.Scalar": "aten.pow.Tensor_Scalar"}
"""Operators that work in place, and have another name than without ``_``."""


def graph_module(accepted: aten.Accepted) -> fx.GraphModule:
    """The network of ``accepted``, in eval mode; it takes (N, ...) of any N.

    Modules are called as the layers of the network that they become, with a number behind it where
    PyTorch needs the name; a batch norm that is folded into one, as the module was. `PenjingError`
    for a network that no gradient passes.
    """
    last = accepted.network.layers[-1]
    if isinstance(last, FloatArgMax):
        raise PenjingError(f"layer {last.name}: no gradient passes an argmax; export the network "
                           f"without it")
    builder = _Builder(accepted)
    for node in accepted.program.nodes:
        if node.target not in aten.SKIPPED:
            builder.add(node)
    return builder.module().eval()


class _Builder:
    """The graph in the making, and its modules."""

    def __init__(self, accepted: aten.Accepted) -> None:
        self._program, self._seen = accepted.program, accepted.seen
        self._root, self._graph = nn.Module(), fx.Graph()
        self._parameters = Parameters(accepted.program.weights)
        self._reserved = frozenset(dir(fx.GraphModule(nn.Module(), fx.Graph())))
        self._names = Names(*self._reserved, *(layer.name for layer in accepted.network.layers))
        self._made: dict[object, str] = {}
        self._nodes = {self._program.input: self._graph.placeholder("x")}

    def module(self) -> fx.GraphModule:
        """The module, without what its output does not need."""
        self._graph.output(self._nodes[self._program.output])
        made = fx.GraphModule(self._root, self._graph, "Network")
        made.graph.eliminate_dead_code()
        made.delete_all_unused_submodules()
        made.recompile()
        return made

    def add(self, node: Node) -> None:
        """Compute the outputs of ``node``."""
        source = node.arguments[0].value
        dims = self._dims(source) if isinstance(source, Reference) else ()
        make = MAKERS.get(node.target)
        module = make(self._parameters, Arguments(node), dims) if make else None
        if module is not None:
            results = [self._call(node, module)]
        elif node.target in aten.IDENTITIES:
            results = [self._tensor(source)]
        elif node.target in aten.RESHAPES:
            results = [self._reshaped(self._tensor(source), dims, self._seen[node.outputs[0]].dims)]
        elif node.target == "aten.expand.default":
            results = [self._expanded(self._tensor(source), dims,
                                      self._seen[node.outputs[0]].dims)]
        else:
            results = self._function(node)
        self._nodes.update(zip(node.outputs, results, strict=True))

    def _dims(self, tensor: Reference) -> Dims:
        return self._seen[tensor.name].dims if tensor.name in self._seen else ()

    def _call(self, node: Node, module: nn.Module) -> fx.Node:
        """A call of ``module``, or of that which an equal call made of the same weights."""
        settings = node.arguments[1:]
        key: object = node.target, settings
        if not any(references(argument.value) for argument in settings):
            key = node.name
        if key not in self._made:
            self._made[key] = self._name(node)
            self._root.add_module(self._made[key], module)
        return self._graph.call_module(self._made[key], (self._tensor(node.arguments[0].value),))

    def _name(self, node: Node) -> str:
        """The layer that puts out what ``node`` does, or a new name where that is no other layer.
        """
        layer = self._seen[node.outputs[0]].layer
        source = node.arguments[0].value
        assert isinstance(source, Reference)
        if layer == self._seen[source.name].layer or layer in self._reserved:
            return self._names.unique(layer_name(node, caller(node)))
        return layer

    def _reshaped(self, x: fx.Node, old: Dims, new: Dims) -> fx.Node:
        """``x`` whose first axis behind the batch takes what the others leave."""
        if len(new) == 1:
            return x if len(old) == 1 else self._graph.call_function(
                torch.ops.aten.flatten.using_ints, (x, 1))
        batch = self._graph.call_method("size", (x, 0))
        return self._graph.call_function(torch.ops.aten.reshape.default,
                                         (x, [batch, -1, *new[1:]]))

    def _expanded(self, x: fx.Node, old: Dims, new: Dims) -> fx.Node:
        """``x`` whose axes of 1 are repeated; the others stay as many as they are."""
        return self._graph.call_function(torch.ops.aten.expand.default, (x, [-1, *(
            -1 if was == wanted else wanted for was, wanted in zip(old, new, strict=True))]))

    def _function(self, node: Node) -> list[fx.Node]:
        """The results of the operator, which does not work in place."""
        called = pytorch.operator(_IN_PLACE.get(node.target) or re.sub(
            r"_(?=\.\w+$)", "", node.target))
        values = {argument.name: self._value(argument.value) for argument in node.arguments}
        result = self._graph.create_node(
            "call_function", called, tuple(values[a.name] for a in node.arguments if not a.keyword),
            {a.name: values[a.name] for a in node.arguments if a.keyword},
            self._seen[node.outputs[0]].layer)
        returns = called._schema.returns
        if len(returns) == 1 and returns[0].type.kind() != "ListType":
            return [result]
        return [self._graph.call_function(operator.getitem, (result, index))
                for index in range(len(node.outputs))]

    def _tensor(self, value: Value) -> fx.Node:
        """The tensor that is an argument."""
        assert isinstance(value, Reference)
        if value.name not in self._nodes:
            weight = self._program.weights[value.name]
            name = self._names.unique(weight.path)
            self._root.register_buffer(name, tensor(weight))
            self._nodes[value.name] = self._graph.get_attr(name)
        return self._nodes[value.name]

    def _value(self, value: Value) -> Argument:
        """What is handed over for an argument."""
        if isinstance(value, tuple):
            return [self._value(item) for item in value]
        if isinstance(value, pt2.ElementKind):
            return getattr(torch, value.name)
        assert not isinstance(value, pt2.Unknown), "sizes of a batch are those of no operator here"
        return self._tensor(value) if isinstance(value, Reference) else value

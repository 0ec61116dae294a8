"""Fixed point in the graph of a network: what rounds, and where it is put.

The graph's nodes are called as the layers of the float network that it is. What has weights is a
module, whose weights and biases are parametrized; what scales channels by constants (a batch norm
that is not folded, a normalization) is replaced by one that does it in integers.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from ..ir import Names, PenjingError
from ..load import floats as fl
from ..load.floats import FloatNetwork
from .fixed_state import Job
from .fractions import Grid, Grids
from .inputs import InputCode
from .quantizers import bipolar, fixed

__all__ = ["OnGrid", "insert_rounding"]

_ARITHMETIC = frozenset(("add", "sub", "rsub", "mul", "div", "neg"))
"""Operators that constants make a factor and a bias of each channel."""


class OnGrid(nn.Module):
    """``x * factor``, rounded to a ``grid``."""

    def __init__(self, grid: Grid, factor: float = 1.0) -> None:
        super().__init__()
        self.grid, self.factor = grid, factor

    def forward(self, x: Tensor) -> Tensor:
        """The reals of the grid that stand for ``x * factor``, in the type of ``x``."""
        grid, scaled = self.grid, x
        if self.factor != 1:
            scaled = x.double() * self.factor  # as the float network has it
        if not grid.zero:
            return bipolar(scaled, grid.fraction).to(x.dtype)
        return fixed(scaled, grid.low, grid.high, grid.fraction).to(x.dtype)

    def extra_repr(self) -> str:
        """What the module is called with."""
        return f"{self.grid}, {self.factor}"


class InputSteps(nn.Module):
    """Reals as the hardware takes them: the integers that a ``code`` makes of them."""

    def __init__(self, code: InputCode) -> None:
        super().__init__()
        self.kind = code.type

    def forward(self, x: Tensor) -> Tensor:
        """Multiples of the power of two that a step of the input is taken for."""
        steps = torch.floor(x.double() / self.kind.step + 0.5)
        return (steps.clamp(self.kind.low, self.kind.high)
                * 2.0 ** -self.kind.fraction).to(x.dtype)


class Channelwise(nn.Module):
    """``weight * x + bias`` of each channel, which are constants."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """The function of ``x`` (N, C, ...)."""
        weight, bias = (one.reshape(-1, *(1,) * (x.ndim - 2)).to(x.dtype)
                        for one in self.buffers())
        return weight * x + bias


def _maps_read(node: fx.Node) -> list[fx.Node]:
    """What ``node`` reads, but for constants."""
    return [one for one in node.all_input_nodes if one.op != "get_attr"]


def _refuse_map(name: str) -> NoReturn:
    raise PenjingError(f"layer {name}: PyTorch has no such map, so that it cannot be trained in "
                       f"fixed point; write it with modules")


def insert_rounding(module: fx.GraphModule, floats: FloatNetwork, job: Job, grids: Grids) -> None:
    """Let ``module``, the network ``floats``, round all that hardware rounds to ``grids``.

    ``job`` has the network's layers as they are quantized. `PenjingError` where the graph has
    something in another way.
    """
    _Rounding(module, floats, job, grids).insert()


class _Rounding:
    """What `insert_rounding` was called with, and the nodes by the layers that they are."""

    def __init__(self, module: fx.GraphModule, floats: FloatNetwork, job: Job, grids: Grids
                 ) -> None:
        self._module, self._job, self._grids = module, job, grids
        self._floats = {layer.name: layer for layer in floats.layers}
        self._nodes = {fl.INPUT if node.op == "placeholder" else node.name: node
                       for node in module.graph.nodes if node.op not in ("output", "get_attr")}
        self._names = Names(*(name for name, _ in module.named_modules()), *self._nodes)

    def insert(self) -> None:
        """Round the input, all weights and biases, and all maps that hardware rounds."""
        for layer in self._job.network.layers:
            if isinstance(layer, fl.FloatMultiply):
                self._round_weights(layer)
        for name, grid in self._grids.maps.items():
            self._behind(self._node(name), "rounded", OnGrid(grid))
        self._behind(self._nodes[fl.INPUT], "steps", InputSteps(self._job.code))
        self._module.graph.eliminate_dead_code()
        self._module.delete_all_unused_submodules()
        self._module.recompile()
        self._module.eval()

    def _round_weights(self, layer: fl.FloatMultiply) -> None:
        was, node = self._floats.get(layer.name), self._nodes.get(layer.name)
        weights, biases = self._grids.weights[layer.name], self._grids.biases[layer.name]
        part = (self._module.get_submodule(str(node.target))
                if node is not None and node.op == "call_module" else None)
        if not isinstance(part, nn.modules.conv._ConvNd | nn.Linear):
            self._scale(node, layer, weights, biases)
            return
        assert isinstance(was, fl.FloatMultiply)
        factor = 1.0 if np.array_equal(was.weights, layer.weights) else self._job.code.rest
        parametrize.register_parametrization(part, "weight", OnGrid(weights, factor))
        if part.bias is not None:
            parametrize.register_parametrization(part, "bias", OnGrid(biases))

    def _scale(self, node: fx.Node | None, layer: fl.FloatMultiply, weights: Grid, biases: Grid
               ) -> None:
        """Scale channels by the integers of ``layer``, in place of ``node`` or of nothing."""
        if layer.weights.size != len(layer.bias):
            raise PenjingError(f"layer {layer.name}: its weights are computed, or another layer's "
                               f"too, so that it cannot be trained in fixed point; give it a "
                               f"module of its own")
        made = Channelwise(torch.from_numpy(weights.reals(layer.weights.reshape(-1))),
                           torch.from_numpy(biases.reals(layer.bias)))
        if node is None:  # what the input's step leaves over is scaled before one layer
            (reader,) = self._job.network.readers[layer.name]
            source, only = (self._nodes.get(name) or _refuse_map(name)
                            for name in (layer.inputs[0], reader.name))
            new = self._behind(source, "scaled", made, only)
        else:
            last = node
            while (folded := self._folded_into(last)) is not None:
                last = folded
            new = self._behind(last, "scaled", made)
            new.args = tuple(_maps_read(node))
        self._nodes[layer.name] = new

    def _folded_into(self, node: fx.Node) -> fx.Node | None:
        """What alone reads ``node`` and is no layer, since the layer of ``node`` does it too."""
        readers = list(node.users)
        if len(readers) != 1 or readers[0].name in self._floats or _maps_read(readers[0]) != [node]:
            return None
        target = readers[0].target
        is_arithmetic = (isinstance(target, torch._ops.OpOverload)
                         and target.overloadpacket.__name__ in _ARITHMETIC)
        return readers[0] if is_arithmetic else None

    def _behind(self, node: fx.Node, what: str, made: nn.Module, reader: fx.Node | None = None
                ) -> fx.Node:
        """A call of ``made``, on what ``node`` puts out, for all that read it or one ``reader``."""
        name = self._names.unique(f"{node.name}_{what}")
        self._module.add_module(name, made)
        with self._module.graph.inserting_after(node):
            new = self._module.graph.call_module(name, (node,))
        node.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new
                                   and reader in (None, user))
        return new

    def _node(self, name: str) -> fx.Node:
        """What puts out the map ``name``, or alone reads it where PyTorch has no such map."""
        while name not in self._nodes:
            readers = self._job.network.readers.get(name, [])
            if len(readers) != 1:
                _refuse_map(name)
            name = readers[0].name
        return self._nodes[name]

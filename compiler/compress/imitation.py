"""A network in PyTorch that computes what its integers will, and can be trained on.

Its weights, biases and maps are rounded as fixed point rounds them, with gradients that pass
straight through. The fraction lengths are those that the quantizer of float networks chooses, and
stay while it is trained; so what it learns becomes the very integers that it was trained with. It
is exact while sums stay below 2**24 steps, and in ``double()`` always, but for tables, whose
functions PyTorch may round differently.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from .. import ir
from ..ir import Names, PenjingError
from ..load import aten
from ..load import floats as fl
from ..load import torch as pytorch
from ..load.floats import FloatNetwork
from .fixed_point import Built, Mode, Precisions, build, prepare, widths
from .fixed_state import Job
from .folding import folded
from .fractions import Grid, Grids
from .inputs import InputCode
from .modules import graph_module
from .quantizers import bipolar, fixed
from .trainable import Trainable

__all__ = ["Imitable", "Imitation", "imitable"]

_CHECKED = 2
"""Calibration images on which an imitation must be exact before any other is made."""
_ARITHMETIC = frozenset(("add", "sub", "rsub", "mul", "div", "neg"))
"""Operators that constants make a factor and a bias of each channel."""
_Jobs: TypeAlias = Callable[[FloatNetwork, Precisions], Job]


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


@dataclass(frozen=True, eq=False)
class Imitation:
    """``model`` computes what the integers of its weights do, in reals, under some fixed ``grids``.

    It takes what the network takes, and can be trained; its latent weights are floats. It was
    ``built`` with these ``bits``.
    """

    model: Trainable
    built: Built
    bits: Precisions
    _origin: Imitable

    @property
    def network(self) -> ir.Network:
        """The integers that it started from."""
        return self.built.network

    @property
    def grids(self) -> Grids:
        """What its weights, biases and maps are rounded to."""
        return self.built.grids

    def plain(self) -> Trainable:
        """The latent weights, in a network that rounds nothing."""
        made = self._origin.model.copied()
        own = made.module.state_dict()
        learned = {re.sub(r"parametrizations\.(\w+)\.original$", r"\1", name): value
                   for name, value in self.model.module.state_dict().items()}
        made.module.load_state_dict({name: learned.get(name, value)
                                     for name, value in own.items()})
        return made

    def integers(self) -> ir.Network:
        """The integer network of the weights as they are now."""
        return build(self._origin.jobs(_floats(self.plain()).network, self.bits),
                     self.grids).network


@dataclass(frozen=True, eq=False)
class Imitable:
    """A network without foldable batch norms, whose layers are called as those of ``floats``.

    ``jobs`` makes what the quantizer needs of float networks of the same layers.
    """

    model: Trainable
    floats: FloatNetwork
    jobs: _Jobs
    _job: Job

    @property
    def maps(self) -> dict[str, str]:
        """The map that each layer becomes whose map has a width, by the names of `floats`."""
        return {step.layer.name: step.name for step in self._job.steps if step.has_map}

    def imitation(self, bits: Precisions) -> Imitation:
        """The network in fixed point of ``bits``."""
        bits.check(widths(self.floats))
        job = replace(self._job, bits=bits)
        built = build(job)
        model = self.model.copied()
        _Rounding(model.module, self.floats, job, built.grids).insert()
        return Imitation(model, built, bits, self)


def imitable(model: Trainable, calibration: NDArray[Any], *, name: str = "network",
             input_bits: int = 8, input_scale: float | None = None, mode: Mode = Mode.DYNAMIC,
             images: int = 64) -> Imitable:
    """``model``, to be imitated in fixed point of any widths.

    ``calibration`` and all else is that of `fixed_point.quantize`. `PenjingError` for a network
    whose layers PyTorch has in another way than hardware, so that an imitation is not exact.
    """
    accepted = _floats(folded(model))

    def jobs(floats: FloatNetwork, bits: Precisions) -> Job:
        return prepare(floats, calibration, bits, name, input_bits=input_bits,
                       input_scale=input_scale, mode=mode, images=images)

    job = jobs(accepted.network, Precisions())
    made = Imitable(replace(model, module=graph_module(accepted)), accepted.network, jobs, job)
    _require_exact(made, job)
    return made


def _floats(model: Trainable) -> aten.Accepted:
    """The float network that ``model`` is."""
    module = model.copied().module.cpu().eval()
    return aten.accept(pytorch.parse(pytorch.traced(module, model.example())), "model")


def _require_exact(made: Imitable, job: Job) -> None:
    """Refuse a network whose imitation differs from its integers on some images."""
    imitation = made.imitation(job.bits)
    module = imitation.model.module.double()
    reals = job.code.real(job.images[:_CHECKED]).transpose(0, 3, 1, 2)
    wanted = imitation.built.output[:_CHECKED]
    with torch.no_grad():
        found = module(torch.from_numpy(reals).reshape(-1, *made.model.dims)).numpy()
    if not made.floats.channels_last:
        wanted = wanted.transpose(0, 3, 1, 2)
    if not np.array_equal(found, wanted.reshape(found.shape)):
        raise PenjingError("model: PyTorch has layers of it in another way than hardware, so that "
                           "it cannot be trained in fixed point; write it with modules for what "
                           "has weights, and scale its data before it")


def _maps_read(node: fx.Node) -> list[fx.Node]:
    """What ``node`` reads, but for constants."""
    return [one for one in node.all_input_nodes if one.op != "get_attr"]


def _refuse_map(name: str) -> NoReturn:
    raise PenjingError(f"layer {name}: PyTorch has no such map, so that it cannot be trained in "
                       f"fixed point; write it with modules")


class _Rounding:
    """Quantizers on their way into ``module``, a copy of the network ``floats``.

    ``job`` has that network's layers as they are quantized; ``grids`` is what they are rounded to.
    """

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
            source = self._nodes.get(layer.inputs[0]) or _refuse_map(layer.inputs[0])
            (reader,) = self._job.network.readers[layer.name]
            new = self._behind(source, "scaled", made, self._nodes[reader.name])
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

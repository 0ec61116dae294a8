"""What scales channels becomes part of the layer in front of it, as it does in hardware."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.node import Argument, Target

from ..ir import Names, PenjingError
from ..load import torch as pytorch
from ..load.aten import linear
from ..load.floats import FloatMultiply, Floats
from . import codebooks
from .prune.layers import Layer, Weighted
from .trainable import Trainable, in_order_of_calls

__all__ = ["folded", "parted", "require_few_values"]

_Norm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d

_ARITHMETIC: Mapping[Target, tuple[Callable[[Floats], tuple[Floats, Floats]], bool]] = {
    torch.ops.aten.mul.Tensor: (linear.times, True), torch.ops.aten.add.Tensor: (linear.plus, True),
    torch.ops.aten.div.Tensor: (linear.over, False),
    torch.ops.aten.sub.Tensor: (linear.minus, False)}
"""The factor and the offset that a constant stands for, and whether it may come first."""


def folded(model: Trainable, names: Collection[str] | None = None) -> Trainable:
    """A copy of ``model`` without what scales the channels of a layer and alone reads it.

    Of convolutions and linear layers that are called once, these are batch norms, and constants of
    each channel that are factors or summands. In eval mode it computes the same; its layers have
    the weights that hardware multiplies with. ``names`` are the layers that are looked at, all by
    default.
    """
    made = model.copied()
    module = made.module
    calls = _calls(module)
    for node in list(module.graph.nodes):
        source = _source(module, node)
        if source is None or calls[source.target] > 1 or (
                names is not None and source.target not in names):
            continue
        layer = _layer(module, source)
        found = _affine(module, node, layer)
        if found is None:
            continue
        _fold(layer, *found)
        node.replace_all_uses_with(source)
        module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    _delete_unused_constants(module)
    module.recompile()
    return made


def parted(model: Trainable) -> Trainable:
    """A copy of ``model`` each of whose calls of a layer with weights is one of its own layer.

    Each has parameters of its own.

    That is how hardware has them: what follows each of the calls may scale it by other numbers.
    """
    made = model.copied()
    module = made.module
    names, seen = Names(*(name for name, _ in module.named_modules())), set()
    for node in module.graph.nodes:
        if _is_layer(module, node):
            if node.target in seen:
                layer = copy.deepcopy(module.get_submodule(node.target))
                node.target = names.unique(node.target)
                module.add_module(node.target, layer)
            seen.add(node.target)
    codebooks.part(module.get_submodule(str(name)) for name in seen)
    in_order_of_calls(module)
    module.recompile()
    return made


def require_few_values(model: Trainable, codes: Mapping[str, int]) -> None:
    """`PenjingError` where hardware multiplies with more values than ``codes`` says of a layer."""
    module = model.copied().module.cpu().eval()
    for layer in pytorch.from_program(pytorch.traced(module, model.example())).layers:
        if not isinstance(layer, FloatMultiply) or layer.name not in codes:
            continue
        values, most = len(np.unique(layer.weights)), codes[layer.name]
        if values > most:
            raise PenjingError(
                f"layer {layer.name}: what follows it scales its channels, so that its weights take"
                f" {values} values in hardware, not {most}; put that right behind the layer, or "
                f"behind its activation, and export the network again")


def _calls(module: fx.GraphModule) -> Counter[Target]:
    """How often each module is called."""
    return Counter(node.target for node in module.graph.nodes if node.op == "call_module")


def _is_layer(module: fx.GraphModule, node: Argument) -> bool:
    """Whether ``node`` calls a convolution or a linear layer."""
    return isinstance(node, fx.Node) and node.op == "call_module" and isinstance(
        module.get_submodule(str(node.target)), Weighted)


def _layer(module: fx.GraphModule, node: fx.Node) -> Layer:
    """The layer that ``node`` calls."""
    layer = module.get_submodule(str(node.target))
    assert isinstance(layer, Weighted)
    return Layer(str(node.target), layer)


def _source(module: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The one call of a layer that ``node``, and nothing else, reads."""
    found = [one for one in node.all_input_nodes if _is_layer(module, one)]
    return found[0] if len(found) == 1 and len(found[0].users) == 1 else None


def _affine(module: fx.GraphModule, node: fx.Node, layer: Layer) -> tuple[Tensor, Tensor] | None:
    """By what ``node`` multiplies each channel of ``layer``, and what it adds behind that.

    None if it computes anything else.
    """
    if node.op == "call_module":
        norm = module.get_submodule(str(node.target))
        return _of_norm(norm) if isinstance(norm, _Norm) else None
    if node.target not in _ARITHMETIC or node.kwargs:
        return None
    function, commutes = _ARITHMETIC[node.target]
    outputs, axes = len(layer.arranged(layer.weight)), layer.weight.ndim - 2
    for constant in node.args[::-1] if commutes else node.args[1:]:
        values = _constant(module, constant)
        if values is None:
            continue
        shape = (1, outputs, *(1 for _ in range(axes)))
        if torch.broadcast_shapes(values.shape, shape) != shape:
            return None
        each = values.double().broadcast_to(shape).reshape(-1).numpy()
        scale, shift = map(torch.from_numpy, function(each))
        return scale, shift
    return None


def _of_norm(norm: _Norm) -> tuple[Tensor, Tensor]:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = (variance.double() + norm.eps).rsqrt()
    shift = -mean.double() * scale
    if norm.affine:
        scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
    return scale, shift


def _constant(module: fx.GraphModule, value: Argument) -> Tensor | None:
    """The number or parameter that is an argument; None if it is neither."""
    if isinstance(value, fx.Node):
        return module.get_buffer(str(value.target)) if value.op == "get_attr" else None
    return torch.tensor(float(value)) if isinstance(value, int | float) else None


def _fold(layer: Layer, scale: Tensor, shift: Tensor) -> None:
    """Let ``layer`` compute ``scale * y + shift`` of each channel, where it computes y."""
    with torch.no_grad():
        weight, bias = layer.weight, layer.module.bias
        rows = layer.arranged(weight).double() * scale[:, None, None, None]
        if bias is not None:
            shift = shift + bias * scale
        # Another layer may have the same parameters, and something else behind it.
        layer.module.weight = _parameter(layer.restored(rows), weight)
        layer.module.bias = _parameter(shift, weight)


def _parameter(values: Tensor, like: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(values.to(like.dtype).contiguous(), like.requires_grad)


def _delete_unused_constants(module: fx.GraphModule) -> None:
    """Those that no node reads are no part of the network."""
    read = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name, _ in list(module.named_buffers(recurse=False)):
        if name not in read:
            delattr(module, name)

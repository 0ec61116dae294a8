"""Batch norms become part of the layers in front of them, as they do in hardware."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

import torch
from torch import Tensor, fx, nn

from .prune.layers import Layer, Weighted
from .trainable import Trainable

__all__ = ["folded"]

_Norm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d


def folded(model: Trainable, names: Collection[str] | None = None) -> Trainable:
    """A copy of ``model`` without the batch norms that alone read one convolution or linear layer.

    In eval mode it computes the same; its layers have the weights that hardware multiplies with.
    ``names`` are the layers that are looked at, all by default.
    """
    made = model.copied()
    module = made.module
    calls = [node.target for node in module.graph.nodes if node.op == "call_module"]
    for node in list(module.graph.nodes):
        pair = _pair(module, node)
        if pair is None or max(calls.count(one.target) for one in (node, node.args[0])) > 1:
            continue
        if names is not None and node.args[0].target not in names:
            continue
        layer, norm = pair
        _fold(Layer(str(node.args[0].target), layer), norm)
        node.replace_all_uses_with(node.args[0])
        module.graph.erase_node(node)
    module.delete_all_unused_submodules()
    module.recompile()
    return made


def _pair(module: fx.GraphModule, node: fx.Node) -> tuple[Weighted, _Norm] | None:
    """The layer and the batch norm, if ``node`` is one that alone reads the layer."""
    norm = module.get_submodule(str(node.target)) if node.op == "call_module" else None
    source = node.args[0] if node.args else None
    if not (isinstance(norm, _Norm) and isinstance(source, fx.Node)
            and source.op == "call_module" and len(source.users) == 1):
        return None
    layer = module.get_submodule(str(source.target))
    return (layer, norm) if isinstance(layer, Weighted) else None


def _fold(layer: Layer, norm: _Norm) -> None:
    """Let ``layer`` compute what it and ``norm`` do."""
    with torch.no_grad():
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        scale = (variance.double() + norm.eps).rsqrt()
        shift = -mean.double() * scale
        if norm.affine:
            scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
        weight, bias = layer.weight, layer.module.bias
        rows = layer.arranged(weight).double() * scale[:, None, None, None]
        if bias is not None:
            shift = shift + bias * scale
        # Another layer may have the same parameters, and another batch norm.
        layer.module.weight = _parameter(layer.restored(rows), weight)
        layer.module.bias = _parameter(shift, weight)


def _parameter(values: Tensor, like: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(values.to(like.dtype).contiguous(), like.requires_grad)

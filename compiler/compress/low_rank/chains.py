"""Chains of layers that take the place of one, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from ...ir import Names, PenjingError
from ..trainable import Trainable, in_order_of_calls

__all__ = ["Convolution", "Factorable", "Places", "factorable", "kernel", "places", "pointwise",
           "replaced", "require_factorable"]

Convolution: TypeAlias = nn.Conv1d | nn.Conv2d
Factorable: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class Places:
    """Sizes of the maps that a layer reads and writes, () for vectors."""

    read: tuple[int, ...]
    written: tuple[int, ...]

    def macs(self, layer: nn.Module) -> int:
        """Multiply-accumulates of ``layer`` here; its weights meet each place once."""
        turned = isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d)
        weight = layer.weight
        assert isinstance(weight, Tensor)
        return math.prod(self.read if turned else self.written) * weight.numel()


def factorable(model: Trainable) -> dict[str, Factorable]:
    """The layers that can become chains, by name: linear ones, and convolutions without groups."""
    return {name: layer for name, layer in model.layers.items()
            if isinstance(layer, nn.Linear)
            or (isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups == 1)}


def require_factorable(model: Trainable, names: Sequence[str]) -> None:
    """`PenjingError` for a name that is none of `factorable`."""
    known = factorable(model)
    for name in names:
        if name not in known:
            raise PenjingError(f"low rank: {name!r:.80} is no linear layer, and no convolution "
                               f"without groups; name one of {', '.join(known) or 'none'}")


def places(model: Trainable) -> dict[str, Places]:
    """Of each layer of ``model``; of one that is called more than once the first counts."""
    with torch.no_grad():
        ShapeProp(model.module).propagate(model.example())
    found: dict[str, Places] = {}
    for node in model.module.graph.nodes:
        if node.op == "call_module":
            read, written = (tuple(one.meta["tensor_meta"].shape[2:])
                             for one in (node.args[0], node))
            found.setdefault(str(node.target), Places(read, written))
    return found


def pointwise(like: Factorable, weight: Tensor, bias: Tensor | None = None) -> Factorable:
    """A layer of ``weight`` (outputs, inputs) that sees one place: 1, 1×1, or linear."""
    return _of(like, weight.reshape(*weight.shape, *(1 for _ in like.weight.shape[2:])), bias)


def kernel(like: Factorable, weight: Tensor, *, groups: int = 1, axes: Sequence[int] | None = None
           ) -> Factorable:
    """A layer of ``weight`` that moves over the map as ``like`` does, along ``axes`` only."""
    if isinstance(like, nn.Linear):
        return _of(like, weight, None)
    count = len(like.kernel_size)
    moved = range(count) if axes is None else axes

    def along(values: Sequence[int], neutral: int) -> tuple[int, ...]:
        return tuple(values[axis] if axis in moved else neutral for axis in range(count))

    # "same" and "valid" mean nothing along an axis of one weight.
    padding = like.padding if isinstance(like.padding, str) else along(like.padding, 0)
    return _of(like, weight, None, groups=groups, stride=along(like.stride, 1), padding=padding,
               dilation=along(like.dilation, 1))


def _of(like: Factorable, weight: Tensor, bias: Tensor | None, groups: int = 1, **settings: Any
        ) -> Factorable:
    """A layer of the class of ``like`` and of the given parameters."""
    outputs, inputs = weight.shape[:2]
    if isinstance(like, nn.Linear):
        made: Factorable = nn.Linear(inputs, outputs, bias is not None)
    else:
        size: Any = tuple(weight.shape[2:])
        made = type(like)(inputs * groups, outputs, size, groups=groups, bias=bias is not None,
                          **settings)
    with torch.no_grad():
        made.weight.copy_(weight)
        if bias is not None:
            assert made.bias is not None
            made.bias.copy_(bias)
    return made


def replaced(model: Trainable, chains: Mapping[str, Sequence[nn.Module]]) -> Trainable:
    """A copy of ``model`` whose layers are ``chains`` of others, called by its name and a letter.
    """
    made = model.copied()
    graph = made.module.graph
    names = Names(*(name for name, _ in made.module.named_modules()))
    for name, chain in chains.items():
        parts = [names.unique(f"{name}_{letter}") for letter, _ in zip(
            "abcdefgh", chain, strict=False)]
        for part, link in zip(parts, chain, strict=True):
            made.module.add_module(part, link)
        for node in [one for one in graph.nodes if one.op == "call_module" and one.target == name]:
            _rewired(graph, node, parts)
    made.module.delete_all_unused_submodules()
    in_order_of_calls(made.module)
    made.module.recompile()
    made.module.train(model.module.training)
    return made


def _rewired(graph: fx.Graph, node: fx.Node, parts: Sequence[str]) -> None:
    """Call the ``parts``, one behind the other, in place of ``node``."""
    last = node.args[0]
    with graph.inserting_before(node):
        for part in parts:
            last = graph.call_module(part, (last,))
    assert isinstance(last, fx.Node)
    node.replace_all_uses_with(last)
    graph.erase_node(node)

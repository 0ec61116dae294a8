"""Whole residual blocks leave a network: where the shortcut is the input itself, it remains.

Which of them costs least, the data tell: a residual network computes much the same without one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import fx
from torch.fx.passes.shape_prop import ShapeProp

from ..ir import PenjingError
from . import training
from .trainable import Trainable

__all__ = ["blocks", "cheapest", "require", "without"]


class _Block(NamedTuple):
    """A sum of what is ``skipped`` to and of what the ``layers`` with weights make of that."""

    total: fx.Node
    skipped: fx.Node
    layers: tuple[str, ...]


def blocks(model: Trainable) -> Mapping[str, tuple[str, ...]]:
    """The residual blocks that can be left out: the names of their layers by that of their sum."""
    return {name: block.layers for name, block in _blocks(model).items()}


def without(model: Trainable, names: Collection[str]) -> Trainable:
    """A copy of ``model`` in which the blocks ``names`` put out what they take.

    `PenjingError` for a name that is none of `blocks`.
    """
    shortened = model.copied()
    graph = shortened.module.graph
    for name in names:
        known = _blocks(shortened)
        _require(name, known)
        known[name].total.replace_all_uses_with(known[name].skipped)
        graph.eliminate_dead_code()
    shortened.module.delete_all_unused_submodules()
    shortened.module.recompile()
    return shortened


def cheapest(model: Trainable, count: int, data: training.Data, *,
             loss: training.Loss = training.cross_entropy,
             progress: training.Progress | None = None) -> tuple[str, ...]:
    """The names of ``count`` blocks that cost least, those first that go first.

    Each time it is the block, of those left, without which the mean ``loss`` of all ``data`` is
    lowest. `PenjingError` where there are fewer blocks.
    """
    require(model, (), count)
    found: list[str] = []
    left = len(blocks(model))
    for number in range(count):
        losses = {}
        for name in blocks(model):
            losses[name] = training.mean_loss(without(model, [name]).module, data, loss)
            if progress is not None:
                progress(number * left + len(losses), count * left, name)
        found.append(min(losses, key=losses.__getitem__))
        model = without(model, found[-1:])
    return tuple(found)


def require(model: Trainable, names: Collection[str], count: int) -> None:
    """`PenjingError` where ``names`` are none of `blocks`, or there are not as many as ``count``.
    """
    known = blocks(model)
    for name in names:
        _require(name, known)
    if not names and count > len(known):
        raise PenjingError(f"blocks: {count} are to go, and there are {len(known)} whose shortcut "
                           f"is their input; take out fewer")


def _require(name: str, known: Collection[str]) -> None:
    if name not in known:
        raise PenjingError(f"block {name:.80}: no sum of layers and of what they take; there are "
                           f"{', '.join(known) or 'none'}"[:400])


def _blocks(model: Trainable) -> dict[str, _Block]:
    with torch.no_grad():
        ShapeProp(model.module).propagate(model.example())
    found = {}
    for node in model.module.graph.nodes:
        if node.target is torch.ops.aten.add.Tensor:
            for skipped, end in (node.args, node.args[::-1]):
                layers = [str(part.target) for part in _branch(skipped, end, node)
                          if part.target in model.layers]
                if layers and _shape(skipped) == _shape(node):
                    found[node.name] = _Block(node, skipped, tuple(reversed(layers)))
    return found


def _shape(node: fx.Node) -> torch.Size:
    return node.meta["tensor_meta"].shape


def _branch(skipped: object, end: object, total: fx.Node) -> list[fx.Node]:
    """What makes ``end`` of ``skipped`` alone, for ``total`` alone; nothing if that is not so."""
    inside: list[fx.Node] = []
    ahead = [end]
    while ahead:
        node = ahead.pop()
        if node is skipped or node in inside:
            continue
        if not isinstance(node, fx.Node) or node.op == "placeholder":
            return []
        if node.op != "get_attr":  # a constant
            inside.append(node)
            ahead += node.all_input_nodes
    readers = {user for node in inside for user in node.users}
    return inside if readers <= {*inside, total} else []

"""Reshapes and permutations of axes: in which order torch and the hardware see elements."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ...ir import Integers
from ..floats import FloatClamp, FloatDense, FloatPermutation, FloatReshape, FloatUnary, Shape
from ..pt2 import Node
from .graph import Arguments, Graph, Seen, output_of, refuse, require_map


def natural(shape: Shape) -> Integers:
    """Where the hardware has the elements of a map of ``shape`` (H, W, C), in torch's order."""
    return np.arange(math.prod(shape)).reshape(shape).transpose(2, 0, 1).reshape(-1)


def _sized(dims: tuple[int, ...]) -> list[int]:
    return [size for size in dims if size > 1]


def _settled(graph: Graph, node: Node, seen: Seen, dims: tuple[int, ...], order: Integers) -> Seen:
    """The elements of ``seen`` as torch sees them now: ``dims``, taken in this ``order``.

    Where that is a map or a line again whose channels are mixed, a permutation mixes them; where a
    linear layer's outputs become a map, its rows are mixed. What is neither waits, to be flattened
    or turned back.
    """
    height, width, channels = seen.shape
    if len(dims) == 1 and (height, width) != (1, 1):
        flat = graph.flatten(node, seen)
        in_order = np.array_equal(order, np.arange(order.size))
        return replace(flat, dims=dims, order=None if in_order else order, positive=seen.positive)
    if _sized(dims) == _sized((channels, height, width)):
        mixed = order.reshape(channels, -1)
        taken = mixed[:, 0]
        if taken.max() < channels and np.array_equal(
                mixed, natural(seen.shape).reshape(channels, -1)[taken]):
            if not np.array_equal(taken, np.arange(channels)):
                seen = replace(graph.add(
                    FloatPermutation(graph.name(node), tuple(taken.tolist())),
                    replace(seen, order=None)), positive=seen.positive)
            return replace(seen, dims=dims, order=None)
    if (height, width) == (1, 1) and len(dims) in (2, 3):
        return _unflattened(graph, node, seen, dims, order) or replace(seen, dims=dims, order=order)
    return replace(seen, dims=dims, order=order)


def _unflattened(graph: Graph, node: Node, seen: Seen, dims: tuple[int, ...], order: Integers
                 ) -> Seen | None:
    """A vector as the map or line that ``dims`` say; None if that has another order."""
    channels, height, width = (dims[0], *(1,) * (3 - len(dims)), *dims[1:])
    shape = height, width, channels
    rows = np.empty_like(order)
    rows[natural(shape)] = order
    if not (np.array_equal(rows, np.arange(rows.size))
            or _reorder_rows(graph, seen.layer, rows)):
        return None
    made = graph.add(FloatReshape(graph.name(node), shape), replace(seen, order=None))
    return replace(made, dims=dims, positive=seen.positive)


def _reorder_rows(graph: Graph, name: str, rows: Integers) -> bool:
    """Let the linear layer before ``name`` put out its ``rows`` in that order, if there is one."""
    layer = graph.layers.get(name)
    while layer is not None and graph.readers(layer.name) == 1:
        if isinstance(layer, FloatDense):
            break
        alike = isinstance(layer, FloatClamp) or (isinstance(layer, FloatUnary) and (
            layer.parameter is None or layer.parameter.size == 1))
        layer = graph.layers.get(layer.inputs[0]) if alike else None
    else:
        return False
    graph.layers[layer.name] = replace(layer, weights=layer.weights[rows], bias=layer.bias[rows])
    return True


def _source(graph: Graph, node: Node) -> tuple[Seen, Integers]:
    """What ``node`` reads, and its order; as the vector that it was if no other reads the map."""
    seen = graph.source(node)
    order = natural(seen.shape) if seen.order is None else seen.order
    layer = graph.layers.get(seen.layer)
    if isinstance(layer, FloatReshape) and graph.is_read_once(node):
        seen = replace(seen, layer=layer.inputs[0], shape=(1, 1, order.size), order=order)
    return seen, order


def reshape(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """Other axes for the same elements in torch's order."""
    seen, order = _source(graph, node)
    sizes = graph.program.sizes.get(output_of(node), ())[1:]
    dims = tuple(size for size in sizes if size is not None)
    if len(dims) != len(sizes) or math.prod(dims) != math.prod(seen.dims):
        refuse(node, f"it changes the batch: (N, {', '.join(map(str, seen.dims))}) cannot become "
                     f"(N, {', '.join(map(str, sizes))})", "keep the first dimension")
    return _settled(graph, node, seen, dims, order)


def permute(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """permute, transpose and movedim."""
    seen, order = _source(graph, node)
    rank = len(seen.dims) + 1
    axes = moved_axes(node, arguments, rank)
    if axes[0] != 0 or sorted(axes) != list(range(rank)):
        refuse(node, "it moves the batch", "keep the first dimension")
    moved = [axis - 1 for axis in axes[1:]]
    order = order.reshape(seen.dims).transpose(moved).reshape(-1)
    return _settled(graph, node, seen, tuple(seen.dims[axis] for axis in moved), order)


def channel_shuffle(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """ChannelShuffle: the channels of each of some groups by turns."""
    seen = graph.source(node)
    require_map(node, seen)
    groups = arguments.integer("groups")
    if groups < 1 or seen.shape[2] % groups:
        refuse(node, f"its groups, {groups}, must divide its {seen.shape[2]} channels")
    order = np.arange(seen.shape[2]).reshape(groups, -1).T.reshape(-1)
    return graph.add(FloatPermutation(graph.name(node), tuple(order.tolist())), seen,
                     positive=seen.positive)


def moved_axes(node: Node, arguments: Arguments, rank: int) -> list[int]:
    """The axis of the input that becomes each of the output."""
    axes = list(range(rank))

    def known(axis: int) -> int:
        if not -rank <= axis < rank:
            refuse(node, f"it names the axis {axis} of {rank}", "export the model again")
        return axis % rank

    if arguments.get("dims") is not None:
        return [known(axis) for axis in arguments.integers("dims")]
    pair = ("dim", "axis")[arguments.get("axis0") is not None]
    if arguments.get(f"{pair}0") is not None:
        first, second = (known(arguments.integer(f"{pair}{n}")) for n in (0, 1))
        axes[first], axes[second] = second, first
        return axes
    sources = [known(axis) for axis in arguments.integers("source")]
    targets = [known(axis) for axis in arguments.integers("destination")]
    rest = iter([axis for axis in axes if axis not in sources])
    given = dict(zip(targets, sources, strict=False))
    if len(given) != len(sources) or len(set(sources)) != len(sources):
        refuse(node, "it moves axes to one place", "export the model again")
    return [given[place] if place in given else next(rest) for place in range(rank)]

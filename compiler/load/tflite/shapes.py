"""Operators that move elements and compute nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ... import ir
from ..affine import Affine
from ..padding import NO_PADDING
from ..ranges import cut
from .file import Operator, Tensor
from .graph import AGAIN, WIDE, Graph, Refused, Value, affine, map_shape
from .operators import unscaled


def _axis(operator: Operator, axis: int, tensor: Tensor) -> int:
    """``axis`` of the tensor, counted from the front."""
    rank = len(tensor.shape)
    if not -rank <= axis < rank:
        raise Refused(operator, f"its axis {axis} is none of {rank}", AGAIN)
    return axis % rank


# --- channels
def concatenation(graph: Graph, operator: Operator) -> None:
    """CONCATENATION over channels."""
    target = graph.tensor(operator, 0, ends=True)
    sources = [graph.tensor(operator, n) for n in range(len(operator.inputs))]
    unscaled(graph, operator, target, *sources)
    if operator.options["activation"]:
        raise Refused(operator, "it has a fused activation", AGAIN)
    axis = _axis(operator, int(operator.options["axis"]), target)
    if axis != len(target.shape) - 1:
        raise Refused(operator, f"it is over axis {axis} of {target.shape}, only channels are "
                                f"supported", "concatenate over the last axis")
    layers = [graph.source(operator, n)[0] for n in range(len(sources))]
    if len({map_shape(source)[:2] for source in sources}) > 1:
        raise Refused(operator, "its inputs differ in height or width", AGAIN)
    if len(layers) == 1:
        graph.finish_layer(operator, layers[0])
        return
    name = graph.name_of(operator, "concatenation")
    graph.finish_layer(operator, graph.add(ir.Concatenation(name, layers[0], tuple(layers[1:]))))


def split(graph: Graph, operator: Operator) -> None:
    """SPLIT of channels into equal parts."""
    axes = graph.integers(operator, 0, ("INT32",)).reshape(-1).tolist()
    source = graph.tensor(operator, 1)
    parts = len(operator.outputs)
    if len(axes) != 1 or _axis(operator, axes[0], source) != len(source.shape) - 1:
        raise Refused(operator, f"it is over axes {axes} of {source.shape}, only channels are "
                                f"supported", "split the last axis")
    layer, (height, width, channels) = graph.source(operator, 1)
    if parts == 0 or channels % parts:
        raise Refused(operator, f"it makes {parts} parts of {channels} channels", AGAIN)
    size = channels // parts
    for n in range(parts):
        target = graph.tensor(operator, n, ends=True)
        unscaled(graph, operator, source, target)
        name = cut(graph, layer, lambda: graph.name_of(operator, "slice"), range(height),
                   range(width), range(n * size, (n + 1) * size))
        graph.finish_layer(operator, name, n, parts)


def slice_(graph: Graph, operator: Operator) -> None:
    """SLICE of rows, columns and channels."""
    begin, size = (graph.integers(operator, n, ("INT32", "INT64")).reshape(-1).tolist()
                   for n in (1, 2))
    shape = graph.tensor(operator, 0).shape
    if not len(begin) == len(size) == len(shape):
        raise Refused(operator, f"its bounds are not those of {len(shape)} axes", AGAIN)
    ranges = [range(first, total if count == -1 else first + count)
              for first, count, total in zip(begin, size, shape, strict=True)]
    _cut(graph, operator, ranges)


def strided_slice(graph: Graph, operator: Operator) -> None:
    """STRIDED_SLICE of rows, columns and channels, with steps forward."""
    options = operator.options
    begin, end, steps = (graph.integers(operator, n, ("INT32",)).reshape(-1).tolist()
                         for n in (1, 2, 3))
    shape = graph.tensor(operator, 0).shape
    if not len(begin) == len(end) == len(steps) <= len(shape):
        raise Refused(operator, f"its bounds are not those of {len(shape)} axes", AGAIN)
    if any(options[name] for name in ("ellipsis", "new_axis", "shrink_axis", "offset")) or (
            any(step < 1 for step in steps)):
        raise Refused(operator, "it goes backwards, or adds or removes axes",
                      "take ranges of rows, columns and channels only")
    ranges = [range(total) for total in shape]
    for axis, (first, last, step) in enumerate(zip(begin, end, steps, strict=True)):
        known = slice(None if int(options["begin"]) >> axis & 1 else first,
                      None if int(options["end"]) >> axis & 1 else last, step)
        ranges[axis] = range(*known.indices(shape[axis]))
    _cut(graph, operator, ranges)


def _cut(graph: Graph, operator: Operator, ranges: list[range]) -> None:
    """Take ``ranges`` of the axes, the first of which is the batch."""
    source, target = graph.tensor(operator, 0), graph.tensor(operator, 0, ends=True)
    unscaled(graph, operator, source, target)
    if any(not taken or taken[0] < 0 or taken[-1] >= total
           for taken, total in zip(ranges, source.shape, strict=True)):
        raise Refused(operator, f"its bounds lie outside its input {source.shape}", AGAIN)
    layer, _ = graph.source(operator)
    _, *inner = ranges
    rows, columns, channels = [range(1)] * (3 - len(inner)) + inner
    graph.finish_layer(operator, cut(graph, layer, lambda: graph.name_of(operator, "slice"), rows,
                                     columns, channels))


# --- order and shape
def transpose(graph: Graph, operator: Operator) -> None:
    """TRANSPOSE: noted for the reader, who may know it, or at the input the order of the images."""
    order = graph.integers(operator, 1, ("INT32",)).reshape(-1).tolist()
    source, target = graph.tensor(operator, 0), graph.tensor(operator, 0, ends=True)
    unscaled(graph, operator, source, target)
    sizes = source.shape
    if sorted(order) != list(range(len(sizes))):
        raise Refused(operator, f"its axes {order} are not those of {sizes}", AGAIN)
    if target.shape != tuple(sizes[axis] for axis in order):
        raise Refused(operator, f"its output is declared as {target.shape}", AGAIN)
    moved = [axis for axis in order if sizes[axis] > 1]
    if moved == sorted(moved):  # only axes of one element move
        map_shape(target)
        graph.finish(operator, graph.value(operator))
        return
    value = graph.value(operator)
    if any(value.padding):
        layer, shape = graph.source(operator)
        value = Value(layer, shape)
    graph.charge(operator, source.elements)
    before = np.arange(source.elements) if value.order is None else value.order
    after = before.reshape(sizes).transpose(order).reshape(-1)
    if len(sizes) <= 4 and graph.is_free_input(source.index):
        graph.start(source, map_shape(target), np.argsort(after))
        value, after = graph.value(operator), np.arange(source.elements)
    natural = np.array_equal(after, np.arange(source.elements))
    graph.finish(operator, replace(value, order=None if natural else after))


def reshape(graph: Graph, operator: Operator) -> None:
    """RESHAPE and its kin: free until somebody reads, since raster order stays."""
    value = graph.value(operator)
    source, target = graph.tensor(operator, 0), graph.tensor(operator, 0, ends=True)
    # Axes beyond those of a map, or without the batch, are for operators that know them.
    is_map = len(target.shape) <= 4 and target.shape[:1] == (1,)
    shape = map_shape(target) if is_map else value.shape
    unscaled(graph, operator, source, target)
    if target.elements != source.elements or not _as_declared(graph, operator, target):
        raise Refused(operator, f"it makes {source.shape} to {target.shape}, or to another shape "
                                f"than its output has", AGAIN)
    if graph.is_free_input(source.index) and value.shape != shape and value.shape[:2] == (1, 1):
        graph.start(source, shape)  # the frame is the same row of numbers
        value = graph.value(operator)
    graph.finish(operator, value)


def _as_declared(graph: Graph, operator: Operator, target: Tensor) -> bool:
    """Whether the shape that a RESHAPE reads, if any, is that of its output; so the axis that an
    EXPAND_DIMS reads."""
    if operator.kind == "EXPAND_DIMS":
        axes = graph.integers(operator, 1, ("INT32", "INT64")).reshape(-1).tolist()
        shape = graph.tensor(operator, 0).shape
        return len(axes) == 1 and -len(shape) - 1 <= axes[0] <= len(shape) and (
            target.shape == tuple(np.expand_dims(np.empty(shape, np.bool_), axes[0]).shape))
    if operator.kind != "RESHAPE" or len(operator.inputs) < 2:
        return True
    wanted = graph.integers(operator, 1, ("INT32",))
    if wanted.ndim != 1:
        return True  # the reference takes the shape from a list only, else from the output
    return wanted.shape == (len(target.shape),) and all(
        size in (-1, real) for size, real in zip(wanted.tolist(), target.shape, strict=True))


def pad(graph: Graph, operator: Operator) -> None:
    """PAD and PADV2: left to the reader, who may know it as padding of his own."""
    target = unscaled(graph, operator)
    table = graph.integers(operator, 1, ("INT32", "INT64"))
    tensor = graph.tensor(operator, 0)
    if table.shape != (len(tensor.shape), 2) or table.min() < 0 or table.max() > 4096:
        raise Refused(operator, f"its paddings {table.tolist()!s:.100} are not two numbers up to "
                                f"4096 for each axis", AGAIN)
    number = target.zero_point
    if operator.kind == "PADV2":
        number = _pad_value(graph, operator, target)
    sides = np.zeros((4, 2), np.int64)
    sides[4 - len(table):] = table
    if table[0].any() or sides[3].any() or (len(table) == 2 and table.any()):
        raise Refused(operator, "it pads channels or frames", "pad height and width only")
    top, bottom, left, right = (int(n) for n in sides[1:3].reshape(-1))
    layer, shape = graph.source(operator)
    value = Value(layer, shape, (top, bottom, left, right), number)
    if map_shape(graph.tensor(operator, 0, ends=True)) != value.padded:
        raise Refused(operator, f"it pads to {value.padded} (height, width, channels), its output "
                                f"is declared as another shape", AGAIN)
    if math.prod(value.padded) > ir.MAX_ELEMENTS:
        raise Refused(operator, f"its output has more than {ir.MAX_ELEMENTS} elements", AGAIN)
    graph.finish(operator, value if any(value.padding) else Value(layer, shape, NO_PADDING))


def _pad_value(graph: Graph, operator: Operator, target: Affine) -> int:
    tensor = graph.tensor(operator, 2)
    values = graph.integers(operator, 2, WIDE).reshape(-1)
    if values.size != 1 or affine(tensor, WIDE) != target:
        raise Refused(operator, "its value is no number of the scale of its output", AGAIN)
    return int(values[0])

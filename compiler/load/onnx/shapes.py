"""The operators that compute nothing, and those on constants that exporters compute shapes with."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from ... import ir
from ..entries import entries
from ..ranges import cut
from .arithmetic import settle, unsettled
from .graph import Operands, Operators
from .linear import as_map, map_of, spatial, with_channels
from .model import Array, Constant
from .values import (
    Activation,
    Curve,
    FloatInput,
    Integers,
    Joined,
    Known,
    Largest,
    Layout,
    Part,
    Real,
    Value,
)

_MOST_SHAPE_ELEMENTS = 4096
"""The most elements of a constant that shapes are computed with."""


def identity(operands: Operands) -> Value:
    """Identity, and Dropout as it is after training."""
    if operands.node.operator == "Dropout" and operands.has(2) and bool(
            operands.numbers(2, "training mode").any()):
        operands.refuse("it is in training mode", "export the network for inference")
    return operands.value(0)


def constant(operands: Operands) -> Value:
    """Constant, given as a tensor or as numbers."""
    node = operands.node
    value = node.attributes.get("value")
    if isinstance(value, Constant):
        return Known(value.values, value.type)
    for name in ("value_int", "value_ints", "value_float", "value_floats"):
        given = node.attributes.get(name)
        if isinstance(given, int | float | tuple):
            return Known(np.array(given, np.int64 if "int" in name else np.float32))
    return operands.refuse("it is of a kind that no supported operator takes")


def _reshaped(operands: Operands, dims: tuple[int, ...]) -> Value:
    """The activation or constant that the node reads, with the shape ``dims`` (with the batch)."""
    value = operands.value(0)
    if isinstance(value, Known):
        if value.scale is not None and value.scale.size > 1:
            operands.refuse("it reshapes a constant with a scale for each channel",
                            "store the weights in the shape that is used")
        return replace(value, values=value.values.reshape(dims))
    if not dims or dims[0] != 1:
        operands.refuse(f"it makes a tensor of shape {dims} from one image",
                        "keep the batch as the first dimension")
    return _with(operands, value, dims[1:])


def _with(operands: Operands, value: Activation, dims: tuple[int, ...]) -> Activation:
    layout = replace(value.layout, dims=dims)
    if len(dims) > 8:
        operands.refuse(f"it makes a tensor of {len(dims) + 1} dimensions")
    # A value must not need the channels where they no longer are an axis of their own.
    channels = value.rows if isinstance(value, Real | Curve) else 1
    if channels > 1 and layout.channel_axis() is None:
        operands.refuse("its input has a scale for each channel",
                        "put QuantizeLinear and DequantizeLinear before it")
    return replace(value, layout=layout)


def _dims(operands: Operands) -> tuple[int, ...]:
    """Shape of the input, the batch being 1."""
    value = operands.value(0)
    return value.values.shape if isinstance(value, Known) else (1, *value.layout.dims)


def reshape(operands: Operands) -> Value:
    """Reshape to a constant shape."""
    dims, wanted = _dims(operands), operands.integers(1, "shape")
    if wanted is None:
        operands.refuse("its shape is missing")
    copied = [dims[axis] if size == 0 and axis < len(dims) else size
              for axis, size in enumerate(wanted)]
    count = math.prod(dims)
    if -1 in copied:
        rest = math.prod(size for size in copied if size != -1)
        copied[copied.index(-1)] = count // rest if rest > 0 else 0
    if math.prod(copied) != count or any(size < 1 for size in copied):
        operands.refuse(f"its shape {wanted[:8]} does not fit an input of shape {dims}")
    return _reshaped(operands, tuple(copied))


def flatten(operands: Operands) -> Value:
    """Flatten to one vector an image."""
    dims = _dims(operands)
    axis = operands.integer("axis", 1)
    if not -len(dims) <= axis <= len(dims):
        operands.refuse(f"its axis {axis} is out of range")
    axis = axis % len(dims) if axis < 0 else axis
    return _reshaped(operands, (math.prod(dims[:axis]), math.prod(dims[axis:])))


def squeeze(operands: Operands) -> Value:
    """Squeeze axes of size 1."""
    dims, axes = _dims(operands), operands.integers(1, "axes")
    rank = len(dims)
    if axes is None:
        axes = tuple(axis for axis in range(rank) if dims[axis] == 1
                     and (axis or isinstance(operands.value(0), Known)))
    if any(not -rank <= axis < rank or dims[axis] != 1 for axis in axes):
        operands.refuse(f"its axes {axes[:8]} are not all of size 1 in {dims}")
    gone = {axis % rank for axis in axes}
    return _reshaped(operands, tuple(size for axis, size in enumerate(dims) if axis not in gone))


def unsqueeze(operands: Operands) -> Value:
    """Unsqueeze: new axes of size 1."""
    dims, axes = _dims(operands), operands.integers(1, "axes") or ()
    rank = len(dims) + len(axes)
    places = {axis % rank for axis in axes if -rank <= axis < rank}
    if len(places) != len(axes) or rank > 8:
        operands.refuse(f"its axes {axes[:8]} do not fit an input of shape {dims}")
    rest = iter(dims)
    return _reshaped(operands, tuple(1 if axis in places else next(rest) for axis in range(rank)))


def transpose(operands: Operands) -> Value:
    """Transpose of a map's axes, which is only noted, or of a constant."""
    dims = _dims(operands)
    order = operands.ints("perm")
    order = tuple(reversed(range(len(dims)))) if order is None else order
    if sorted(order) != list(range(len(dims))):
        operands.refuse(f"its perm {order[:8]} does not fit an input of shape {dims}")
    value = operands.value(0)
    if isinstance(value, Known):
        return replace(value, values=value.values.transpose(order),
                       axis=order.index(value.axis) if order else 0)
    if order[0] != 0:
        operands.refuse("it moves the batch", "keep the batch as the first dimension")
    layout, places = value.layout, tuple(axis - 1 for axis in order[1:])
    new = tuple(layout.dims[place] for place in places)
    if [place for place in places if layout.dims[place] > 1] == sorted(
            place for place in places if layout.dims[place] > 1):
        return _with(operands, value, new)  # only axes of size 1 move
    axes = _split(layout)
    if axes is None:
        return _shuffled(operands, value, places)
    moved = [axis for place in places for axis in axes[place]]
    order3 = (moved[0], moved[1], moved[2])
    return replace(value, layout=Layout(layout.shape, order3, new))


def _split(layout: Layout) -> list[list[int]] | None:
    """The axes of (H, W, C) in each of ``dims``; None where one is divided among several."""
    left, axes = list(layout.order), []
    for size in layout.dims:
        mine, product = [], 1
        while left and (product < size or layout.shape[left[0]] == 1):
            product *= layout.shape[left[0]]
            mine.append(left.pop(0))
        if product != size:
            return None
        axes.append(mine)
    return None if left else axes


def _shuffled(operands: Operands, value: Activation, places: tuple[int, ...]) -> Value:
    """A Transpose of axes that a Reshape has divided: the channels in another order."""
    layout, pieces = value.layout, _pieces(value.layout)
    moved = [piece for place in places for piece in pieces[place]] if pieces else []
    mine = {axis: [piece for piece in moved if piece.axis == axis]
            for axis in dict.fromkeys(piece.axis for piece in moved)}
    if [piece for group in mine.values() for piece in group] != moved or not mine or any(
            group != sorted(group) for axis, group in mine.items() if axis != 2):
        operands.refuse(f"it transposes a tensor whose axes {layout.dims} are not those of a map, "
                        f"and moves more than channels",
                        "transpose maps, or shuffle their channels only")
    axes = *mine, *(axis for axis in layout.order if axis not in mine)
    made = Layout(layout.shape, (axes[0], axes[1], axes[2]),
                  tuple(layout.dims[place] for place in places))
    channels = sorted(mine.get(2, []))
    order = np.arange(layout.shape[2]).reshape([piece.size for piece in channels]).transpose(
        [channels.index(piece) for piece in mine.get(2, [])]).reshape(-1).tolist()
    if order == sorted(order):
        return replace(value, layout=made)
    if not isinstance(value, Integers | Real | Curve):
        operands.refuse("it shuffles the channels of what nothing has quantized",
                        "put QuantizeLinear and DequantizeLinear before it")
    name = operands.builder.add(ir.Permutation(operands.builder.name(operands.node), value.name,
                                               tuple(order)))
    return replace(value, name=name, layout=made)


class _Piece(NamedTuple):
    """What one of a layout's ``dims`` has of an axis of (H, W, C), the ``number``-th of all."""

    number: int
    axis: int
    size: int


def _pieces(layout: Layout) -> list[list[_Piece]] | None:
    """The pieces of each of ``dims``; None where these and the axes do not divide each other."""
    left = [(axis, layout.shape[axis]) for axis in layout.order]
    pieces: list[list[_Piece]] = []
    number = 0
    for size in layout.dims:
        pieces.append([])
        while size > 1:
            axis, whole = left.pop(0)
            taken = math.gcd(size, whole)
            if taken not in (size, whole):
                return None
            if taken > 1:
                pieces[-1].append(_Piece(number, axis, taken))
                number += 1
            if taken < whole:
                left.insert(0, (axis, whole // taken))
            size //= taken
    return pieces


def softmax(operands: Operands) -> Value:
    """Softmax and LogSoftmax at the end: the network puts out what they read.

    That of a vector is the host's; of a map, one must know the operator set to tell the axes.
    """
    function = (ir.TailFunction.SOFTMAX if operands.node.operator == "Softmax"
                else ir.TailFunction.LOG_SOFTMAX)
    return ended_by_softmax(operands, operands.activation(0), function)


def ended_by_softmax(operands: Operands, value: Activation, function: ir.TailFunction,
                     source: str | None = None, answer: str | None = None) -> Value:
    """``value``, of which the host computes the ``function`` if it is a vector."""
    dims = value.layout.dims
    if not (math.prod(dims) == dims[-1] == value.layout.shape[2]
            and operands.integer("axis", -1) in (-1, len(dims))):
        function = ir.TailFunction.NONE
    operands.builder.finish(operands, function, value.layout, source, answer)
    return value


def argmax(operands: Operands) -> Value:
    """ArgMax over the channels; of equal ones the first wins.

    Integers that are not worth the same in all channels are left to the host.
    """
    value = operands.activation(0)
    if not isinstance(value, Integers):
        value = unsettled(operands)
        if value.clamped:
            value = settle(operands, value)
    value = with_channels(operands, value)
    layout = value.layout
    channels = layout.channel_axis()
    rank = len(layout.dims) + 1
    axis = operands.integer("axis", 0)
    if channels is None or not -rank <= axis < rank or axis % rank != channels + 1:
        operands.refuse(f"it is taken along axis {axis}", "take it over the channels")
    if operands.integer("select_last_index", 0):
        operands.refuse("the last of equal values wins", "let the first win")
    keep = operands.integer("keepdims", 1)
    dims = tuple(1 if place == channels else size for place, size in enumerate(layout.dims)
                 if keep or place != channels)
    found = Layout((*layout.shape[:2], 1), layout.order, dims)
    if isinstance(value, Real) and not value.is_comparable:
        operands.builder.values[operands.node.inputs[0]] = value
        operands.builder.finish(operands, ir.TailFunction.ARGMAX, found)
        return value
    name = operands.builder.add(ir.ArgMax(operands.builder.name(operands.node), value.name))
    return Integers(name, found)


# --- constants
def shape(operands: Operands) -> Value:
    """Shape: a constant, since only the batch may be dynamic, and that is 1 here."""
    dims = _dims(operands)
    return Known(np.array(dims[slice(operands.integer("start", 0),
                                     operands.integer("end", len(dims)))], np.int64))


def _small(operands: Operands, position: int, what: str) -> Array:
    values = operands.numbers(position, what)
    if values.size > _MOST_SHAPE_ELEMENTS or values.dtype.kind not in "iu":
        operands.refuse("it computes on constants that are no shape",
                        "simplify the model, for example with onnxsim")
    return values


def gather(operands: Operands) -> Value:
    """Gather from a shape."""
    values, indices = _small(operands, 0, "data"), _small(operands, 1, "indices")
    if values.ndim != 1 or not ((indices >= -values.size) & (indices < values.size)).all():
        operands.refuse("its indices are out of range")
    return Known(values[indices])


def concat(operands: Operands) -> Value:
    """Concat of shapes, or of the channels of activations."""
    values = [operands.value(position) for position in range(len(operands.node.inputs))]
    if not any(isinstance(value, Known) for value in values):
        return joined(operands, [_part(operands, position) for position in range(len(values))])
    parts = [_small(operands, position, "parts") for position in range(len(values))]
    if any(part.ndim != 1 for part in parts) or sum(
            part.size for part in parts) > _MOST_SHAPE_ELEMENTS:
        operands.refuse("it concatenates constants that are no shapes")
    return Known(np.concatenate(parts))


def _part(operands: Operands, position: int) -> Integers | Part:
    """An input of a Concat of activations."""
    value = operands.activation(position)
    if isinstance(value, FloatInput | Joined | Largest):
        operands.refuse("it reads what nothing has quantized",
                        "put QuantizeLinear and DequantizeLinear before it")
    return value


def joined(operands: Operands, given: Sequence[Integers | Part]) -> Integers | Real | Joined:
    """Channels of several tensors: at once if they mean the same, else when they are quantized."""
    parts = [as_map(operands, part) if isinstance(part, Integers | Real) and len(
        part.layout.dims) > 1 else part for part in given]
    first = parts[0].layout
    axis, channels, rank = operands.integer("axis", 1), first.channel_axis(), len(first.dims) + 1
    if channels is None or not -rank <= axis < rank or axis % rank != channels + 1 or any(
            (part.layout.shape[:2], part.layout.order, part.layout.channel_axis(),
             len(part.layout.dims)) != (first.shape[:2], first.order, channels, len(first.dims))
            for part in parts):
        operands.refuse(f"it concatenates along the axis {axis}, or tensors of other height, "
                        f"width or order of axes", "concatenate the channels of maps of one size")
    count = sum(part.layout.shape[2] for part in parts)
    dims = tuple(count if place == channels else size for place, size in enumerate(first.dims))
    layout = Layout((*first.shape[:2], count), first.order, dims)
    reals = tuple(part for part in parts if not isinstance(part, Integers))
    if reals and len(reals) < len(parts):
        operands.refuse("it concatenates integers and reals", "dequantize all of its inputs")
    alike = [part for part in parts if isinstance(part, Integers | Real)]
    if len(alike) < len(parts) or len({_meaning(operands, part) for part in alike}) > 1:
        return Joined(reals, layout)
    builder = operands.builder
    name = builder.add(ir.Concatenation(builder.name(operands.node), alike[0].name,
                                        tuple(part.name for part in alike[1:])))
    return replace(alike[0], name=name, layout=layout)


def _meaning(operands: Operands, part: Integers | Real) -> Hashable:
    """What is equal of parts whose integers mean the same, also to who reads their types."""
    kind = operands.builder.types[part.name]
    if isinstance(part, Integers):
        return None
    if part.rows > 1 or part.rest.any():
        return id(part)
    return part.scale[0], part.zero, part.low, part.high, kind.step, kind.zero_point


def split(operands: Operands) -> tuple[Value, ...]:
    """Split of a map along one of its axes."""
    value = _cuttable(operands)
    dims = (1, *value.layout.dims)
    rank, outputs = len(dims), len(operands.node.outputs)
    axis = operands.integer("axis", 0)
    if not -rank <= axis < rank:
        operands.refuse(f"its axis {axis} is out of range")
    axis, size = axis % rank, dims[axis]
    each = -(-size // operands.integer("num_outputs", outputs)) if outputs else 0
    sizes = operands.integers(1, "split") or tuple(
        min(each, size - start) for start in range(0, size, max(each, 1)))
    if len(sizes) != outputs or sum(sizes) != size or min(sizes) < 1:
        operands.refuse(f"its parts {sizes[:8]} do not fit an input of shape {dims}")
    ends = tuple(accumulate(sizes, initial=0))
    return tuple(_taken(operands, value, [
        range(start, end) if place == axis else range(length) for place, length in enumerate(dims)],
        output) for output, (start, end) in enumerate(pairwise(ends)))


def slice_(operands: Operands) -> Value:
    """Slice of a shape, or of a map's rows, columns and channels."""
    value = operands.value(0)
    if isinstance(value, Known):
        return _of_shape(operands)
    part = _cuttable(operands)
    return _taken(operands, part, _ranges(operands, (1, *part.layout.dims)))


def _of_shape(operands: Operands) -> Known:
    """A part of a shape."""
    values = _small(operands, 0, "data")
    starts, ends, steps = (operands.integers(place, name) if operands.has(place) or place < 3
                           else (1,) for place, name in ((1, "starts"), (2, "ends"), (4, "steps")))
    if values.ndim != 1 or any(part is None or len(part) != 1 for part in (starts, ends, steps)):
        operands.refuse("it cuts a constant that is no shape")
    assert starts and ends and steps
    if steps[0] == 0:
        operands.refuse("its step is 0")
    return Known(values[starts[0]:ends[0]:steps[0]])


def _cuttable(operands: Operands) -> Integers | Real | Curve:
    """The map that the node cuts."""
    value = operands.activation()
    if not isinstance(value, Integers | Real | Curve) or (
            isinstance(value, Curve) and value.rows > 1):
        operands.refuse("it cuts what is not quantized", "quantize its input first")
    return as_map(operands, value)


def _taken(operands: Operands, value: Integers | Real | Curve, ranges: Sequence[range],
           output: int = 0) -> Value:
    """Ranges of a map's axes, the batch the first of them: what the node calls ``output``."""
    axes = spatial(value.layout)
    _, channels, *inner = ranges
    rows, columns = inner if axes == 2 else [range(1), *inner]
    name = cut(operands.builder, value.name, lambda: operands.builder.name(operands.node), rows,
               columns, channels)
    layout = map_of(operands, operands.builder.types[name].shape, axes)
    if isinstance(value, Real):
        mine = slice(channels[0], channels[-1] + 1)
        value = replace(value, scale=value.scale if value.scale.size == 1 else value.scale[mine],
                        rest=value.rest if value.rest.size == 1 else value.rest[mine])
    if isinstance(value, Curve):
        value = replace(value, origin="" if value.steps else operands.node.outputs[output])
    return replace(value, name=name, layout=layout)


def _ranges(operands: Operands, dims: tuple[int, ...]) -> list[range]:
    """What a Slice takes of axes of the sizes ``dims``."""
    starts, ends, axes, steps = (operands.integers(place, name) for place, name in (
        (1, "starts"), (2, "ends"), (3, "axes"), (4, "steps")))
    if starts is None or ends is None:
        operands.refuse("its starts or ends are missing")
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or any(
            not -len(dims) <= axis < len(dims) for axis in axes):
        operands.refuse(f"its bounds do not fit an input of shape {dims}")
    if min(steps, default=1) < 1:
        operands.refuse("it goes backwards", "take ranges with steps forward")
    ranges = [range(size) for size in dims]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        ranges[axis] = range(*slice(start, end, step).indices(dims[axis]))
    if not all(ranges):
        operands.refuse(f"it leaves nothing of an input of shape {dims}")
    return ranges


LAYOUT: Operators = {
    **entries("", "", {
        ("", "Identity"): identity, ("", "Dropout"): identity, ("", "Constant"): constant}),
    **entries("elements keep their order as the hardware streams them; others at the input, or "
              "before a matrix product", "reshape at the ends of the network", {
        ("", "Reshape"): reshape, ("", "Flatten"): flatten, ("", "Squeeze"): squeeze,
        ("", "Unsqueeze"): unsqueeze}),
    **entries("of a map's axes; what reads it must see a map, or a vector",
              "transpose at the ends of the network", {("", "Transpose"): transpose}),
    **entries("at the end: left to the host; a softmax of a map leaves its logits",
              "remove it, or what follows it", {
        ("", "Softmax"): softmax, ("", "LogSoftmax"): softmax}),
    **entries("over channels, at the end; the first wins", "cut the network before it", {
        ("", "ArgMax"): argmax}),
    **entries("of constants, such as shapes", "export for a fixed shape", {
        ("", "Shape"): shape, ("", "Gather"): gather}),
    **entries("of channels; each input is requantized to the scale of the result",
              "concatenate channels only", {("", "Concat"): concat}),
    **entries("of rows, columns and channels; steps of rows and columns up to 64",
              "take ranges with steps forward", {("", "Slice"): slice_, ("", "Split"): split}),
}
"""The operators that compute nothing but places, by domain and name."""

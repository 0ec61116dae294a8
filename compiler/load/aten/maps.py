"""Pools, paddings, what joins or parts maps, and the end."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from ...ir import TailFunction
from ..floats import (
    FloatAdd,
    FloatArgMax,
    FloatAveragePool,
    FloatConcatenation,
    FloatCrop,
    FloatMaxPool,
    FloatProduct,
    FloatRepeat,
    FloatSlice,
    FloatSubtract,
    FloatUpsample,
    FloatZeros,
    Pair,
    Shape,
)
from ..padding import NO_PADDING, Padding, fits, sum_padding
from ..pt2 import Node
from .graph import (
    Arguments,
    Graph,
    Operator,
    Seen,
    equal_windows,
    refuse,
    refuse_alpha,
    refuse_divisor,
    refuse_other_axes,
    refuse_read,
    require_map,
    same_order,
    whole_factors,
    window,
)


# --- pools
def _pool_window(node: Node, arguments: Arguments, seen: Seen) -> tuple[Pair, Pair, Padding]:
    kernel = window(arguments, seen, "kernel_size", 1)
    stride = window(arguments, seen, "stride", 1, kernel)
    if min(*kernel, *stride) < 1:
        refuse(node, f"kernel {kernel} and stride {stride} must be positive")
    vertical, horizontal = window(arguments, seen, "padding", 0, (0, 0))
    return kernel, stride, (vertical, vertical, horizontal, horizontal)


def _ceil_padding(seen: Seen, kernel: Pair, stride: Pair, padding: Padding, ceil: bool) -> Padding:
    """``padding`` with the rows and columns more that torch's ``ceil_mode`` reads past the end."""
    if not ceil:
        return padding
    result = list(padding)
    for axis in (0, 1):
        before, after = padding[2 * axis], padding[2 * axis + 1]
        size = seen.shape[axis]
        count = -(-(size + before + after - kernel[axis]) // stride[axis]) + 1
        if (count - 1) * stride[axis] >= size + before:
            count -= 1  # a window must start inside the map
        needed = (count - 1) * stride[axis] + kernel[axis] - size - before
        result[2 * axis + 1] = max(after, needed)
    return result[0], result[1], result[2], result[3]


def max_pool(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """MaxPool1d and MaxPool2d."""
    seen = graph.waiting(node)
    require_map(node, seen)
    kernel, stride, own = _pool_window(node, arguments, seen)
    if window(arguments, seen, "dilation", 1, (1, 1)) != (1, 1):
        refuse(node, "a dilated max pool is not supported", "use dilation = 1")
    ceil = arguments.flag("ceil_mode", False)
    # Zeros that may win are values like others, and ceil_mode looks at their map.
    if ceil or not seen.positive or not fits(sum_padding(own, seen.padding), kernel):
        seen = graph.source(node)
    padding = sum_padding(_ceil_padding(seen, kernel, stride, own, ceil), seen.padding)
    return graph.add(FloatMaxPool(graph.name(node), kernel, stride, padding), seen,
                     positive=seen.positive)


def average_pool(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """AvgPool1d and AvgPool2d; padding counts, or does not."""
    seen = graph.waiting(node)
    require_map(node, seen)
    kernel, stride, own = _pool_window(node, arguments, seen)
    counts = arguments.flag("count_include_pad", True) or own == NO_PADDING
    refuse_divisor(node, arguments, kernel[0] * kernel[1])
    if not counts or not fits(sum_padding(own, seen.padding), kernel):
        seen = graph.source(node)  # zeros that were padded before count always
    padding = sum_padding(own, seen.padding)
    if _ceil_padding(seen, kernel, stride, padding, arguments.flag("ceil_mode", False)) != padding:
        refuse(node, "ceil_mode divides by another number at the border",
               "pad the map so that the windows fit")
    return graph.add(FloatAveragePool(graph.name(node), kernel, stride, padding, counts), seen,
                     positive=seen.positive)


def _adaptive(graph: Graph, node: Node, arguments: Arguments) -> tuple[Seen, Pair]:
    """The map that an adaptive pool reads, and its windows."""
    seen = graph.source(node)
    require_map(node, seen)
    rows, columns = equal_windows(node, seen.shape[:2],
                                  window(arguments, seen, "output_size", 1))
    return seen, (rows, columns)


def adaptive_average_pool(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """AdaptiveAvgPool1d and 2d, where all windows are equal."""
    seen, kernel = _adaptive(graph, node, arguments)
    return graph.add(FloatAveragePool(graph.name(node), kernel, kernel), seen,
                     positive=seen.positive)


def adaptive_max_pool(graph: Graph, node: Node, arguments: Arguments) -> tuple[Seen, ...]:
    """AdaptiveMaxPool1d and 2d, where all windows are equal, without the indices."""
    seen, kernel = _adaptive(graph, node, arguments)
    found = graph.add(FloatMaxPool(graph.name(node), kernel, kernel), seen, positive=seen.positive)
    return found, _unread(graph, node, 1, found, "the indices of its maxima")


def _unread(graph: Graph, node: Node, position: int, stand_in: Seen, what: str) -> Seen:
    """``stand_in`` for the output of ``node`` at ``position``, which nothing may read."""
    if len(node.outputs) > position and graph.is_read(node.outputs[position]):
        refuse_read(node, what)
    return stand_in


def _whole(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """The map that ``node`` reduces over height and width, or over the length of a line."""
    seen = graph.source(node)
    require_map(node, seen)
    refuse_other_axes(node, arguments, len(seen.dims) + 1)
    return seen


def _reduced(arguments: Arguments, result: Seen) -> Seen:
    if arguments.flag("keepdim", False):
        return result
    return replace(result, dims=(result.shape[2],))


def mean(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """The mean over a map."""
    seen = _whole(graph, node, arguments)
    size = seen.shape[:2]
    return _reduced(arguments, graph.add(FloatAveragePool(graph.name(node), size, size), seen,
                                         positive=seen.positive))


def maximum(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """The maximum over a map."""
    seen = _whole(graph, node, arguments)
    size = seen.shape[:2]
    return _reduced(arguments, graph.add(FloatMaxPool(graph.name(node), size, size), seen,
                                         positive=seen.positive))


# --- shapes
def pad(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """Zeros around a map wait for the layer that reads them; as channels they are concatenated."""
    seen = graph.waiting(node)
    require_map(node, seen)
    mode, value = arguments.get("mode", "constant"), arguments.number("value", 0.0) or 0.0
    if mode != "constant" or value != 0:
        refuse(node, f"padding with mode {mode!r:.20} and value {value} is not supported",
               "pad with zeros")
    pads, most = arguments.integers("pad"), 2 * len(seen.dims)
    if len(pads) % 2 or not 2 <= len(pads) <= most or min(pads) < 0:
        refuse(node, f"its padding {pads} must be 2 to {most} numbers, none negative")
    pads += (0,) * (most - len(pads))
    front, behind = pads[-2:]
    left, right, top, bottom = (*pads[:-2], 0, 0)[:4]
    if front or behind:
        seen = graph.source(node)
        zeros = graph.add(FloatZeros(graph.name(node)), seen, positive=True)
        joined = [*_zeros(graph, node, zeros, front), seen, *_zeros(graph, node, zeros, behind)]
        seen = graph.add(FloatConcatenation(graph.name(node)), *joined, positive=seen.positive)
    return seen.with_padding(sum_padding((top, bottom, left, right), seen.padding))


def _zeros(graph: Graph, node: Node, zeros: Seen, channels: int) -> list[Seen]:
    """So many channels of ``zeros``, which may be read several times."""
    whole, rest = divmod(channels, zeros.shape[2])
    parts = [zeros] * whole
    if rest:
        parts.append(graph.add(FloatSlice(graph.name(node), 0, rest), zeros, positive=True))
    return parts


def identity(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """What changes nothing."""
    return graph.ended(node)


# --- joins and parts
def elementwise(layer: type[FloatAdd] | type[FloatSubtract] | type[FloatProduct]) -> Operator:
    """The sum, the difference or the product of two tensors; a vector meets every place of a map.
    """
    def convert(graph: Graph, node: Node, arguments: Arguments) -> Seen:
        first, second = graph.source(node), graph.source(node, 1)
        refuse_alpha(node, arguments)
        if first.dims != second.dims or not same_order(first, second):
            if len(first.dims) != len(second.dims) or not all(
                    (seen.is_map or seen.is_line) for seen in (first, second)):
                _refuse_shapes(node, first.dims, second.dims)
            height, width, channels = map(max, first.shape, second.shape)
            first, second = (_repeated(graph, node, seen, (height, width, channels))
                             for seen in (first, second))
        return graph.add(layer(graph.name(node)), first, second, positive=(
            layer is not FloatSubtract and first.positive and second.positive))
    return convert


def _refuse_shapes(node: Node, first: tuple[int, ...], second: tuple[int, ...]) -> NoReturn:
    refuse(node, f"it brings (N, {', '.join(map(str, first))}) and (N, "
                 f"{', '.join(map(str, second))}) to one shape",
           "only axes of 1 behind the batch are repeated, as those of x[:, :, None, None]")


def _repeated(graph: Graph, node: Node, seen: Seen, shape: Shape) -> Seen:
    """The map or line ``seen``, repeated along its axes of 1 to the ``shape`` (H, W, C)."""
    if any(size not in (1, wanted) for size, wanted in zip(seen.shape, shape, strict=True)):
        height, width, channels = shape
        _refuse_shapes(node, seen.dims, (channels, height, width))
    if seen.shape[2] != shape[2]:
        seen = graph.add(FloatRepeat(graph.name(node), shape[2]), seen, positive=seen.positive)
    factors = shape[0] // seen.shape[0], shape[1] // seen.shape[1]
    if factors != (1, 1):
        seen = graph.add(FloatUpsample(graph.name(node), factors), seen, positive=seen.positive)
    return seen


def expand(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """expand and expand_as: a vector or a row becomes a map."""
    seen = graph.source(node)
    sizes = graph.program.sizes.get(node.outputs[0], ())[1:]
    dims = tuple(size for size in sizes if size is not None)
    if dims == seen.dims:
        return seen
    if len(dims) != len(seen.dims) or not (seen.is_map or seen.is_line):
        _refuse_shapes(node, seen.dims, dims)
    channels, height, width = dims if seen.is_map else (dims[0], 1, dims[1])
    return _repeated(graph, node, seen, (height, width, channels))


def concatenate(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """The channels of all, one behind the other."""
    tensors = graph.sources(node)
    first = tensors[0]
    _require_channels(node, first, arguments.integer("dim", 0))
    if any(seen.order is not None or len(seen.dims) != len(first.dims) for seen in tensors):
        refuse(node, "it joins flattened maps or tensors of different rank",
               "concatenate before the flatten")
    if len(tensors) == 1:
        return first
    return graph.add(FloatConcatenation(graph.name(node)), *tensors,
                     positive=all(seen.positive for seen in tensors))


def _require_channels(node: Node, seen: Seen, axis: int) -> None:
    """Refuse an ``axis`` that is not that of the channels."""
    if axis % (len(seen.dims) + 1) != 1 or not (seen.is_map or seen.is_line or seen.is_vector):
        refuse(node, f"it is along axis {axis} of (N, {', '.join(map(str, seen.dims))}), only "
                     f"channels are supported", "use dim=1")


def _parts(graph: Graph, node: Node, axis: int, sizes: list[int]) -> tuple[Seen, ...]:
    """Runs of so many channels."""
    seen = graph.source(node)
    _require_channels(node, seen, axis)
    if seen.order is not None or sum(sizes) != seen.shape[2]:
        refuse(node, f"parts of {sizes} channels are not the {seen.shape[2]} of its input")
    ends = [sum(sizes[:n + 1]) for n in range(len(sizes))]
    return tuple(graph.add(FloatSlice(graph.name(node), end - size, end), seen,
                           positive=seen.positive)
                 for size, end in zip(sizes, ends, strict=True))


def _runs(channels: int, size: int) -> list[int]:
    """So many channels in runs of ``size``, the last one shorter if need be."""
    return [min(size, channels - start) for start in range(0, channels, size)]


def split(graph: Graph, node: Node, arguments: Arguments) -> tuple[Seen, ...]:
    """split: runs of equal length, or of the lengths that are given."""
    name = "split_size" if arguments.get("split_sizes") is None else "split_sizes"
    sizes = list(arguments.integers(name))
    if not isinstance(arguments.get(name), tuple):
        (size,) = sizes
        if size < 1:
            refuse(node, f"its size {size} must be positive")
        sizes = _runs(graph.source(node).dims[0], size)
    return _parts(graph, node, arguments.integer("dim", 0), sizes)


def chunk(graph: Graph, node: Node, arguments: Arguments) -> tuple[Seen, ...]:
    """chunk: so many runs, the last one shorter if need be."""
    channels, count = graph.source(node).dims[0], arguments.integer("chunks")
    if count < 1:
        refuse(node, f"its number of chunks, {count}, must be positive")
    return _parts(graph, node, arguments.integer("dim", 0), _runs(channels, -(-channels // count)))


def slice_(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """A range of channels, or rows or columns with any step."""
    seen = graph.source(node)
    axis, step = arguments.integer("dim", 0) % (len(seen.dims) + 1), arguments.integer("step", 1)
    start, end = arguments.get("start"), arguments.get("end")
    if any(value is not None and type(value) is not int for value in (start, end)):
        refuse(node, "its bounds are no numbers", "export the model again")
    if axis == 0 or step < 1:
        refuse(node, "it takes a part of the batch", "keep the first dimension")
    size = seen.dims[axis - 1]
    taken = range(*slice(start, end, step).indices(size))
    if len(taken) == size:
        return seen
    if not taken:
        refuse(node, f"{start} to {end} are no part of its {size}")
    if axis > 1 and (seen.is_map or seen.is_line):
        rows, columns = ((0, size, 1) for size in seen.shape[:2])
        bounds = taken.start, taken.stop, taken.step
        rows, columns = (rows, bounds) if axis == len(seen.dims) else (bounds, columns)
        return graph.add(FloatCrop(graph.name(node), rows, columns), seen, positive=seen.positive)
    _require_channels(node, seen, axis)
    if seen.order is not None or step != 1:
        refuse(node, f"it takes channels of a flattened map, or with a step of {step}",
               "take a range of channels")
    return graph.add(FloatSlice(graph.name(node), taken.start, taken.stop), seen,
                     positive=seen.positive)


def upsample(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """Upsample and interpolate to the nearest element, by whole factors."""
    seen = graph.source(node)
    require_map(node, seen)
    factors = whole_factors(node, graph.program, seen.dims[1:], arguments.get("scale_factors"))
    down, across = (1, *factors)[-2:]
    return graph.add(FloatUpsample(graph.name(node), (down, across)), seen, positive=seen.positive)


# --- the end
def argmax(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """The number of the largest channel, at the end; it is that of the largest softmax too."""
    seen = graph.ended(node)
    axis = _over_channels(node, arguments, seen, "argmax")
    keep = (1,) if arguments.flag("keepdim", False) else ()
    result = graph.add(FloatArgMax(graph.name(node)), replace(seen, order=None))
    return replace(result, dims=(*seen.dims[:axis - 1], *keep, *seen.dims[axis:]),
                   final="it follows an argmax; nothing may")


def best_channel(graph: Graph, node: Node, arguments: Arguments) -> tuple[Seen, ...]:
    """max over the channels, at the end, of which only the indices are read."""
    found = argmax(graph, node, arguments)
    return _unread(graph, node, 0, found, "its values, not the indices,"), found


def softmax(function: TailFunction) -> Operator:
    """Softmax or log-softmax over the channels, at the end: the host's."""
    def convert(graph: Graph, node: Node, arguments: Arguments) -> Seen:
        seen = graph.source(node)
        _over_channels(node, arguments, seen, "softmax")
        return replace(seen, final="it follows a softmax, which is left to the host; only an "
                                   "argmax may", function=function)
    return convert


def _over_channels(node: Node, arguments: Arguments, seen: Seen, what: str) -> int:
    """The axis of ``seen`` that ``node`` is over, which must be that of the channels."""
    axis = arguments.integer("dim") % (len(seen.dims) + 1)
    if axis == 0 or axis != seen.channel_axis:
        refuse(node, f"only the {what} over the channels, dim=1, is supported")
    return axis

"""The operators of a ``.tflite`` file, one function each: what it becomes in the integer network.

Each is exact to TensorFlow Lite's reference kernels (`BUILTIN_REF`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ... import ir
from ...ir import Integers
from ..affine import Affine, quantize_multiplier, requantize
from ..broadcast import Shape, broadcast, common_shape
from ..padding import Padding, fits, same_total, sum_padding
from . import arithmetic
from .arithmetic import (
    ACTIVATIONS,
    SPARE_BITS,
    bounds,
    divide_by_power,
    exponent_of,
    float_ratio,
    mean_multiplier,
    product_ratio,
    sum_scales,
)
from .file import Operator, Tensor
from .graph import AGAIN, WIDE, Graph, Refused, Value, affine, map_shape

Convert = Callable[[Graph, Operator], None]

_SAME, _VALID = 0, 1


def output_affine(graph: Graph, operator: Operator, kinds: tuple[str, ...] = ("INT8",)) -> Affine:
    """What the output's integers stand for."""
    return affine(graph.tensor(operator, 0, ends=True), kinds)


def input_affine(graph: Graph, operator: Operator, position: int = 0,
                 kinds: tuple[str, ...] = ("INT8",)) -> Affine:
    """What the integers of an input stand for."""
    return affine(graph.tensor(operator, position), kinds)


def meanings(graph: Graph, operator: Operator, inputs: int = 1) -> tuple[Affine, ...]:
    """What the integers of so many ``inputs`` and of the output stand for, which are as wide."""
    found = [input_affine(graph, operator, position, WIDE) for position in range(inputs)]
    target = output_affine(graph, operator, WIDE)
    for source in found:
        if source.bits != target.bits:
            raise Refused(operator, f"its input has {source.bits} bits, its output {target.bits}",
                          "put a QUANTIZE between them")
    return *found, target


def unscaled(graph: Graph, operator: Operator, *tensors: Tensor) -> Affine:
    """What the integers of ``tensors``, of input and output without them, stand for.

    The operator passes integers on as they are, so all must mean the same.
    """
    tensors = tensors or (graph.tensor(operator, 0), graph.tensor(operator, 0, ends=True))
    first, *others = (affine(tensor, WIDE) for tensor in tensors)
    for other in others:
        if other != first:
            raise Refused(operator, f"its inputs and outputs must have one width, scale and zero "
                                    f"point, not {first.bits} bits, {first.scale:g}, "
                                    f"{first.zero_point} and {other.bits} bits, {other.scale:g}, "
                                    f"{other.zero_point}", "put a QUANTIZE between them")
    return first


def activation_bounds(operator: Operator, target: Affine) -> tuple[int, int]:
    """The clamp of the fused activation."""
    code = int(operator.options["activation"])
    if code not in ACTIVATIONS:
        raise Refused(operator, f"its fused activation {code} is none of "
                                f"{', '.join(name for name, *_ in ACTIVATIONS.values())}",
                      "use one of them")
    _, low, high = ACTIVATIONS[code]
    return bounds(low, high, target)


def window_padding(operator: Operator, shape: tuple[int, int, int], kernel: tuple[int, int],
                   stride: tuple[int, int]) -> Padding:
    """(top, bottom, left, right) for SAME or VALID; the odd element goes to the end."""
    scheme = operator.options["padding"]
    if scheme not in (_SAME, _VALID):
        raise Refused(operator, f"its padding {scheme} is neither SAME nor VALID", AGAIN)
    pads = []
    for size, taps, step in zip(shape, kernel, stride, strict=False):
        total = same_total(size, taps, step) if scheme == _SAME else 0
        if size + total < taps:
            raise Refused(operator, f"its kernel {kernel} exceeds its input {shape[:2]}", AGAIN)
        pads += [total // 2, total - total // 2]
    top, bottom, left, right = pads
    return top, bottom, left, right


def pair(operator: Operator, name: str) -> tuple[int, int]:
    """The (y, x) values of the option ``name``, each from 1 to 4096."""
    y, x = int(operator.options[f"{name}_y"]), int(operator.options[f"{name}_x"])
    if not (1 <= y <= 4096 and 1 <= x <= 4096):
        raise Refused(operator, f"its {name} is {y}×{x}, not from 1 to 4096", AGAIN)
    return y, x


# --- pools
def _clamped(graph: Graph, operator: Operator, layer: str, target: Affine) -> str:
    low, high = activation_bounds(operator, target)
    if (low, high) == bounds(None, None, target):
        return layer
    return graph.add(ir.Clamp(graph.unique(f"{layer}_clamp"), layer, low, high))


def _foldable(value: Value, kernel: tuple[int, int], neutral: int) -> bool:
    """Whether a pool may take over the padding of ``value``, which then is ``neutral`` to it."""
    return value.pad_value == neutral and fits(value.padding, kernel)


def average_pool(graph: Graph, operator: Operator) -> None:
    """AVERAGE_POOL_2D: the sum over the elements inside the map, by their number, rounded."""
    target = unscaled(graph, operator)
    value = graph.source_with_padding(operator)
    kernel, stride = pair(operator, "kernel"), pair(operator, "stride")
    padding = window_padding(operator, value.padded, kernel, stride)
    kernel, padding = _cut(value.padded, kernel, stride, padding)
    count_padding = not any(padding)
    # Explicit padding counts as elements, which zeros do in an AveragePool.
    if any(value.padding) and not any(padding) and _foldable(value, kernel, 0):
        layer, padding = value.layer, value.padding
    else:
        layer, _ = graph.source(operator)
    name = graph.name_of(operator, "average_pool")
    graph.add(ir.AveragePool(name, layer, kernel, stride, padding, ir.Rounding.HALF_AWAY,
                             count_padding))
    graph.finish_layer(operator, _clamped(graph, operator, name, target))


def _cut(shape: tuple[int, int, int], kernel: tuple[int, int], stride: tuple[int, int],
         padding: Padding) -> tuple[tuple[int, int], Padding]:
    """Kernel and padding; the only window along an axis is cut down to what it has of the map."""
    taps, pads = [], []
    for axis in range(2):
        before, after = padding[2 * axis], padding[2 * axis + 1]
        size = kernel[axis]
        if before or after:
            outputs = (shape[axis] + before + after - size) // stride[axis] + 1
            if outputs == 1:
                size = min(size - before, shape[axis])
                before = after = 0
        taps.append(size)
        pads += [before, after]
    return (taps[0], taps[1]), (pads[0], pads[1], pads[2], pads[3])


def max_pool(graph: Graph, operator: Operator) -> None:
    """MAX_POOL_2D: padding never wins."""
    target = unscaled(graph, operator)
    value = graph.source_with_padding(operator)
    kernel, stride = pair(operator, "kernel"), pair(operator, "stride")
    padding = window_padding(operator, value.padded, kernel, stride)
    whole = sum_padding(value.padding, padding)
    if any(value.padding) and _foldable(Value("", value.shape, whole, value.pad_value), kernel,
                                        bounds(None, None, target)[0]):
        layer, padding = value.layer, whole  # explicit padding of the least value never wins
    else:
        layer, _ = graph.source(operator)
    name = graph.name_of(operator, "max_pool")
    graph.add(ir.MaxPool(name, layer, kernel, stride, padding))
    graph.finish_layer(operator, _clamped(graph, operator, name, target))


def _reduced(graph: Graph, operator: Operator) -> tuple[Value, tuple[int, int]]:
    """What an operator over height, width or both reads, and the window that it takes of the map.

    What it puts out has the order of the value.
    """
    tensor = graph.tensor(operator, 0)
    axes = graph.integers(operator, 1, ("INT32",)).reshape(-1)[:8].tolist()
    rank = len(tensor.shape)
    resolved = {axis + rank if axis < 0 else axis for axis in axes}
    refusal = Refused(operator, f"it is over the axes {axes} of {rank}, only height and width are "
                                f"supported", "reduce height and width only")
    if not resolved or not 1 <= min(resolved) <= max(resolved) < rank:
        raise refusal
    value = graph.value(operator)
    if value.order is not None:
        return _reduced_in_order(graph, operator, value, tuple(resolved), refusal)
    layer, shape = graph.source(operator)
    over = {axis + 4 - rank for axis in resolved}
    if not over <= {1, 2}:
        raise refusal
    return Value(layer, shape), (shape[0] if 1 in over else 1, shape[1] if 2 in over else 1)


def _reduced_in_order(graph: Graph, operator: Operator, value: Value, axes: tuple[int, ...],
                      refusal: Refused) -> tuple[Value, tuple[int, int]]:
    """`_reduced` of elements that have another order than those of the map.

    Each element of the output belongs to a set of places, which must be those of a window.
    """
    assert value.order is not None
    sizes = graph.tensor(operator, 0).shape
    kept = [axis for axis in range(len(sizes)) if axis not in axes]
    count = math.prod(sizes[axis] for axis in axes)
    graph.charge(operator, len(value.order))
    places = np.sort(value.order.reshape(sizes).transpose(*kept, *axes).reshape(-1, count))
    height, width, channels = value.shape
    for down, across in ((height, width), (height, 1), (1, width)):
        tiles = np.arange(len(value.order)).reshape(
            height // down, down, width // across, across, channels).transpose(0, 2, 4, 1, 3)
        windows = tiles.reshape(-1, down * across)
        after = np.argsort(np.argsort(places[:, 0]))
        if windows.shape == places.shape and np.array_equal(windows[after], places):
            natural = np.array_equal(after, np.arange(len(after)))
            return replace(value, order=None if natural else after), (down, across)
    raise refusal


def mean(graph: Graph, operator: Operator) -> None:
    """MEAN over height, width or both: an exact sum, times the scales by the count."""
    source, target = input_affine(graph, operator, 0, WIDE), output_affine(graph, operator, WIDE)
    value, kernel = _reduced(graph, operator)
    count = kernel[0] * kernel[1]
    name = graph.name_of(operator, "mean")
    total = graph.add(ir.SumPool(graph.unique(f"{name}_sum"), value.layer, kernel,
                                 kernel))
    multiplier, shift = mean_multiplier(source, target, count)
    graph.add(ir.ScaleRequantize(
        name, total, np.array([multiplier]), np.array([shift]), target.bits, target.signed,
        source.zero_point * count, 0, target.zero_point, rounding=graph.rounding,
        scale=target.scale))
    graph.finish(operator, Value(name, graph.types[name].shape, order=value.order))


def reduce_max(graph: Graph, operator: Operator) -> None:
    """REDUCE_MAX over height, width or both."""
    unscaled(graph, operator)
    value, kernel = _reduced(graph, operator)
    name = graph.add(ir.MaxPool(graph.name_of(operator, "reduce_max"), value.layer, kernel,
                                kernel))
    graph.finish(operator, Value(name, graph.types[name].shape, order=value.order))


def arg_max(graph: Graph, operator: Operator) -> None:
    """ARG_MAX over channels, the first of equal ones; the output is a number of the network."""
    input_affine(graph, operator)
    tensor, target = graph.tensor(operator, 0), graph.tensor(operator, 0, ends=True)
    axes = graph.integers(operator, 1, ("INT32", "INT64")).reshape(-1).tolist()
    rank = len(tensor.shape)
    if axes not in ([-1], [rank - 1]):
        raise Refused(operator, f"it is over the axes {axes} of {rank}, only channels are "
                                f"supported", "take it over the last axis")
    if graph.model.outputs != (target.index,):
        raise Refused(operator, "it is not the last one", "cut the network after the ARG_MAX")
    name = graph.add(ir.ArgMax(graph.name_of(operator, "arg_max"), graph.source(operator)[0]))
    graph.finish(operator, Value(name, graph.types[name].shape))


# --- elementwise
def elementwise(layer: type[ir.Elementwise], what: str) -> Convert:
    """ADD or SUB: inputs brought to one scale with spare bits, their exact ``what``, and back."""
    def convert(graph: Graph, operator: Operator) -> None:
        operands, shape = _operands(graph, operator)
        name = graph.name_of(operator, operator.kind.lower())
        scaled = [_repeated(graph, aligned(graph, operator, one, position, name), shape)
                  for position, one in enumerate(operands)]
        exact = graph.add(layer(graph.unique(f"{name}_{what}"), scaled[0], scaled[1]))
        finish_sum(graph, operator, exact, name)
    return convert


def aligned(graph: Graph, operator: Operator, layer: str, position: int, name: str) -> str:
    """``layer``, the input of an ADD or SUB at ``position``, in steps common to both.

    ``name`` is that of the sum.
    """
    *inputs, target = meanings(graph, operator, 2)
    meaning, name = inputs[position], graph.unique(f"{name}_{'ab'[position]}")
    powers = _powers(operator, *inputs, target)
    if powers is None:
        common, _ = sum_scales(inputs[0], inputs[1], target)
        return _widened(graph, name, layer, meaning, common, SPARE_BITS[target.bits])
    if powers[position] == 0:
        return layer
    # One bit more before the first rounding, which then has nothing to round.
    return graph.add(ir.ScaleRequantize(
        name, layer, np.array([1 << 30]), np.array([powers[position]]), 16, True, pre_shift=1,
        scale=target.scale))


def aligned_constant(graph: Graph, operator: Operator, position: int, values: Integers
                     ) -> Integers:
    """``values``, constants at ``position``, as `aligned` has them."""
    *inputs, target = meanings(graph, operator, 2)
    powers = _powers(operator, *inputs, target)
    if powers is not None:
        return divide_by_power(values, min(-powers[position], 31))  # nothing is left by then
    common, _ = sum_scales(inputs[0], inputs[1], target)
    ratio = quantize_multiplier(inputs[position].scale / common)
    spare = (values - inputs[position].zero_point) << SPARE_BITS[target.bits]
    return arithmetic.multiply(spare, *ratio, graph.rounding)


def finish_sum(graph: Graph, operator: Operator, exact: str, name: str) -> None:
    """Let ``exact``, the sum in common steps, be the output, by a layer called ``name``."""
    *inputs, target = meanings(graph, operator, 2)
    low, high = activation_bounds(operator, target)
    _, ratio = sum_scales(inputs[0], inputs[1], target)
    if _powers(operator, *inputs, target) is not None:
        ratio = 1.0
    elif ratio >= 1:
        raise Refused(operator, "its output scale is too small for its inputs", AGAIN)
    graph.add(requantize(name, exact, np.array([ratio]), target, low=low, high=high,
                         rounding=graph.rounding))
    graph.finish_layer(operator, name)


def _powers(operator: Operator, *scaled: Affine) -> tuple[int, ...] | None:
    """By which powers of two inputs of int16 are worth less than the output, 0 or below.

    None where the reference does not add them by shifts: unless the file asks for it, and each
    scale is a power of two.
    """
    *inputs, target = (exponent_of(one.scale) for one in scaled)
    if scaled[0].bits == 8 or not operator.options["powers_of_two"] or target is None or (
            None in inputs):
        return None
    shifts = tuple(exponent - target for exponent in inputs if exponent is not None)
    if max(shifts) != 0:
        raise Refused(operator, "its scales are powers of two, and its output's is not the larger "
                                "one of its inputs'", "convert it with pot_scale_int16 off")
    return shifts


def multiply(graph: Graph, operator: Operator) -> None:
    """MUL of two maps: the exact product, rounded once."""
    first, second, _ = meanings(graph, operator, 2)
    operands, shape = _operands(graph, operator)
    name = graph.name_of(operator, "mul")
    a, b = (_repeated(graph, operand, shape) for operand in operands)
    exact = graph.add(ir.Multiply(graph.unique(f"{name}_product"), a, b,
                                  (first.zero_point, second.zero_point)))
    finish_product(graph, operator, exact, name)


def finish_product(graph: Graph, operator: Operator, exact: str, name: str) -> None:
    """Let ``exact``, the product, be the output, by a layer called ``name``."""
    first, second, target = meanings(graph, operator, 2)
    low, high = activation_bounds(operator, target)
    ratio = product_ratio(first, second, target)
    graph.add(requantize(name, exact, np.array([ratio]), target, low=low, high=high,
                         rounding=graph.rounding))
    graph.finish_layer(operator, name)


def _operands(graph: Graph, operator: Operator) -> tuple[list[str], Shape]:
    """The layers that put out two operands, and the shape that both are repeated to.

    Their axes are the last ones of the output.
    """
    rank = len(graph.tensor(operator, 0, ends=True).shape)
    shapes = []
    for position in range(2):
        tensor = graph.tensor(operator, position)
        shapes.append(map_shape(replace(tensor, shape=(1,) * (rank - len(tensor.shape))
                                                      + tensor.shape)))
    layers = [graph.shaped(operator, shape, position) for position, shape in enumerate(shapes)]
    return layers, common_shape(*shapes)


def _repeated(graph: Graph, layer: str, shape: Shape) -> str:
    """``layer``, repeated to ``shape``."""
    return broadcast(graph, layer, shape, lambda: graph.unique(f"{layer}_repeated"))


def _widened(graph: Graph, name: str, layer: str, meaning: Affine, common: float, spare: int
             ) -> str:
    """The layer ``name``: what ``layer`` puts out, in ``spare`` bits of the scale ``common``."""
    ratio = meaning.scale / common
    wide = Affine(_wide_bits(graph, layer, meaning, ratio * (1 << spare)), True,
                  common / (1 << spare), 0)
    return graph.add(requantize(name, layer, np.array([ratio]), wide, offset=meaning.zero_point,
                                pre_shift=spare, rounding=graph.rounding))


def _wide_bits(graph: Graph, layer: str, meaning: Affine, factor: float) -> int:
    """Bits that hold all of ``(x - zero_point) * factor``."""
    kind = graph.types[layer]
    most = max(abs(kind.low - meaning.zero_point), abs(kind.high - meaning.zero_point))
    return max(2, math.ceil(most * factor + 1).bit_length() + 1)


def quantize(graph: Graph, operator: Operator) -> None:
    """QUANTIZE between integers; at the input, that of reals is left to the host."""
    source = graph.tensor(operator, 0)
    if source.kind == "FLOAT32":
        _quantize_input(graph, operator, source)
        return
    value = graph.values.get(source.index)
    if value is not None and value.final:  # other steps for what the host computes
        graph.finish(operator, value)
        return
    before = affine(source, (*WIDE, "UINT8"))
    after = output_affine(graph, operator, (*WIDE, "UINT8"))
    layer, _ = graph.source(operator)
    name = graph.name_of(operator, "quantize")
    graph.add(requantize(name, layer, np.array([before.scale / after.scale]), after,
                         offset=before.zero_point, rounding=graph.rounding))
    graph.finish_layer(operator, name)


def _quantize_input(graph: Graph, operator: Operator, source: Tensor) -> None:
    if graph.model.inputs != (source.index,) or graph.uses[source.index] != 1:
        raise Refused(operator, "it quantizes reals inside the network",
                      "quantize the whole network to int8")
    target = graph.tensor(operator, 0, ends=True)
    if map_shape(source) != map_shape(target):
        raise Refused(operator, f"it makes {source.shape} to {target.shape}", AGAIN)
    graph.start(target)


def dequantize(graph: Graph, operator: Operator) -> None:
    """DEQUANTIZE at the end: the network's output is what it reads."""
    value = graph.values.get(graph.tensor(operator, 0).index) or graph.value(operator)
    graph.finish(operator, value)


def relu(low: float, high: float | None) -> Convert:
    """RELU and its kin as operators of their own, which may change the scale."""
    def convert(graph: Graph, operator: Operator) -> None:
        source, target = (input_affine(graph, operator, 0, WIDE),
                          output_affine(graph, operator, WIDE))
        least, most = bounds(low, high, target)
        layer, _ = graph.source(operator)
        name = graph.name_of(operator, "relu")
        if (source.scale, source.zero_point) == (target.scale, target.zero_point):
            graph.add(ir.Clamp(name, layer, least, most))
        else:
            graph.add(requantize(name, layer, np.array([float_ratio(source, target)]), target,
                                 offset=source.zero_point, low=least, high=most,
                                 rounding=graph.rounding))
        graph.finish_layer(operator, name)
    return convert


# --- the end
def softmax(graph: Graph, operator: Operator) -> None:
    """SOFTMAX at the end: the host computes it, the network puts out the logits."""
    logits, target = meanings(graph, operator)
    if target.bits == 8:
        probabilities(graph, operator)
    value = graph.value(operator)
    if value.order is not None:
        raise Refused(operator, "a TRANSPOSE comes before it", "take it over channels that are "
                      "the last axis")
    output = operator.outputs[:1]
    readers = [reader for reader in graph.model.operators if output[0] in reader.inputs]
    if any(reader.kind not in ("DEQUANTIZE", "QUANTIZE") for reader in readers) or (
            not readers and graph.model.outputs != output):
        raise Refused(operator, "it is not the last one", "cut the network after the SOFTMAX")
    beta = float(operator.options["beta"])
    if not 0 < beta * logits.scale < math.inf:
        raise Refused(operator, f"its beta {beta:g} is no positive number", AGAIN)
    source, result = graph.tensor(operator, 0), graph.tensor(operator, 0, ends=True)
    if source.shape != result.shape:
        raise Refused(operator, f"it makes {source.shape} to {result.shape}", AGAIN)
    graph.finish(operator, replace(value, final=True))


def probabilities(graph: Graph, operator: Operator) -> None:
    """Refuse an output that is not worth 1/256 a step from -128 up."""
    result = output_affine(graph, operator)
    if (result.scale, result.zero_point) != (1 / 256, -128):
        raise Refused(operator, f"its output must be worth 1/256 a step from -128 up, not "
                                f"{result.scale:g} from {result.zero_point}", AGAIN)

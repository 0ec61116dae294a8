"""ATen's operators as ONNX's, one function each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from ..aten import IDENTITIES, PERMUTES, RESHAPES, SKIPPED
from ..aten.axes import moved_axes
from ..aten.graph import (
    Arguments,
    clamp_bounds,
    equal_windows,
    references,
    refuse,
    refuse_alpha,
    refuse_divisor,
    refuse_other_axes,
    refuse_power,
    refuse_scaled_elu,
    refuse_training,
    rrelu_slope,
    threshold_of,
    whole_factors,
)
from ..entries import Entry, entries
from ..onnx import model
from ..pt2 import Node, Program
from ..refusal import Refused
from .quantizers import (
    dequantize_per_channel,
    dequantize_per_tensor,
    quantize_per_channel,
    quantize_per_tensor,
)
from .rewriting import Call, Rewriting

Translate: TypeAlias = Callable[[Call], object]

_END = (1 << 63) - 1
"""The end of an axis, of any size."""


def translate(program: Program) -> model.Graph:
    """``program`` in ONNX's operators."""
    graph = Rewriting(program)
    for node in program.nodes:
        refuse_training(node)
        if node.target not in SKIPPED:
            with graph.refusals.noted():
                _take(graph, node)
    return graph.graph()


def _take(graph: Rewriting, node: Node) -> None:
    """Write ``node`` as nodes of ONNX; if it is refused, its outputs are missing."""
    entry, written = OPERATORS.get(node.target), len(graph.nodes)
    try:
        if entry is None:
            refuse(node, "not supported in a quantized program", "replace it",
                   told=f"replace it. Supported are {SUPPORTED}")
        entry.convert(Call(graph, node, Arguments(node)))
    except Refused as error:
        del graph.nodes[written:]
        reads = [reference.name for argument in node.arguments
                 for reference in references(argument.value)]
        blind = entry is not None and not graph.missing.isdisjoint(reads)
        graph.missing.update(node.outputs)
        if not blind or error.obstacles[-1].last:
            raise


# --- multiplication by weights
def convolution(call: Call) -> None:
    """Conv1d and Conv2d."""
    arguments = call.arguments
    if arguments.flag("transposed", False):
        transposed(call)
        return
    axes = len(call.dims("input")) - 1
    padding: dict[str, model.Attribute] = {}
    named = arguments.get("padding", 0)
    if isinstance(named, str):
        if named not in ("same", "valid"):
            refuse(call.node, f"its padding {named!r:.20} is unknown", "give numbers")
        padding["auto_pad"] = "SAME_UPPER" if named == "same" else "VALID"
    else:
        padding["pads"] = _every(call, "padding", axes, 0) * 2
    call.add("Conv", call.tensor("input"), call.tensor("weight"), call.optional("bias"),
             group=arguments.integer("groups", 1), strides=_every(call, "stride", axes, 1),
             dilations=_every(call, "dilation", axes, 1), **padding)


def transposed(call: Call) -> None:
    """ConvTranspose1d and ConvTranspose2d."""
    axes = len(call.dims("input")) - 1
    call.add("ConvTranspose", call.tensor("input"), call.tensor("weight"), call.optional("bias"),
             group=call.arguments.integer("groups", 1), strides=_every(call, "stride", axes, 1),
             pads=_every(call, "padding", axes, 0) * 2,
             output_padding=_every(call, "output_padding", axes, 0),
             dilations=_every(call, "dilation", axes, 1))


def _every(call: Call, name: str, axes: int, default: int) -> tuple[int, ...]:
    """An argument with a number for each axis of a map; one number, or none, is for all."""
    values = call.arguments.integers(name, (default,)) or (default,)
    if len(values) not in (1, axes):
        refuse(call.node, f"its {name} {values[:8]} does not fit {axes} axes",
               "export the model again")
    return values * axes if len(values) == 1 else values


def linear(call: Call) -> None:
    """Linear, of a vector."""
    call.add("Gemm", call.tensor("input"), call.tensor("weight"), call.optional("bias"), transB=1)


# --- element by element
def pair(operator: str) -> Translate:
    """An operator of two tensors, or of a tensor and a number."""
    def convert(call: Call) -> None:
        refuse_alpha(call.node, call.arguments)
        call.add(operator, call.operand("self"), call.operand("other"))
    return convert


def clamp(low: float, high: float) -> Translate:
    """What bounds its input, from ``low`` to ``high`` where it gives no bounds."""
    def convert(call: Call) -> None:
        bounds = clamp_bounds(call.arguments, low, high)
        # An attribute that is left out is no bound.
        call.add("Clip", call.tensor("self"), **{
            name: bound for name, bound in zip(("min", "max"), bounds, strict=True)
            if math.isfinite(bound)})
    return convert


def same(operator: str) -> Translate:
    """An operator that is ONNX's, of one tensor and no arguments."""
    return lambda call: call.add(operator, call.tensor())


def function(operator: str, *parameters: tuple[str, str, float]) -> Translate:
    """A function of single elements.

    ``parameters`` are torch's name, ONNX's and torch's default of each that it has.
    """
    def convert(call: Call) -> None:
        values = {name: call.arguments.number(own, default) or 0.0
                  for own, name, default in parameters}
        call.add(operator, call.tensor(), **values)
    return convert


def hard_sigmoid(call: Call) -> None:
    """Hardsigmoid, whose slope ONNX leaves open."""
    call.add("HardSigmoid", call.tensor("self"), alpha=1 / 6, beta=0.5)


def gelu(call: Call) -> None:
    """GELU, exact or by a tanh."""
    approximate = call.arguments.get("approximate", "none")
    if not isinstance(approximate, str):
        refuse(call.node, "its approximation is no text", "export the model again")
    call.add("Gelu", call.tensor("self"), approximate=approximate)


def elu(call: Call) -> None:
    """ELU; a CELU or SELU scales its input or output, which is refused."""
    refuse_scaled_elu(call.node, call.arguments)
    call.add("Elu", call.tensor("self"), alpha=call.arguments.number("alpha", 1.0) or 0.0)


def celu(call: Call) -> None:
    """CELU."""
    call.add("Celu", call.tensor("self"), alpha=call.arguments.number("alpha", 1.0) or 0.0)


def rrelu(call: Call) -> None:
    """RReLU, which has one slope where it is not trained."""
    call.add("LeakyRelu", call.tensor("self"), alpha=rrelu_slope(call.arguments))


def log_sigmoid(call: Call) -> None:
    """LogSigmoid, which is -softplus(-x)."""
    below = call.make(call.between(), "Neg", call.tensor("self"))
    call.add("Neg", call.make(call.between(), "Softplus", below))


def shrink(is_soft: bool) -> Translate:
    """Hardshrink, and Softshrink, which also moves what is left towards 0."""
    def convert(call: Call) -> None:
        least = call.arguments.number("lambd", 0.5) or 0.0
        call.add("Shrink", call.tensor("self"), lambd=least, bias=least * is_soft)
    return convert


def threshold(call: Call) -> None:
    """Threshold whose value is 0, or the threshold itself, which is a clamp."""
    least, value = threshold_of(call.node, call.arguments)
    if value == least:
        call.add("Clip", call.tensor("self"), min=least)
    else:
        call.add("ThresholdedRelu", call.tensor("self"), alpha=least)


def square(call: Call) -> None:
    """The square."""
    refuse_power(call.node, call.arguments)
    call.add("Mul", call.tensor("self"), call.tensor("self"))


def softplus(call: Call) -> None:
    """Softplus."""
    if call.arguments.number("beta", 1.0) != 1:
        refuse(call.node, "its beta is not 1", "scale its input and its output instead")
    call.add("Softplus", call.tensor("self"))


def prelu(call: Call) -> None:
    """PReLU with one slope, or one a channel."""
    slopes = call.known("weight")
    axes = len(call.dims("self")) - 1
    call.add("PRelu", call.tensor("self"), call.graph.constant(
        slopes.reshape(-1, *(1,) * axes), model.TYPES[1]))


def batch_norm(call: Call) -> None:
    """BatchNorm1d and 2d, which PT2E folds where it can."""
    size = call.dims("input")[0]
    affine = (call.tensor(name) if call.arguments.get(name) is not None else
              call.graph.constant(np.full(size, value, np.float32), model.TYPES[1])
              for name, value in (("weight", 1.0), ("bias", 0.0)))
    call.add("BatchNormalization", call.tensor("input"), *affine, call.tensor("running_mean"),
             call.tensor("running_var"), epsilon=call.arguments.number("eps", 1e-5) or 0.0)


# --- pools
def max_pool(call: Call) -> None:
    """MaxPool1d and MaxPool2d."""
    axes = len(call.dims("self")) - 1
    call.add("MaxPool", call.tensor("self"), dilations=_every(call, "dilation", axes, 1),
             **_window(call, axes))


def average_pool(call: Call) -> None:
    """AvgPool1d and AvgPool2d."""
    axes = len(call.dims("self")) - 1
    window = _window(call, axes)
    refuse_divisor(call.node, call.arguments, math.prod(_every(call, "kernel_size", axes, 0)))
    call.add("AveragePool", call.tensor("self"), **window,
             count_include_pad=int(call.arguments.flag("count_include_pad", True)))


def _window(call: Call, axes: int) -> dict[str, model.Attribute]:
    kernel = _every(call, "kernel_size", axes, 0)
    given = call.arguments.integers("stride", ())
    return {"kernel_shape": kernel,
            "strides": _every(call, "stride", axes, 1) if given else kernel,
            "pads": _every(call, "padding", axes, 0) * 2,
            "ceil_mode": int(call.arguments.flag("ceil_mode", False))}


def adaptive_average_pool(call: Call) -> None:
    """AdaptiveAvgPool1d and 2d, where all windows are equal."""
    _adaptive(call, call.output, "AveragePool")


def adaptive_max_pool(call: Call) -> None:
    """AdaptiveMaxPool1d and 2d, where all windows are equal, without the indices."""
    _adaptive(call, call.only(0, "the indices of its maxima"), "MaxPool")


def _adaptive(call: Call, output: str, operator: str) -> None:
    size = call.dims("self")[1:]
    wanted = _every(call, "output_size", len(size), 1)
    kernel = equal_windows(call.node, size, wanted)
    if set(wanted) == {1}:
        call.make(output, f"Global{operator}", call.tensor("self"))
    else:
        call.make(output, operator, call.tensor("self"), kernel_shape=kernel, strides=kernel)


def maximum(call: Call) -> None:
    """The maximum over a map."""
    dims = call.dims("self")
    refuse_other_axes(call.node, call.arguments, len(dims) + 1)
    if call.arguments.flag("keepdim", False):
        call.add("GlobalMaxPool", call.tensor("self"))
    else:
        whole = call.make(call.between(), "GlobalMaxPool", call.tensor("self"))
        call.add("Reshape", whole, _list(call, (1, dims[0])))


def mean(call: Call) -> None:
    """The mean over a map."""
    if call.arguments.get("dtype") is not None:
        refuse(call.node, "it computes in another type", "leave dtype away")
    call.add("ReduceMean", call.tensor("self"), _list(call, call.arguments.integers("dim", ())),
             keepdims=int(call.arguments.flag("keepdim", False)))


# --- shapes
def _list(call: Call, values: Sequence[int]) -> str:
    """The constant that is a list of integers, each of which an int64 holds."""
    if len(values) > 16 or any(abs(value) > _END for value in values):
        refuse(call.node, f"its numbers {tuple(values)[:4]} are too many or too large",
               "export the model again")
    return call.graph.constant(np.array(values, np.int64))


def identity(call: Call) -> None:
    """What changes nothing."""
    source = call.tensor()
    constant = call.graph.constants.get(source)
    if constant is None:
        call.add("Identity", source)
    else:
        call.graph.store(call.output, constant.values, constant.type)


def reshape(call: Call) -> None:
    """What only changes the shape, to that which the program tells."""
    sizes = call.graph.program.sizes.get(call.output, ())[1:]
    dims = [size for size in sizes if type(size) is int and size > 0]
    if len(dims) != len(sizes):
        refuse(call.node, f"its output has shape (N, {', '.join(map(str, sizes))}), of which only "
                          f"N may be dynamic", "export the model again")
    call.add("Reshape", call.tensor(), _list(call, (1, *dims)))


def permute(call: Call) -> None:
    """The axes in another order."""
    order = moved_axes(call.node, call.arguments, len(call.dims("self")) + 1)
    call.add("Transpose", call.tensor("self"), perm=tuple(order))


def pad(call: Call) -> None:
    """A constant around a map."""
    mode, value = call.arguments.get("mode", "constant"), call.arguments.number("value", 0.0)
    axes = len(call.dims("self")) + 1
    pads = call.arguments.integers("pad")
    if mode != "constant" or len(pads) % 2 or len(pads) > 2 * axes:
        refuse(call.node, f"its mode {mode!r:.20} or its {len(pads)} amounts are not supported",
               "pad with a constant")
    # torch begins with the last axis.
    ends = [[*pads[end::2], *(0,) * (axes - len(pads) // 2)][::-1] for end in (0, 1)]
    call.add("Pad", call.tensor("self"), _list(call, ends[0] + ends[1]),
             call.graph.constant(np.array(value or 0.0, np.float32), model.TYPES[1]))


def upsample(call: Call) -> None:
    """Upsample and interpolate to the nearest element."""
    factors = whole_factors(call.node, call.graph.program, call.dims("input")[1:],
                            call.arguments.get("scale_factors"))
    scales = call.graph.constant(np.array([1.0, 1.0, *factors], np.float32), model.TYPES[1])
    call.add("Resize", call.tensor("input"), "", scales, mode="nearest",
             coordinate_transformation_mode="asymmetric", nearest_mode="floor")


# --- joins and parts
def concatenate(call: Call) -> None:
    """Tensors, one behind the other."""
    tensors = call.arguments.get("tensors")
    if not isinstance(tensors, tuple) or not tensors:
        refuse(call.node, "it takes a list of tensors", "export the model again")
    call.add("Concat", *(call.tensor("tensors", value) for value in tensors),
             axis=call.arguments.integer("dim", 0))


def slice_(call: Call) -> None:
    """A range of an axis."""
    bounds = [call.arguments.get(name) for name in ("start", "end")]
    start, end = (default if bound is None else bound
                  for bound, default in zip(bounds, (0, _END), strict=True))
    if type(start) is not int or type(end) is not int:
        refuse(call.node, "its bounds are no numbers", "export the model again")
    _range(call, call.output, call.arguments.integer("dim", 0), start, end,
           call.arguments.integer("step", 1))


def _range(call: Call, output: str, axis: int, start: int, end: int, step: int = 1) -> None:
    lists = [_list(call, (value,)) for value in (start, end, axis, step)]
    call.make(output, "Slice", call.tensor("self"), *lists)


def parts(call: Call) -> None:
    """split and chunk: runs along an axis, of the lengths that the program tells."""
    axis = call.arguments.integer("dim", 0)
    start = 0
    for name in call.node.outputs:
        sizes = call.graph.program.sizes.get(name, ())
        size = sizes[axis] if -len(sizes) <= axis < len(sizes) else None
        if size is None or axis % len(sizes) == 0:
            refuse(call.node, f"it divides axis {axis}, the batch or one of unknown size",
                   "divide channels")
        _range(call, name, axis, start, start + size)
        start += size


# --- the end
def softmax(call: Call) -> None:
    """Softmax and log-softmax at the end are left to the host."""
    axis, dims = call.arguments.integer("dim"), call.dims()
    if axis not in ((1, -1) if len(dims) == 1 else (1,)):
        refuse(call.node, "only the softmax over the channels, dim=1, is supported")
    operator = "LogSoftmax" if call.node.target == "aten.log_softmax.int" else "Softmax"
    call.add(operator, call.tensor(), axis=axis)


def argmax(call: Call) -> None:
    """The number of the largest channel."""
    _argmax(call, call.output)


def best_channel(call: Call) -> None:
    """max over the channels, of which only the indices are read."""
    _argmax(call, call.only(1, "its values, not the indices,"))


def _argmax(call: Call, output: str) -> None:
    call.make(output, "ArgMax", call.tensor("self"), axis=call.arguments.integer("dim"),
              keepdims=int(call.arguments.flag("keepdim", False)))


def _named(operator: Translate, *names: str) -> dict[str, Translate]:
    return {f"aten.{name}": operator for name in names}


def _in_place_too(operator: Translate, name: str, overload: str = "default"
                  ) -> dict[str, Translate]:
    return _named(operator, f"{name}.{overload}", f"{name}_.{overload}")


OPERATORS: Mapping[str, Entry[Translate]] = {
    **entries("`default` and `tensor`; a range that is a part of its type's (`quant_min`, "
              "`quant_max`) is a narrower type, or a clamp", "quantize the network again", {
        "quantized_decomposed.quantize_per_tensor.default": quantize_per_tensor,
        "quantized_decomposed.quantize_per_tensor.tensor": quantize_per_tensor,
        "quantized_decomposed.dequantize_per_tensor.default": dequantize_per_tensor,
        "quantized_decomposed.dequantize_per_tensor.tensor": dequantize_per_tensor}),
    **entries("of weights, which may be stored as integers or as floats",
              "quantize activations by tensor", {
        "quantized_decomposed.quantize_per_channel.default": quantize_per_channel,
        "quantized_decomposed.dequantize_per_channel.default": dequantize_per_channel}),
    **entries("", "", {
        **dict.fromkeys(IDENTITIES, identity),
        **_named(identity, "lift_fresh_copy.default")}),
    **entries("as in `.onnx`", "reshape at the ends of the network", {
        **dict.fromkeys(RESHAPES, reshape),
        **dict.fromkeys(PERMUTES, permute)}),
    **entries("as in `.onnx`, `linear` of a vector; biases are floats, or were dequantized",
              "make its weights parameters", {
        **_named(convolution, "conv1d.default", "conv1d.padding", "conv2d.default",
                 "conv2d.padding", "convolution.default"),
        **_named(transposed, "conv_transpose1d.default", "conv_transpose2d.input"),
        **_named(linear, "linear.default")}),
    **entries("two activations or one and a constant, as in `.onnx`", "divide by constants only", {
        **_in_place_too(pair("Add"), "add", "Tensor"),
        **_in_place_too(pair("Sub"), "sub", "Tensor"),
        **_in_place_too(pair("Mul"), "mul", "Tensor"),
        **_in_place_too(pair("Div"), "div", "Tensor")}),
    **entries("merged into the quantization behind them", "let a quantize_per_tensor follow", {
        **_in_place_too(same("Relu"), "relu"),
        **_in_place_too(clamp(0.0, 6.0), "relu6"),
        **_in_place_too(clamp(-1.0, 1.0), "hardtanh"),
        **_in_place_too(clamp(-math.inf, math.inf), "clamp"),
        **_in_place_too(clamp(-math.inf, math.inf), "clip"),
        **_in_place_too(clamp(-math.inf, math.inf), "clamp_min"),
        **_in_place_too(clamp(-math.inf, math.inf), "clamp_max")}),
    **entries("to 0 or the threshold itself", "use one of these", _in_place_too(
        threshold, "threshold")),
    **entries("of power 2", "use x ** 2", {
        **_in_place_too(square, "square"),
        **_named(square, "pow.Tensor_Scalar", "pow_.Scalar")}),
    **entries("tables of one quantized tensor; slopes: one or one a channel",
              "quantize its input to 8 bits", {
        **_in_place_too(function("Sigmoid"), "sigmoid"),
        **_in_place_too(function("Tanh"), "tanh"),
        **_in_place_too(function("Swish"), "silu"),
        **_in_place_too(function("Mish"), "mish"),
        **_in_place_too(function("HardSwish"), "hardswish"),
        **_in_place_too(function("LeakyRelu", ("negative_slope", "alpha", 0.01)), "leaky_relu"),
        **_in_place_too(hard_sigmoid, "hardsigmoid"),
        **_in_place_too(gelu, "gelu"),
        **_in_place_too(elu, "elu"),
        **_in_place_too(celu, "celu"),
        **_in_place_too(function("Selu"), "selu"),
        **_in_place_too(function("Abs"), "abs"),
        **_in_place_too(function("Neg"), "neg"),
        **_in_place_too(function("Exp"), "exp"),
        **_in_place_too(rrelu, "rrelu"),
        **_named(log_sigmoid, "log_sigmoid.default"),
        **_named(shrink(False), "hardshrink.default"),
        **_named(shrink(True), "softshrink.default"),
        **_named(softplus, "softplus.default"),
        **_named(prelu, "prelu.default")}),
    **entries("a factor and a bias a channel", "call model.eval() before the export", _named(
        batch_norm, "batch_norm.default")),
    **entries("no dilation", "use dilation = 1", _named(
        max_pool, "max_pool1d.default", "max_pool2d.default")),
    **entries("padding counts or not, `ceil_mode` without `count_include_pad`",
              "pad the map so that the windows fit", _named(
        average_pool, "avg_pool1d.default", "avg_pool2d.default")),
    **entries("windows of one size; no indices",
              "use an output size that divides the map, such as 1", {
        **_named(adaptive_average_pool, "adaptive_avg_pool1d.default",
                 "adaptive_avg_pool2d.default"),
        **_named(adaptive_max_pool, "adaptive_max_pool1d.default",
                 "adaptive_max_pool2d.default")}),
    **entries("over height and width", "use dim=(2, 3)", {
        **_named(mean, "mean.dim"),
        **_named(maximum, "amax.default")}),
    **entries("height and width, with a constant", "pad height and width only", _named(
        pad, "pad.default", "constant_pad_nd.default")),
    **entries("by whole factors", "use a scale_factor of 2 or 3, say", _named(
        upsample, "upsample_nearest1d.vec", "upsample_nearest2d.vec")),
    **entries("of channels", "use dim=1", _named(concatenate, "cat.default", "concat.default")),
    **entries("of rows, columns and channels; steps of rows and columns up to 64",
              "take ranges with steps forward", {
        **_named(slice_, "slice.Tensor"),
        **_named(parts, "split.Tensor", "split.sizes", "split_with_sizes.default",
                 "chunk.default")}),
    **entries("over channels, at the end: left to the host", "cut the network before it",
              _named(softmax, "softmax.int", "log_softmax.int")),
    **entries("over channels, at the end; the first wins; of `max` the indices only",
              "cut the network before it", {
        **_named(argmax, "argmax.default"),
        **_named(best_channel, "max.dim")}),
}
SUPPORTED = ", ".join(sorted({name.split(".")[1].rstrip("_") for name in OPERATORS}))

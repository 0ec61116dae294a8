"""From the ATen graph of an exported program to a `FloatNetwork`: one function per operator.

PyTorch's (N, C, H, W) becomes (N, H, W, C), so the first linear layer after a flatten has its
weights permuted; (N, C, L) becomes a map of height 1. Zero padding moves into the layer that
follows it. What a program computes of its parameters alone is computed first (`parameters`). The
network in the making is in `graph`, the operators are in `linear`, `maps`, `axes` and
`elementwise`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...ir import TailFunction
from ..entries import Entry, entries
from ..floats import FloatAdd, FloatNetwork, FloatProduct, FloatSubtract
from ..pt2 import Node, Program, read
from ..refusal import naming
from ..unary import Unary
from . import axes, elementwise, linear, maps
from .graph import Graph, Operator, Seen, references, refuse, refuse_training
from .parameters import FOLDS, folded
from .trivial import IDENTITIES, PERMUTES, RESHAPES, SKIPPED

__all__ = ["HINTS", "IDENTITIES", "OPERATORS", "PARAMETERS", "PERMUTES", "RESHAPES", "SKIPPED",
           "SUPPORTED", "Accepted", "accept", "convert", "load"]

SUPPORTED = (
    "Conv1d and Conv2d, transposed or not, with any groups and dilation, BatchNorm, Linear, ReLU, "
    "ReLU6, Hardtanh, clamp, LeakyReLU, PReLU, RReLU, ELU, CELU, SELU, GELU, SiLU, Mish, Sigmoid, "
    "LogSigmoid, Tanh, Hardsigmoid, Hardswish, Softplus, Softsign, Hardshrink, Softshrink, "
    "Threshold, abs, exp, squares, max and average pools, adaptive ones, mean and maximum over a "
    "map, ZeroPad, nearest upsampling, Flatten, Unflatten, permuted axes and channels, Dropout, "
    "sums, differences, products, concatenations, parts of channels, rows and columns, channels "
    "plus or times constants, softmax and argmax at the end")


def load(path: str | Path) -> FloatNetwork:
    """The float network in the ``.pt2`` file ``path``; nothing in the file is executed."""
    return convert(read(path), str(path))


def convert(program: Program, origin: str) -> FloatNetwork:
    """The float network that ``program`` computes, as `accept` has it."""
    return accept(program, origin).network


@dataclass(frozen=True, eq=False)
class Accepted:
    """A program each of whose operators is supported, and the ``network`` that it computes.

    ``program`` no longer computes anything of parameters alone; ``seen`` tells of each of its
    tensors which layer of the network puts it out, and in which shape.
    """

    program: Program
    network: FloatNetwork
    seen: Mapping[str, Seen]


def accept(program: Program, origin: str) -> Accepted:
    """What ``program`` computes; ``origin`` names it in errors.

    `PenjingError` names the node or layer that has no exact equivalent.
    """
    with naming(origin):
        return _accept(program)


def _accept(program: Program) -> Accepted:
    for node in program.nodes:  # odd nodes only follow from training mode, so it comes first
        refuse_training(node)
    program = folded(program)
    nodes = [node for node in program.nodes if node.target not in SKIPPED]
    graph = Graph(program, nodes)
    for node in nodes:
        with graph.refusals.noted():
            _take(graph, node)
        graph.stand_in(node)
    graph.refusals.settle()
    return Accepted(program, graph.network(), graph.seen)


def _take(graph: Graph, node: Node) -> None:
    entry = OPERATORS.get(node.target)
    reads = [one.name for argument in node.arguments for one in references(argument.value)]
    if entry is None or graph.missing.isdisjoint(reads):
        graph.take(node, entry.convert if entry else _unsupported)


def _unsupported(graph: Graph, node: Node, arguments: object) -> tuple[()]:
    hint = HINTS.get(node.target.removeprefix("aten.").partition(".")[0], "replace it")
    refuse(node, "not supported", hint, told=f"{hint}. Supported are {SUPPORTED}")


def _named(operator: Operator, *names: str) -> dict[str, Operator]:
    return {f"aten.{name}": operator for name in names}


def _in_place_too(operator: Operator, *names: str) -> dict[str, Operator]:
    return _named(operator, *(f"{name}.default" for name in names),
                  *(f"{name}_.default" for name in names))


_REAL_PAIR = ("two tensors, axes of 1 repeated, as those of `s[:, :, None, None]`; a tensor and a "
              "number, or a parameter with one number a channel (`p[:, None, None]`)")
OPERATORS: Mapping[str, Entry[Operator]] = {
    **entries("any kernel, stride, groups and dilation; padding with zeros, by numbers, `same` or "
              "`valid`", "make its weights parameters", _named(
        linear.convolution, "conv1d.default", "conv1d.padding", "conv2d.default", "conv2d.padding",
        "convolution.default")),
    **entries("any kernel, stride, padding, output padding, groups and dilation", "", _named(
        linear.transposed, "conv_transpose1d.default", "conv_transpose2d.input")),
    **entries("of a vector; behind a flattened map its columns are reordered",
              "put a Flatten before it", _named(linear.linear, "linear.default")),
    **entries("folded into the convolution or linear layer that it alone reads; elsewhere a factor "
              "and a bias a channel", "call model.eval() before the export", _named(
        linear.batch_norm, "batch_norm.default")),
    **entries("any bounds, rounded to steps; merged into the requantization before them", "", {
        **_in_place_too(elementwise.relu, "relu"),
        **_in_place_too(elementwise.clamp(0.0, 6.0), "relu6"),
        **_in_place_too(elementwise.clamp(-1.0, 1.0), "hardtanh"),
        **_in_place_too(elementwise.clamp(-math.inf, math.inf), "clamp", "clip", "clamp_min",
                        "clamp_max")}),
    **entries("tables of an input of up to 8 bits; slopes: one or one a channel", "", {
        **_in_place_too(elementwise.unary(Unary.SIGMOID), "sigmoid"),
        **_in_place_too(elementwise.unary(Unary.TANH), "tanh"),
        **_in_place_too(elementwise.unary(Unary.SILU), "silu"),
        **_in_place_too(elementwise.unary(Unary.HARD_SIGMOID), "hardsigmoid"),
        **_in_place_too(elementwise.unary(Unary.HARD_SWISH), "hardswish"),
        **_in_place_too(elementwise.gelu, "gelu"),
        **_in_place_too(elementwise.unary(Unary.SELU), "selu"),
        **_in_place_too(elementwise.unary(Unary.MISH), "mish"),
        **_in_place_too(elementwise.unary(Unary.ABS), "abs"),
        **_in_place_too(elementwise.unary(Unary.EXP), "exp"),
        **_named(elementwise.unary(Unary.LOG_SIGMOID), "log_sigmoid.default"),
        **_in_place_too(elementwise.with_number(Unary.LEAKY_RELU, "negative_slope", 0.01),
                        "leaky_relu"),
        **_named(elementwise.with_number(Unary.HARD_SHRINK, "lambd", 0.5), "hardshrink.default"),
        **_named(elementwise.with_number(Unary.SOFT_SHRINK, "lambd", 0.5), "softshrink.default"),
        **_in_place_too(elementwise.rrelu, "rrelu"),
        **_in_place_too(elementwise.elu, "elu"),
        **_in_place_too(elementwise.celu, "celu"),
        **_named(elementwise.prelu, "prelu.default"),
        **_named(elementwise.softplus, "softplus.default")}),
    **entries("to 0: a table; to the threshold itself: merged into the requantization before it",
              "use one of these", _in_place_too(elementwise.threshold, "threshold")),
    **entries("of power 2: a table of an input of up to 8 bits", "use x ** 2", {
        **_in_place_too(elementwise.square, "square"),
        **_named(elementwise.square, "pow.Tensor_Scalar", "pow_.Scalar")}),
    **entries("folded as a batch norm of −1", "", _in_place_too(linear.negative, "neg")),
    **entries("no dilation", "use dilation = 1", _named(
        maps.max_pool, "max_pool1d.default", "max_pool2d.default")),
    **entries("padding counts or not; no `ceil_mode` that cuts windows",
              "pad the map so that the windows fit", _named(
        maps.average_pool, "avg_pool1d.default", "avg_pool2d.default")),
    **entries("windows of one size; no indices",
              "use an output size that divides the map, such as 1", {
        **_named(maps.adaptive_average_pool, "adaptive_avg_pool1d.default",
                 "adaptive_avg_pool2d.default"),
        **_named(maps.adaptive_max_pool, "adaptive_max_pool1d.default",
                 "adaptive_max_pool2d.default")}),
    **entries("over height and width, or over the length of a line", "use dim=(2, 3)", {
        **_named(maps.mean, "mean.dim"),
        **_named(maps.maximum, "amax.default")}),
    **entries("zeros around a map, or channels of zeros", "pad with zeros", _named(
        maps.pad, "pad.default", "constant_pad_nd.default")),
    **entries(_REAL_PAIR, "", {
        **_named(linear.with_constant(linear.plus, maps.elementwise(FloatAdd), True),
                 "add.Tensor", "add_.Tensor"),
        **_named(linear.with_constant(linear.minus, maps.elementwise(FloatSubtract), False),
                 "sub.Tensor", "sub_.Tensor"),
        **_named(linear.with_constant(linear.times, maps.elementwise(FloatProduct), True),
                 "mul.Tensor", "mul_.Tensor")}),
    **entries("a tensor and a number, or a parameter with one number a channel", "", _named(
        linear.with_constant(linear.less_than, _unsupported, False), "rsub.Scalar")),
    **entries("a tensor by a number, or a parameter with one number a channel; a Softsign",
              "divide by constants only", _named(
        linear.with_constant(linear.over, elementwise.softsign, False), "div.Tensor",
        "div_.Tensor")),
    **entries("axes of 1", "repeat axes of 1 only", _named(
        maps.expand, "expand.default", "expand_as.default")),
    **entries("of channels", "use dim=1", {
        **_named(maps.concatenate, "cat.default", "concat.default"),
        **_named(maps.split, "split.Tensor", "split.sizes", "split_with_sizes.default"),
        **_named(maps.chunk, "chunk.default")}),
    **entries("of channels, without steps; of rows and columns, with any step",
              "take a range of channels", _named(maps.slice_, "slice.Tensor")),
    **entries("by whole factors", "use a scale_factor of 2 or 3, say", _named(
        maps.upsample, "upsample_nearest1d.vec", "upsample_nearest2d.vec")),
    **entries("over channels, at the end, of a softmax too; the first wins; of `max` the indices "
              "only", "use x.argmax(1)", {
        **_named(maps.argmax, "argmax.default"),
        **_named(maps.best_channel, "max.dim")}),
    **entries("whatever ends as a map or line of the same places, as a vector, or as the map that "
              "a linear layer's outputs are; on the way, functions of single elements",
              "keep the first dimension, and the order of the places", {
        **dict.fromkeys(RESHAPES, axes.reshape),
        **dict.fromkeys(PERMUTES, axes.permute)}),
    **entries("wires between the channels of a pixel; as `reshape`, `transpose`, `reshape` too", "",
              _named(axes.channel_shuffle, "channel_shuffle.default",
                     "native_channel_shuffle.default")),
    **entries("", "", dict.fromkeys(IDENTITIES, maps.identity)),
    **entries("over channels, which may be the last axis, at the end: left to the host",
              "cut the network before it", {
        **_named(maps.softmax(TailFunction.SOFTMAX), "softmax.int"),
        **_named(maps.softmax(TailFunction.LOG_SOFTMAX), "log_softmax.int")}),
}
PARAMETERS: Mapping[str, Entry[None]] = entries(
    "of parameters alone, as weight_norm and spectral_norm make them: folded", "",
    dict.fromkeys(FOLDS))
"""What is computed on reading."""

_NORM = "train with BatchNorm, whose statistics are constants"
_STATE = "no layer keeps a state: use a convolution over the time axis"
_DECOMPOSED = "save the program as torch.export.export returns it, without run_decompositions()"
HINTS: Mapping[str, str] = {
    "flip": "reverse the data, or the weights of the layers around it",
    "max_pool2d_with_indices": _DECOMPOSED,
    "_native_batch_norm_legit_no_training": _DECOMPOSED,
    "addmm": _DECOMPOSED,
    "group_norm": _NORM,
    "instance_norm": _NORM,
    "layer_norm": _NORM,
    "gru": _STATE,
    "lstm": _STATE,
    "scaled_dot_product_attention": "no layer multiplies activations as matrices: use convolutions",
    "pixel_shuffle": "use a ConvTranspose2d or a nearest Upsample",
    "upsample_bilinear2d": "use mode='nearest' or a ConvTranspose2d",
}
"""The ways out of operators that are not read."""

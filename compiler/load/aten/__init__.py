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
from pathlib import Path

from ...ir import PenjingError, TailFunction
from ..floats import FloatAdd, FloatNetwork, FloatProduct, FloatSubtract
from ..pt2 import Node, Program, one_line, read
from ..unary import Unary
from . import axes, elementwise, linear, maps
from .graph import Graph, Operator, refuse, refuse_training
from .parameters import folded
from .trivial import IDENTITIES, PERMUTES, RESHAPES, SKIPPED

__all__ = ["IDENTITIES", "PERMUTES", "RESHAPES", "SKIPPED", "SUPPORTED", "convert", "load"]

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
    """The float network that ``program`` computes; ``origin`` names it in errors.

    `PenjingError` names the node or layer that has no exact equivalent.
    """
    try:
        return _convert(program)
    except PenjingError as error:
        raise PenjingError(f"{origin}: {one_line(error)}") from None


def _convert(program: Program) -> FloatNetwork:
    for node in program.nodes:  # odd nodes only follow from training mode, so it comes first
        refuse_training(node)
    program = folded(program)
    nodes = [node for node in program.nodes if node.target not in SKIPPED]
    graph = Graph(program, nodes)
    for node in nodes:
        graph.take(node, _OPERATORS.get(node.target, _unsupported))
    return graph.network()


def _unsupported(graph: Graph, node: Node, arguments: object) -> tuple[()]:
    hint = _HINTS.get(node.target.removeprefix("aten.").partition(".")[0], "replace it")
    refuse(node, f"not supported; {hint}. Supported are {SUPPORTED}")


def _named(operator: Operator, *names: str) -> dict[str, Operator]:
    return {f"aten.{name}": operator for name in names}


def _in_place_too(operator: Operator, *names: str) -> dict[str, Operator]:
    return _named(operator, *(f"{name}.default" for name in names),
                  *(f"{name}_.default" for name in names))


_OPERATORS: Mapping[str, Operator] = {
    **_named(linear.convolution, "conv1d.default", "conv1d.padding", "conv2d.default",
             "conv2d.padding", "convolution.default"),
    **_named(linear.transposed, "conv_transpose1d.default", "conv_transpose2d.input"),
    **_named(linear.linear, "linear.default"),
    **_named(linear.batch_norm, "batch_norm.default"),
    **_in_place_too(elementwise.relu, "relu"),
    **_in_place_too(elementwise.clamp(0.0, 6.0), "relu6"),
    **_in_place_too(elementwise.clamp(-1.0, 1.0), "hardtanh"),
    **_in_place_too(elementwise.clamp(-math.inf, math.inf), "clamp", "clip", "clamp_min",
                    "clamp_max"),
    **_in_place_too(elementwise.unary(Unary.SIGMOID), "sigmoid"),
    **_in_place_too(elementwise.unary(Unary.TANH), "tanh"),
    **_in_place_too(elementwise.unary(Unary.SILU), "silu"),
    **_in_place_too(elementwise.unary(Unary.HARD_SIGMOID), "hardsigmoid"),
    **_in_place_too(elementwise.unary(Unary.HARD_SWISH), "hardswish"),
    **_in_place_too(elementwise.gelu, "gelu"),
    **_in_place_too(elementwise.unary(Unary.SELU), "selu"),
    **_in_place_too(elementwise.unary(Unary.MISH), "mish"),
    **_in_place_too(elementwise.unary(Unary.ABS), "abs"),
    **_in_place_too(elementwise.square, "square"),
    **_in_place_too(elementwise.unary(Unary.EXP), "exp"),
    **_named(elementwise.unary(Unary.LOG_SIGMOID), "log_sigmoid.default"),
    **_in_place_too(elementwise.with_number(Unary.LEAKY_RELU, "negative_slope", 0.01),
                    "leaky_relu"),
    **_named(elementwise.with_number(Unary.HARD_SHRINK, "lambd", 0.5), "hardshrink.default"),
    **_named(elementwise.with_number(Unary.SOFT_SHRINK, "lambd", 0.5), "softshrink.default"),
    **_in_place_too(elementwise.rrelu, "rrelu"),
    **_in_place_too(elementwise.elu, "elu"),
    **_in_place_too(elementwise.celu, "celu"),
    **_in_place_too(elementwise.threshold, "threshold"),
    **_named(elementwise.square, "pow.Tensor_Scalar", "pow_.Scalar"),
    **_in_place_too(linear.negative, "neg"),
    **_named(elementwise.prelu, "prelu.default"),
    **_named(elementwise.softplus, "softplus.default"),
    **_named(maps.max_pool, "max_pool1d.default", "max_pool2d.default"),
    **_named(maps.average_pool, "avg_pool1d.default", "avg_pool2d.default"),
    **_named(maps.adaptive_average_pool, "adaptive_avg_pool1d.default",
             "adaptive_avg_pool2d.default"),
    **_named(maps.adaptive_max_pool, "adaptive_max_pool1d.default", "adaptive_max_pool2d.default"),
    **_named(maps.mean, "mean.dim"),
    **_named(maps.maximum, "amax.default"),
    **_named(maps.pad, "pad.default", "constant_pad_nd.default"),
    **_named(linear.with_constant(linear.plus, maps.elementwise(FloatAdd), True),
             "add.Tensor", "add_.Tensor"),
    **_named(linear.with_constant(linear.minus, maps.elementwise(FloatSubtract), False),
             "sub.Tensor", "sub_.Tensor"),
    **_named(linear.with_constant(linear.less_than, _unsupported, False), "rsub.Scalar"),
    **_named(linear.with_constant(linear.times, maps.elementwise(FloatProduct), True),
             "mul.Tensor", "mul_.Tensor"),
    **_named(linear.with_constant(linear.over, elementwise.softsign, False), "div.Tensor",
             "div_.Tensor"),
    **_named(maps.expand, "expand.default", "expand_as.default"),
    **_named(maps.concatenate, "cat.default", "concat.default"),
    **_named(maps.split, "split.Tensor", "split.sizes", "split_with_sizes.default"),
    **_named(maps.chunk, "chunk.default"),
    **_named(maps.slice_, "slice.Tensor"),
    **_named(maps.upsample, "upsample_nearest1d.vec", "upsample_nearest2d.vec"),
    **_named(maps.argmax, "argmax.default"),
    **_named(maps.best_channel, "max.dim"),
    **dict.fromkeys(RESHAPES, axes.reshape),
    **dict.fromkeys(PERMUTES, axes.permute),
    **_named(axes.channel_shuffle, "channel_shuffle.default", "native_channel_shuffle.default"),
    **dict.fromkeys(IDENTITIES, maps.identity),
    **_named(maps.softmax(TailFunction.SOFTMAX), "softmax.int"),
    **_named(maps.softmax(TailFunction.LOG_SOFTMAX), "log_softmax.int"),
}

_DECOMPOSED = "save the program as torch.export.export returns it, without run_decompositions()"
_HINTS: Mapping[str, str] = {
    "flip": "reverse the data, or the weights of the layers around it",
    "max_pool2d_with_indices": _DECOMPOSED,
    "_native_batch_norm_legit_no_training": _DECOMPOSED,
    "addmm": _DECOMPOSED,
}

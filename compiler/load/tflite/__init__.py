"""TensorFlow Lite networks to integer networks, exact to the reference kernels.

A file is read into checked plain data (`file`). What it computes of shapes is done (`constants`),
and each of its other operators becomes layers (`operators`, `linear`, `tables`, `shapes`,
`copies`) of a network in the making (`graph`). What is at its ends, `ends` tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import ir
from ...ir import PenjingError
from . import copies, linear, operators, shapes, tables, wide
from .constants import fold
from .ends import LEAST_SOFTMAX_STEP, Ending, Ends, choose, ending, ends
from .file import Model, Operator, parse, read
from .graph import AGAIN, Graph, Refused
from .operators import Convert

__all__ = ["LEAST_SOFTMAX_STEP", "SUPPORTED", "Ending", "Ends", "Import", "choose", "convert",
           "ends", "graph_of", "load", "open_model", "parse", "read"]

_ADD = operators.elementwise(ir.Add, "sum")
_SUB = operators.elementwise(ir.Subtract, "difference")
_CONVERT: Mapping[str, Convert] = {
    "CONV_2D": linear.convolution, "DEPTHWISE_CONV_2D": linear.depthwise,
    "TRANSPOSE_CONV": linear.transposed, "FULLY_CONNECTED": linear.dense,
    "AVERAGE_POOL_2D": operators.average_pool, "MAX_POOL_2D": operators.max_pool,
    "MEAN": operators.mean, "REDUCE_MAX": operators.reduce_max, "ARG_MAX": operators.arg_max,
    "RELU": operators.relu(0.0, None), "RELU6": operators.relu(0.0, 6.0),
    "RELU_N1_TO_1": wide.by_width(operators.relu(-1.0, 1.0), wide.only_8_bits),
    "SOFTMAX": operators.softmax,
    "QUANTIZE": tables.quantize, "DEQUANTIZE": tables.dequantize,
    "ADD": wide.by_width(
        tables.binary("add", tables.total(1), _ADD), wide.with_constant(wide.plus(1), _ADD)),
    "SUB": wide.by_width(
        tables.binary("sub", tables.total(-1), _SUB), wide.with_constant(wide.plus(-1), _SUB)),
    "MUL": wide.by_width(
        tables.binary("mul", tables.product, operators.multiply),
        wide.with_constant(wide.times, operators.multiply)),
    "MINIMUM": wide.by_width(
        tables.binary("minimum", tables.extreme(np.minimum), tables.two_maps),
        wide.with_constant(wide.extreme(wide.at_most), tables.two_maps)),
    "MAXIMUM": wide.by_width(
        tables.binary("maximum", tables.extreme(np.maximum), tables.two_maps),
        wide.with_constant(wide.extreme(wide.at_least), tables.two_maps)),
    "LOGISTIC": wide.by_width(tables.logistic, wide.logistic),
    "TANH": wide.by_width(tables.unary("tanh", tables.real(tables.tanh)), wide.tanh),
    "GELU": wide.by_width(tables.unary("gelu", tables.real(tables.gelu)), wide.only_8_bits),
    "HARD_SWISH": wide.by_width(tables.unary("hard_swish", tables.hard_swish), wide.only_8_bits),
    "LEAKY_RELU": tables.reals(
        tables.leaky_relu_of_reals,
        wide.by_width(tables.unary("leaky_relu", tables.leaky_relu), wide.leaky_relu)),
    "PRELU": wide.by_width(tables.binary("prelu", tables.prelu, tables.two_maps), wide.prelu),
    "ELU": tables.reals(tables.elu, tables.only_reals),
    "PAD": shapes.pad, "PADV2": shapes.pad, "RESHAPE": shapes.reshape,
    "SQUEEZE": shapes.reshape, "EXPAND_DIMS": shapes.reshape, "TRANSPOSE": shapes.transpose,
    "CONCATENATION": shapes.concatenation, "SPLIT": shapes.split, "SLICE": shapes.slice_,
    "STRIDED_SLICE": shapes.strided_slice,
    "RESIZE_NEAREST_NEIGHBOR": copies.resize_nearest, "TILE": copies.tile,
    "BROADCAST_TO": copies.broadcast}
SUPPORTED = ", ".join(_CONVERT)


@dataclass(frozen=True)
class Import:
    """The network of a file, and the axes of its images.

    ``axes`` are those of the network's input (H, W, C) in the order in which an image of the file
    has them, axes of one element left out. They are None where that is the input's own order.
    """

    network: ir.Network
    axes: tuple[int, ...] | None


def open_model(path: str | Path, name: str,
               rounding: ir.ScaleRounding = ir.ScaleRounding.DOUBLE,
               result: str | None = None) -> Import:
    """The integer network of the file ``path``, called ``name``.

    A SOFTMAX at the end is left to the host, and so is what computes with reals there: the network
    puts out logits, its tail says the rest. Of several outputs, that called ``result`` is taken.
    `PenjingError` tells in one line what is wrong with the file, or which operator cannot be
    imported.
    """
    model = read(path)
    try:
        return _imported(choose(model, result), name, rounding)
    except PenjingError as error:
        raise PenjingError(f"{path}: {error}") from None


def load(path: str | Path, name: str, rounding: ir.ScaleRounding = ir.ScaleRounding.DOUBLE,
         result: str | None = None) -> ir.Network:
    """The network of `open_model`."""
    return open_model(path, name, rounding, result).network


def convert(model: Model, name: str,
            rounding: ir.ScaleRounding = ir.ScaleRounding.DOUBLE) -> ir.Network:
    """The integer network that ``model`` computes."""
    return _imported(model, name, rounding).network


def _imported(model: Model, name: str, rounding: ir.ScaleRounding) -> Import:
    graph = graph_of(model, rounding)
    end = ending(graph.model)
    return Import(graph.network_of(name, end.logits, end.tail), graph.axes)


def graph_of(model: Model, rounding: ir.ScaleRounding = ir.ScaleRounding.DOUBLE) -> Graph:
    """What becomes of all operators of ``model``, but of those that are left to the host."""
    if len(model.inputs) != 1 or model.inputs[0] < 0:
        raise PenjingError(f"it has {len(model.inputs)} inputs; convert a network of one input")
    model = fold(choose(model))
    graph = Graph(model, rounding)
    entry = model.tensors[model.inputs[0]]
    if entry.data is not None:
        raise PenjingError(f"tensor {entry.index} ({entry.name:.60}): it is the network's input "
                           f"and a constant; {AGAIN}")
    if entry.kind != "FLOAT32":  # reals become integers at the QUANTIZE that reads them
        graph.start(entry)
    end = ending(model)
    for operator in model.operators:
        if operator.index not in end.left:
            _add(graph, operator)
    return graph


def _add(graph: Graph, operator: Operator) -> None:
    if operator.kind not in _CONVERT:
        raise Refused(operator, "it is not supported", f"use {SUPPORTED}")
    try:
        _CONVERT[operator.kind](graph, operator)
    except Refused:
        raise
    except PenjingError as error:
        raise PenjingError(f"{operator}: {error}") from None

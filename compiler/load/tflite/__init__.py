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
from .. import refusal
from ..entries import Entry, entries
from ..refusal import naming
from . import copies, linear, operators, shapes, tables, wide
from .constants import COMPUTED, fold
from .ends import LEAST_SOFTMAX_STEP, OF_REALS, Ending, Ends, choose, ending, ends
from .file import Model, Operator, parse, read
from .graph import AGAIN, Graph, Refused
from .operators import Convert

__all__ = ["BESIDES", "LEAST_SOFTMAX_STEP", "OPERATORS", "SUPPORTED", "Ending", "Ends", "Import",
           "choose", "convert", "ends", "graph_of", "load", "open_model", "parse", "read"]

_ADD = operators.elementwise(ir.Add, "sum")
_SUB = operators.elementwise(ir.Subtract, "difference")
_TWO = "axes of 1, or missing ones in front, are repeated"
_STEPS = "steps of rows and columns up to 64"
OPERATORS: Mapping[str, Entry[Convert]] = {
    **entries("any kernel, stride, dilation and groups; weights of int8 or int4 with a scale each "
              "output or one", "quantize weights by channel", {
        "CONV_2D": linear.convolution}),
    **entries("any multiplier; the rest as `CONV_2D`", "quantize weights by channel", {
        "DEPTHWISE_CONV_2D": linear.depthwise}),
    **entries("any kernel, stride and output shape", "", {"TRANSPOSE_CONV": linear.transposed}),
    **entries("of a vector, of a map made to one, or of each position; weights may be int2",
              "make its weights constants", {"FULLY_CONNECTED": linear.dense}),
    **entries("`SAME` or `VALID`; a window at the border divides by what it has of the map", "", {
        "AVERAGE_POOL_2D": operators.average_pool}),
    **entries("`SAME` or `VALID`; input and output of one scale", "convert the network again", {
        "MAX_POOL_2D": operators.max_pool}),
    **entries("over height, width or both", "take other means by a pool", {
        "MEAN": operators.mean, "REDUCE_MAX": operators.reduce_max}),
    **entries("over channels, at the end; the first wins", "cut the network before it", {
        "ARG_MAX": operators.arg_max}),
    **entries("alone or fused into an operator that has activations", "", {
        "RELU": operators.relu(0.0, None), "RELU6": operators.relu(0.0, 6.0)}),
    **entries("the same; alone, of int8", "use RELU", {
        "RELU_N1_TO_1": wide.by_width(operators.relu(-1.0, 1.0), wide.only_8_bits)}),
    **entries("at the end, of integers or of reals: left to the host",
              "cut the network after it", {"SOFTMAX": operators.softmax}),
    **entries("of reals at the input, or int8, uint8 and int16 to each other; behind a `SOFTMAX` "
              "at the end it is left away", "quantize the whole network to int8", {
        "QUANTIZE": tables.quantize}),
    **entries("at the end, or before functions of single elements that a `QUANTIZE` ends",
              "quantize the whole network to int8", {"DEQUANTIZE": tables.dequantize}),
    **entries(f"two activations ({_TWO}); an activation and a constant, one or one a channel; of "
              f"int8, an activation and a function of it", "", {
        "ADD": wide.by_width(
            tables.binary("add", tables.total(1), _ADD), wide.with_constant(wide.plus(1), _ADD)),
        "SUB": wide.by_width(
            tables.binary("sub", tables.total(-1), _SUB), wide.with_constant(wide.plus(-1), _SUB)),
        "MUL": wide.by_width(
            tables.binary("mul", tables.product, operators.multiply),
            wide.with_constant(wide.times, operators.multiply))}),
    **entries("of int8, an activation and a constant, one or one a channel, or a function of it; "
              "of int16, an activation and one constant", "let both depend on one int8 tensor", {
        "MINIMUM": wide.by_width(
            tables.binary("minimum", tables.extreme(np.minimum), tables.two_maps),
            wide.with_constant(wide.extreme(wide.at_most), tables.two_maps)),
        "MAXIMUM": wide.by_width(
            tables.binary("maximum", tables.extreme(np.maximum), tables.two_maps),
            wide.with_constant(wide.extreme(wide.at_least), tables.two_maps))}),
    **entries("of int8 or int16; slopes: one or one a channel", "quantize its input to int8", {
        "LOGISTIC": wide.by_width(tables.logistic, wide.logistic),
        "TANH": wide.by_width(tables.unary("tanh", tables.real(tables.tanh)), wide.tanh),
        "PRELU": wide.by_width(tables.binary("prelu", tables.prelu, tables.two_maps),
                               wide.prelu)}),
    **entries("of int8", "quantize its input to int8", {
        "GELU": wide.by_width(tables.unary("gelu", tables.real(tables.gelu)), wide.only_8_bits),
        "HARD_SWISH": wide.by_width(tables.unary("hard_swish", tables.hard_swish),
                                    wide.only_8_bits)}),
    **entries("of int8 or int16, or of reals between `DEQUANTIZE` and `QUANTIZE`",
              "quantize its input to int8", {
        "LEAKY_RELU": tables.reals(
            tables.leaky_relu_of_reals,
            wide.by_width(tables.unary("leaky_relu", tables.leaky_relu), wide.leaky_relu))}),
    **entries("of reals between `DEQUANTIZE` and `QUANTIZE`", "quantize its input to int8", {
        "ELU": tables.reals(tables.elu, tables.only_reals)}),
    **entries("height and width, up to 4096", "pad height and width only", {
        "PAD": shapes.pad, "PADV2": shapes.pad}),
    **entries("up to four dimensions where a layer reads them, a batch of 1",
              "convert the network with a batch of 1", {
        "RESHAPE": shapes.reshape, "SQUEEZE": shapes.reshape, "EXPAND_DIMS": shapes.reshape}),
    **entries("at the input, at the output, before a flatten, before a `MEAN` or `REDUCE_MAX` over "
              "height and width, of channels; else what keeps the order of all elements, or undoes "
              "another one", "transpose channels only, or at the ends of the network", {
        "TRANSPOSE": shapes.transpose}),
    **entries("of channels", "concatenate and split channels only", {
        "CONCATENATION": shapes.concatenation, "SPLIT": shapes.split}),
    **entries(f"of rows, columns and channels; {_STEPS}", "take ranges with steps forward", {
        "SLICE": shapes.slice_, "STRIDED_SLICE": shapes.strided_slice}),
    **entries("by whole factors up to 1024, or a ratio of whole numbers up to 64, half pixels or "
              "not; corners not aligned; no sizes that the reference kernel's float32 makes uneven",
              "resize by a whole factor", {"RESIZE_NEAREST_NEIGHBOR": copies.resize_nearest}),
    **entries("of one or two axes of one element, up to 1024 times",
              "repeat axes of one element only", {
        "TILE": copies.tile, "BROADCAST_TO": copies.broadcast}),
}
SUPPORTED = ", ".join(OPERATORS)
BESIDES: Mapping[str, Mapping[str, Entry[None]]] = {
    "ends": entries("of reals behind the last `DEQUANTIZE`: left to the host", "", dict.fromkeys(
        OF_REALS)),
    "constants": entries("of shapes and integers that follow from constants: done on reading", "",
                         dict.fromkeys(COMPUTED)),
}
"""What else is read, without a layer for it."""


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
    with naming(path, str):
        return _imported(choose(model, result), name, rounding)


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
            with graph.refusals.noted():
                _add(graph, operator)
            if graph.refusals.found:
                graph.stand_in(operator)
    graph.refusals.settle()
    return graph


def _add(graph: Graph, operator: Operator) -> None:
    blind = not graph.missing.isdisjoint(operator.inputs)
    if blind and operator.kind in COMPUTED:  # it would have been done on reading
        return
    if operator.kind not in OPERATORS:
        raise Refused(operator, "it is not supported", "replace it, or cut the network there",
                      told=f"use {SUPPORTED}")
    if blind:
        return
    try:
        OPERATORS[operator.kind].convert(graph, operator)
    except refusal.Refused as error:
        first = error.obstacles[0]
        if first.operator:
            raise
        raise Refused(operator, first.reason, first.way_out) from None
    except PenjingError as error:
        raise Refused(operator, str(error), "") from None

"""Elementwise operators of int16, for which a table of all values would be too large.

They become several layers, whose values are those of the reference kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ... import ir
from ...ir import Integers
from ..affine import Affine, requantize
from .arithmetic import HALF_BITS, exponent_of, float_ratio, product_ratio
from .file import Operator
from .graph import AGAIN, Graph, Refused, affine, map_shape
from .operators import (
    Convert,
    aligned,
    aligned_constant,
    finish_product,
    finish_sum,
    meanings,
    unscaled,
)
from .tables import row_per_channel

_LOW, _HIGH = -(1 << HALF_BITS), (1 << HALF_BITS) - 1


def by_width(of_8_bits: Convert, of_16_bits: Convert) -> Convert:
    """What converts an operator whose output is int16, and what converts any other."""
    def convert(graph: Graph, operator: Operator) -> None:
        wide = graph.tensor(operator, 0, ends=True).kind == "INT16"
        (of_16_bits if wide else of_8_bits)(graph, operator)
    return convert


def only_8_bits(graph: Graph, operator: Operator) -> None:
    """What no hardware computes of int16."""
    raise Refused(operator, "it is of int16, of which it is not supported",
                  "quantize it to int8, between two QUANTIZE")


# --- of an activation and a constant
def with_constant(combined: Callable[[Graph, Operator, int, Integers], None], otherwise: Convert
                  ) -> Convert:
    """The operator of an activation at some position and a constant; or ``otherwise``."""
    def convert(graph: Graph, operator: Operator) -> None:
        tensors = [graph.tensor(operator, position) for position in range(2)]
        constant = [tensor.data is not None for tensor in tensors]
        if sum(constant) != 1:
            otherwise(graph, operator)
            return
        meanings(graph, operator, 2)
        position = constant.index(True)
        values = row_per_channel(graph, operator, tensors[position], position, "INT16")
        _, _, channels = map_shape(graph.tensor(operator, 1 - position))
        combined(graph, operator, position, np.broadcast_to(values.reshape(-1), channels))
    return convert


def _per_channel(graph: Graph, name: str, layer: str, factors: Integers, addends: Integers) -> str:
    """The layer ``name`` that multiplies and adds numbers of each channel."""
    return graph.add(ir.Depthwise(name, layer, ir.Weights.narrowest(factors.reshape(-1, 1, 1)),
                                  addends))


def plus(sign: int) -> Callable[[Graph, Operator, int, Integers], None]:
    """ADD of a constant at ``position``, or SUB with a ``sign`` of -1."""
    def combined(graph: Graph, operator: Operator, position: int, values: Integers) -> None:
        layer, _ = graph.source(operator, 1 - position)
        name = graph.name_of(operator, operator.kind.lower())
        scaled = aligned(graph, operator, layer, 1 - position, name)
        signs = (1, sign)
        factors = np.full(len(values), signs[1 - position])
        addends = signs[position] * aligned_constant(graph, operator, position, values)
        exact = _per_channel(graph, graph.unique(f"{name}_sum"), scaled, factors, addends)
        finish_sum(graph, operator, exact, name)
    return combined


def times(graph: Graph, operator: Operator, position: int, values: Integers) -> None:
    """MUL by a constant at ``position``."""
    layer, _ = graph.source(operator, 1 - position)
    name = graph.name_of(operator, "mul")
    exact = _per_channel(graph, graph.unique(f"{name}_product"), layer, values,
                         np.zeros_like(values))
    finish_product(graph, operator, exact, name)


def extreme(bound: Callable[[int], tuple[int, int]]
            ) -> Callable[[Graph, Operator, int, Integers], None]:
    """MINIMUM or MAXIMUM with a constant of all channels, which makes it a ``bound``."""
    def combined(graph: Graph, operator: Operator, position: int, values: Integers) -> None:
        unscaled(graph, operator, graph.tensor(operator, 0), graph.tensor(operator, 1),
                 graph.tensor(operator, 0, ends=True))
        if (values != values[0]).any():
            raise Refused(operator, "its constant is another one for each channel",
                          "take one for all, or int8")
        layer, _ = graph.source(operator, 1 - position)
        name = graph.name_of(operator, operator.kind.lower())
        graph.finish_layer(operator, graph.add(ir.Clamp(name, layer, *bound(int(values[0])))))
    return combined


def at_most(value: int) -> tuple[int, int]:
    """What MINIMUM leaves."""
    return _LOW, value


def at_least(value: int) -> tuple[int, int]:
    """What MAXIMUM leaves."""
    return value, _HIGH


# --- of two sides
def leaky_relu(graph: Graph, operator: Operator) -> None:
    """LEAKY_RELU: each side of zero has a multiplier of its own."""
    source, target = meanings(graph, operator)
    alpha = np.float32(operator.options["alpha"])
    with np.errstate(over="ignore", invalid="ignore"):
        slope = float(np.float32(source.scale) * alpha / np.float32(target.scale))
    if not math.isfinite(slope):
        raise Refused(operator, f"its slope {alpha:g} is no number for its scales", AGAIN)
    layer, (_, _, channels) = graph.source(operator)
    name = graph.name_of(operator, "leaky_relu")
    below = _below(graph, name, layer, np.full(channels, -1 if slope < 0 else 1))
    _bent(graph, operator, name, layer, float_ratio(source, target), below, abs(slope))


def prelu(graph: Graph, operator: Operator) -> None:
    """PRELU with one slope, or one a channel, which are of int8."""
    source, target = meanings(graph, operator)
    slopes = graph.constant(operator, 1, ("INT8",))
    meaning = affine(slopes)
    values = row_per_channel(graph, operator, slopes, 1) - meaning.zero_point
    layer, (_, _, channels) = graph.source(operator)
    name = graph.name_of(operator, "prelu")
    below = _below(graph, name, layer, np.broadcast_to(values.reshape(-1), channels))
    _bent(graph, operator, name, layer, float_ratio(source, target), below,
          product_ratio(source, meaning, target))


def _below(graph: Graph, name: str, layer: str, factors: Integers) -> str:
    """What ``layer`` puts out below zero, times ``factors``, one a channel."""
    below = graph.add(ir.Clamp(graph.unique(f"{name}_negative"), layer, _LOW, 0))
    if (factors == 1).all():
        return below
    return _per_channel(graph, graph.unique(f"{name}_slope"), below, factors,
                        np.zeros_like(factors))


def _bent(graph: Graph, operator: Operator, name: str, layer: str, above: float, below: str,
          slope: float) -> None:
    """Let the output be ``layer`` times ``above`` where that is positive, ``below`` times ``slope``
    where it is not."""
    target = affine(graph.tensor(operator, 0, ends=True), ("INT16",))
    sides = [graph.add(requantize(graph.unique(f"{name}_{suffix}"), side, np.array([ratio]), target,
                                  low=low, rounding=graph.rounding))
             for suffix, side, ratio, low in (("a", layer, above, 0), ("b", below, slope, None))]
    both = graph.add(ir.Add(graph.unique(f"{name}_sum"), *sides))
    graph.add(requantize(name, both, np.array([1.0]), target, rounding=ir.ScaleRounding.SINGLE))
    graph.finish_layer(operator, name)


# --- sigmoids
_PIECES = 256
"""Straight pieces of which the reference makes a sigmoid of positive numbers."""
_ABOVE = (4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40,
          41, 43, 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255)
"""Where the reference's ends of pieces are one more than the nearest 16-bit number."""


def _ends() -> Integers:
    """The sigmoid of 0, 1/24, … 255/24 by the reference, in 16 bits below the point."""
    ends = np.array([math.floor((1 << 16) / (1 + math.exp(-n / 24)) + 0.5)
                     for n in range(_PIECES)])
    ends[list(_ABOVE)] += 1
    return ends


def logistic(graph: Graph, operator: Operator) -> None:
    """LOGISTIC: ``1 / (1 + exp(-x))``."""
    _sigmoid(graph, operator, "logistic", 9, 10, 1 << HALF_BITS - 1, (0,))


def tanh(graph: Graph, operator: Operator) -> None:
    """TANH, a sigmoid of twice as much, between -1 and 1."""
    _sigmoid(graph, operator, "tanh", 8, 8, 0, (0, 1))


def _sigmoid(graph: Graph, operator: Operator, what: str, place: int, shift: int, middle: int,
             exact_shifts: tuple[int, ...]) -> None:
    """A function as symmetric about (0, ``middle``) as the reference's arithmetic is.

    Of what it is away from ``middle``, the magnitude is ``(base + slope * v) / 2**shift``, rounded,
    with v the magnitude of the input in fine steps. Its bits from ``place`` on tell the piece; the
    last piece, on which there is no slope, goes on to infinity.
    """
    source, target = meanings(graph, operator)
    if target.scale != 2.0 ** -HALF_BITS:
        raise Refused(operator, f"its output must be worth 1/{1 << HALF_BITS} a step, not "
                                f"{target.scale:g}", AGAIN)
    multiplier, down = _fine_steps(operator, source, exact_shifts)
    layer, _ = graph.source(operator)
    name = graph.name_of(operator, what)
    last = _PIECES - 1
    magnitude = _line(graph, f"{name}_magnitude", layer, (-multiplier, multiplier),
                      (-1 if down else 0, 0), down, 17, (0, last << place))
    piece = _line(graph, f"{name}_piece", magnitude, (1,), (-(1 << place - 1),), place, 8,
                  (0, last))
    ends = _ends()
    slopes = np.append(np.diff(ends), 0)
    bases = ends - ends[0] - np.arange(_PIECES) * slopes << place
    bases[last] = (_HIGH - middle << shift)
    step, start = (graph.add(ir.Table(
        graph.unique(f"{name}_{suffix}"), piece, values[None],
        ir.signed_bits(int(values.min()), int(values.max())), True))
        for suffix, values in (("slope", slopes), ("base", bases)))
    rise = graph.add(ir.Multiply(graph.unique(f"{name}_rise"), magnitude, step))
    height = graph.add(ir.Add(graph.unique(f"{name}_height"), rise, start))
    away = graph.add(ir.ShiftRequantize(graph.unique(f"{name}_away"), height, shift, 16, True))
    sign = _line(graph, f"{name}_sign", layer, (0, 0), (-1, 1), 0, 2, (-1, 1))
    signed = graph.add(ir.Multiply(graph.unique(f"{name}_signed"), away, sign))
    graph.add(ir.SlopeRequantize(name, signed, np.array([[1, 1]]), np.array([[middle, middle]]),
                                 np.array([0]), 0, 16, True, fraction=HALF_BITS))
    graph.finish_layer(operator, name)


def _fine_steps(operator: Operator, source: Affine, exact_shifts: tuple[int, ...]
                ) -> tuple[int, int]:
    """(m, s) so that ``x * m / 2**s`` has steps of 1/12288.

    A power of two is multiplied exactly where the reference does it.
    """
    power = exponent_of(source.scale)
    if power is not None and power + 12 in exact_shifts:
        return 3 << power + 12, 0
    factor, shift = source.scale * 3 * 4096, 0
    while factor <= _HIGH / 2 and shift <= 30:
        factor, shift = factor * 2, shift + 1
    if factor >= 1 << HALF_BITS:
        raise Refused(operator, f"a step of its input, {source.scale:g}, is more than the "
                                f"reference's 32 bits have room for", AGAIN)
    return int(factor), shift


def _line(graph: Graph, name: str, layer: str, factors: tuple[int, ...], addends: tuple[int, ...],
          shift: int, bits: int, bounds: tuple[int, int]) -> str:
    """A layer that takes a line of ``layer``: one, or those below and above zero."""
    low, high = bounds
    both = 2 // len(factors)
    return graph.add(ir.SlopeRequantize(
        graph.unique(name), layer, np.array([factors * both]), np.array([addends * both]),
        np.array([0]), shift, bits, low < 0, low, high))

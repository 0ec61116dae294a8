"""Each layer of a float network in fixed point, on calibration data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch

import numpy as np

from .. import ir
from ..ir import Integers, PenjingError
from ..load import floats as fl
from ..load.floats import FloatLayer
from .fixed_state import BIAS_BITS, State, Step, Tensor
from .fractions import FRACTION_LIMIT, UNBOUNDED, Grid, Grids, steps_within

_WIDE = (-(1 << ir.MAX_BITS - 1), (1 << ir.MAX_BITS - 1) - 1)
"""Bounds that no accumulator reaches."""


@singledispatch
def quantize_layer(layer: FloatLayer, step: Step, state: State, *inputs: Tensor) -> Tensor:
    """Append the integer layers that stand for ``step``; what they put out."""
    raise PenjingError(f"layer {layer.name}: fixed point does not know {type(layer).__name__}")


@quantize_layer.register
def _(layer: fl.FloatConvolution, step: Step, state: State, given: Tensor) -> Tensor:
    weights, bias = _integer_weights(layer, state, given)
    values = fl.convolution(given.values, weights.values.astype(np.float64),
                            bias.astype(np.float64), layer.stride, layer.padding, layer.groups)
    made: ir.Layer = ir.Convolution(layer.name, given.source, weights, bias, layer.stride,
                                    layer.padding, 0, layer.groups)
    if layer.groups > 1 and layer.weights.shape[3] == 1:
        made = ir.Depthwise(layer.name, given.source,
                            replace(weights, values=weights.values[..., 0]), bias, layer.stride,
                            layer.padding)
    return _finish(step, state, state.add(made, values, given.fraction + weights.fraction, _WIDE))


@quantize_layer.register
def _(layer: fl.FloatTransposed, step: Step, state: State, given: Tensor) -> Tensor:
    weights, bias = _integer_weights(layer, state, given)
    values = fl.transposed(given.values, weights.values.astype(np.float64),
                           bias.astype(np.float64), layer.stride, layer.crop, layer.groups)
    source = state.net.add_transposed(layer.name, given.source, weights, bias, layer.stride,
                                      layer.crop, groups=layer.groups)
    return _finish(step, state, Tensor(source, values, given.fraction + weights.fraction, _WIDE))


@quantize_layer.register
def _(layer: fl.FloatDense, step: Step, state: State, given: Tensor) -> Tensor:
    weights, bias = _integer_weights(layer, state, given)
    values = fl.dense(given.values, weights.values.astype(np.float64), bias.astype(np.float64))
    return _finish(step, state, state.add(ir.Dense(layer.name, given.source, weights, bias), values,
                                          given.fraction + weights.fraction, _WIDE))


def _integer_weights(layer: fl.FloatMultiply, state: State, given: Tensor
                     ) -> tuple[ir.Weights, Integers]:
    grid = state.weights_grid(layer, given)
    limit = 1 << BIAS_BITS
    biases = Grid(-limit, limit, grid.fraction + given.fraction)
    state.grids.weights[layer.name], state.grids.biases[layer.name] = grid, biases
    bits = max(2, state.job.bits.weights_of(layer.name))
    return (ir.Weights(grid.integers(layer.weights).astype(np.int64), bits, grid.fraction),
            biases.integers(layer.bias).astype(np.int64))


def _finish(step: Step, state: State, given: Tensor) -> Tensor:
    """Requantize the accumulators, with the clamp that follows, unless they are the output."""
    if not step.is_rounded:
        return given
    clamp = step.clamp
    name = clamp.name if clamp else state.net.unique(f"{step.layer.name}_requantize")
    within = (clamp.minimum, clamp.maximum) if clamp else UNBOUNDED
    signed = within[0] < 0
    grid = state.map_grid(step, given.reals, given.fraction, signed, within)
    state.grids.maps[step.name] = grid
    layer = ir.ShiftRequantize(name, given.source, given.fraction - grid.fraction,
                               state.job.bits.maps_of(step.layer.name), signed, grid.low, grid.high)
    return state.add(layer, replace(grid, fraction=grid.fraction - given.fraction).integers(
        given.values), grid.fraction, (grid.low, grid.high))


@quantize_layer.register(fl.FloatAdd)
@quantize_layer.register(fl.FloatSubtract)
def _(layer: FloatLayer, step: Step, state: State, *inputs: Tensor) -> Tensor:
    first, second = _aligned(layer, state, inputs)
    made = ir.Add if isinstance(layer, fl.FloatAdd) else ir.Subtract
    exact = state.add(made(layer.name, first.source, second.source),
                      fl.execute(layer, first.values, second.values), first.fraction, _WIDE)
    return _finish(step, state, exact)


@quantize_layer.register
def _(layer: fl.FloatProduct, step: Step, state: State, first: Tensor, second: Tensor) -> Tensor:
    exact = state.add(ir.Multiply(layer.name, first.source, second.source),
                      first.values * second.values, first.fraction + second.fraction, _WIDE)
    return _finish(step, state, exact)


@quantize_layer.register
def _(layer: fl.FloatConcatenation, step: Step, state: State, *inputs: Tensor) -> Tensor:
    first, *others = aligned = _aligned(layer, state, inputs)
    whole = state.add(
        ir.Concatenation(layer.name, first.source, tuple(other.source for other in others)),
        np.concatenate([one.values for one in aligned], -1), first.fraction,
        (min(one.bounds[0] for one in aligned), max(one.bounds[1] for one in aligned)))
    fits = state.net.types[whole.source].bits <= state.job.bits.maps_of(layer.name)
    return whole if fits and step.clamp is None else _finish(step, state, whole)


def _aligned(layer: FloatLayer, state: State, inputs: Sequence[Tensor]) -> list[Tensor]:
    """``inputs`` with the longest of their fraction lengths, shifted to it exactly."""
    fraction = max(given.fraction for given in inputs)
    result = []
    for given in inputs:
        shift = fraction - given.fraction
        if shift:
            kind = state.net.types[given.source]
            bits = kind.bits + shift
            if bits > ir.MAX_BITS:
                raise PenjingError(f"layer {layer.name}: its inputs differ by {shift} bits in "
                                   f"magnitude; scale the layers before it alike")
            name = state.net.unique(f"{layer.name}_align")
            given = state.add(
                ir.ShiftRequantize(name, given.source, -shift, bits, kind.signed),
                given.values * 2.0 ** shift, fraction,
                (given.bounds[0] << shift, given.bounds[1] << shift))
        result.append(given)
    return result


@quantize_layer.register
def _(layer: fl.FloatUnary, step: Step, state: State, given: Tensor) -> Tensor:
    kind = state.net.types[given.source]
    if kind.bits > ir.TABLE_BITS:
        raise PenjingError(f"layer {layer.name}: {layer.function.value} is a table of an input of "
                           f"up to {ir.TABLE_BITS} bits, not {kind.bits}; lower the activation "
                           f"bits, or put a layer with weights before it")
    channels = kind.shape[2] if layer.parameter is not None and layer.parameter.size > 1 else 1
    codes = np.arange(kind.low, kind.high + 1)
    steps = np.repeat(codes[:, None].astype(np.float64), channels, 1)
    reals = layer(steps * 2.0 ** -given.fraction).T
    rows = np.arange(given.values.shape[-1]) if channels > 1 else 0
    places = given.values.astype(np.int64) - kind.low
    signed = (state.given.maps[layer.name].low < 0 if isinstance(state.given, Grids)
              else bool(state.job.reference[layer.name].min() < 0))
    grid = state.map_grid(step, reals[rows, places], FRACTION_LIMIT, signed)
    state.grids.maps[layer.name] = grid
    entries = grid.integers(reals).astype(np.int64)
    table = ir.Table(layer.name, given.source, entries, state.job.bits.maps_of(layer.name), signed,
                     kind.low, grid.fraction)
    return state.add(table, entries[rows, places].astype(np.float64), grid.fraction,
                     (int(entries.min()), int(entries.max())))


@quantize_layer.register
def _(layer: fl.FloatClamp, step: Step, state: State, given: Tensor) -> Tensor:
    within = steps_within((layer.minimum, layer.maximum), given.fraction, *_WIDE)
    low, high = (int(np.clip(bound, *within)) for bound in given.bounds)
    state.grids.maps[layer.name] = Grid(low, high, given.fraction)
    if (low, high) == given.bounds:
        return given
    return state.add(ir.Clamp(layer.name, given.source, low, high),
                     np.clip(given.values, low, high), given.fraction, (low, high))


@quantize_layer.register
def _(layer: fl.FloatMaxPool, step: Step, state: State, given: Tensor) -> Tensor:
    return state.add(
        ir.MaxPool(layer.name, given.source, layer.kernel, layer.stride, layer.padding),
        fl.max_pool(given.values, layer.kernel, layer.stride, layer.padding), given.fraction,
        given.bounds)


@quantize_layer.register
def _(layer: fl.FloatAveragePool, step: Step, state: State, given: Tensor) -> Tensor:
    total = fl.window_sum(given.values, layer.kernel, layer.stride, layer.padding).astype(np.int64)
    areas = fl.counts(layer, given.values.shape).astype(np.int64)
    state.grids.maps[layer.name] = Grid(*given.bounds, given.fraction)
    values = ((2 * total + areas) // (2 * areas)).astype(np.float64)
    return state.add(
        ir.AveragePool(layer.name, given.source, layer.kernel, layer.stride, layer.padding,
                       count_padding=layer.count_padding), values, given.fraction, given.bounds)


def _moved(layer: FloatLayer, state: State, given: Tensor, made: ir.Layer) -> Tensor:
    """``given``, its elements moved by ``layer``, which becomes the layer ``made``."""
    return replace(given, source=state.net.add(made), values=fl.execute(layer, given.values))


@quantize_layer.register
def _(layer: fl.FloatFlatten, step: Step, state: State, given: Tensor) -> Tensor:
    return _moved(layer, state, given, ir.Flatten(layer.name, given.source))


@quantize_layer.register
def _(layer: fl.FloatReshape, step: Step, state: State, given: Tensor) -> Tensor:
    return _moved(layer, state, given, ir.Reshape(layer.name, given.source, layer.shape))


@quantize_layer.register
def _(layer: fl.FloatPad, step: Step, state: State, given: Tensor) -> Tensor:
    padded = _moved(layer, state, given, ir.Pad(layer.name, given.source, layer.padding))
    return replace(padded, bounds=(min(0, given.bounds[0]), max(0, given.bounds[1])))


@quantize_layer.register
def _(layer: fl.FloatPermutation, step: Step, state: State, given: Tensor) -> Tensor:
    return _moved(layer, state, given, ir.Permutation(layer.name, given.source, layer.order))


@quantize_layer.register
def _(layer: fl.FloatSlice, step: Step, state: State, given: Tensor) -> Tensor:
    return _moved(layer, state, given,
                  ir.Slice(layer.name, given.source, layer.start, layer.stop))


@quantize_layer.register
def _(layer: fl.FloatCrop, step: Step, state: State, given: Tensor) -> Tensor:
    return _moved(layer, state, given,
                  ir.Crop(layer.name, given.source, layer.rows, layer.columns))


@quantize_layer.register
def _(layer: fl.FloatUpsample, step: Step, state: State, given: Tensor) -> Tensor:
    return _moved(layer, state, given, ir.Upsample(layer.name, given.source, layer.factors))


@quantize_layer.register
def _(layer: fl.FloatRepeat, step: Step, state: State, given: Tensor) -> Tensor:
    return _moved(layer, state, given, ir.Repeat(layer.name, given.source, layer.times))


@quantize_layer.register
def _(layer: fl.FloatZeros, step: Step, state: State, given: Tensor) -> Tensor:
    return state.add(ir.Clamp(layer.name, given.source, 0, 0), np.zeros_like(given.values),
                     given.fraction, (0, 0))


@quantize_layer.register
def _(layer: fl.FloatArgMax, step: Step, state: State, given: Tensor) -> Tensor:
    best = given.values.argmax(-1)[..., None].astype(np.float64)
    return state.add(ir.ArgMax(layer.name, given.source), best, 0, _WIDE)

"""Each layer of a float network in fixed point, on calibration data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, singledispatch

import numpy as np

from .. import ir
from ..ir import Integers, PenjingError, TensorType
from ..load import floats as fl
from ..load.floats import FloatLayer, FloatNetwork, Floats
from .fractions import (
    FRACTION_LIMIT,
    UNBOUNDED,
    StaticPair,
    best_fraction,
    rounded,
    steps_within,
)
from .inputs import InputCode

_BIAS_BITS = 44
_WIDE = (-(1 << ir.MAX_BITS - 1), (1 << ir.MAX_BITS - 1) - 1)
"""Bounds that no accumulator reaches."""


@dataclass(frozen=True)
class Step:
    """A layer, the clamp that merges into it, and whether its accumulators are the output's."""

    layer: FloatLayer
    clamp: fl.FloatClamp | None
    exact: bool

    @property
    def name(self) -> str:
        """The tensor of the float network that it puts out."""
        return self.clamp.name if self.clamp else self.layer.name

    @property
    def is_rounded(self) -> bool:
        """Whether it makes accumulators that are brought back to few bits."""
        return isinstance(self.layer, EXACT) and (not self.exact or self.clamp is not None)


EXACT = (fl.FloatConvolution, fl.FloatTransposed, fl.FloatDense, fl.FloatAdd, fl.FloatSubtract,
         fl.FloatProduct, fl.FloatConcatenation)
"""Layers that compute exactly, in more bits than their inputs have."""


@dataclass(frozen=True)
class Job:
    """What does not depend on the fraction lengths, and whether these are judged by the output."""

    name: str
    code: InputCode
    network: FloatNetwork
    steps: tuple[Step, ...]
    weight_bits: int
    activation_bits: int
    images: Integers
    reference: dict[str, Floats]
    by_output: bool = False


@dataclass(frozen=True)
class Tensor:
    """A quantized tensor: who puts it out, its integers on the calibration data, their worth."""

    source: str
    values: Floats
    fraction: int
    bounds: tuple[int, int]

    @property
    def reals(self) -> Floats:
        """What the integers stand for."""
        return self.values * 2.0 ** -self.fraction


@dataclass
class State:
    """The layers that are quantized, and their tensors by the names of the float network."""

    job: Job
    pair: StaticPair | None
    net: ir.Builder
    tensors: dict[str, Tensor]

    def output_error(self, name: str, values: Floats) -> float:
        """Sum of absolute errors of the output where the tensor ``name`` is ``values``.

        What is quantized already counts as it is; the layers behind are those of the float network.
        Of a network that ends in an ArgMax, those of what it looks at: an index is no measure.
        """
        network, job = self.job.network, self.job
        known = {done: tensor.reals for done, tensor in self.tensors.items()}
        known[name] = values
        last = name
        for layer in network.layers:
            if isinstance(layer, fl.FloatArgMax):
                break
            if layer.name not in known and any(one in known for one in layer.inputs):
                given = [known[one] if one in known else job.reference[one]
                         for one in layer.inputs]
                known[layer.name] = fl.execute(layer, *given)
            last = layer.name
        return float(np.abs(job.reference[last] - known[last]).sum())

    def add(self, layer: ir.Layer, values: Floats, fraction: int, bounds: tuple[int, int]
            ) -> Tensor:
        """Append ``layer``; the tensor that it puts out."""
        return Tensor(self.net.add(layer), values, fraction, bounds)


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
    bits = state.job.weight_bits
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    if state.pair is None:
        # A bias far above the weights must not ask for an accumulator that no adder has.
        most = float(np.abs(layer.bias).max())
        room = math.floor(_BIAS_BITS - math.log2(most)) if most else 2 * FRACTION_LIMIT
        limits = (-FRACTION_LIMIT, max(-FRACTION_LIMIT, min(FRACTION_LIMIT, room - given.fraction)))
        error = _weights_error(layer, state, given) if state.job.by_output else None
        fraction = best_fraction(layer.weights, layer.weights, low, high, limits, layer.name,
                                 error=error)
    else:
        fraction = state.pair.weights
    values = rounded(layer.weights, fraction, low, high).astype(np.int64)
    limit = 1 << _BIAS_BITS
    bias = rounded(layer.bias, fraction + given.fraction, -limit, limit)
    return ir.Weights(values, bits, fraction), bias.astype(np.int64)


def _weights_error(layer: fl.FloatMultiply, state: State, given: Tensor
                   ) -> Callable[[Floats], float]:
    """The output's error by the layer's weights, on what is quantized before it."""
    reals = given.reals

    def error(weights: Floats) -> float:
        return state.output_error(layer.name, fl.execute(replace(layer, weights=weights), reals))

    return error


def _finish(step: Step, state: State, given: Tensor) -> Tensor:
    """Requantize the accumulators, with the clamp that follows, unless they are the output."""
    if not step.is_rounded:
        return given
    clamp = step.clamp
    name = clamp.name if clamp else state.net.unique(f"{step.layer.name}_requantize")
    within = (clamp.minimum, clamp.maximum) if clamp else UNBOUNDED
    kind = TensorType((1, 1, 1), state.job.activation_bits, within[0] < 0)
    if state.pair is None:
        fraction = _best_map(step.name, state, kind, given.reals, given.fraction, within)
    else:
        fraction = state.pair.activations
    low, high = steps_within(within, fraction, kind.low, kind.high)
    values = rounded(given.values, fraction - given.fraction, low, high)
    layer = ir.ShiftRequantize(name, given.source, given.fraction - fraction, kind.bits,
                               kind.signed, low, high)
    return state.add(layer, values, fraction, (low, high))


def _best_map(name: str, state: State, kind: TensorType, reals: Floats, fraction: int,
              within: tuple[float, float]) -> int:
    """The fraction length of a map of ``kind`` that is rounded from ``reals`` of ``fraction``."""
    limits = (max(-FRACTION_LIMIT, fraction - ir.MAX_FRACTION),
              min(FRACTION_LIMIT, fraction + ir.MAX_BITS))
    error = partial(state.output_error, name) if state.job.by_output else None
    return best_fraction(state.job.reference[name], reals, kind.low, kind.high, limits, name,
                         within, error)


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
    fits = state.net.types[whole.source].bits <= state.job.activation_bits
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
    wanted = state.job.reference[layer.name]
    result = TensorType((1, 1, 1), state.job.activation_bits, bool(wanted.min() < 0))
    rows = np.arange(given.values.shape[-1]) if channels > 1 else 0
    places = given.values.astype(np.int64) - kind.low
    if state.pair is None:
        fraction = _best_map(layer.name, state, result, reals[rows, places], FRACTION_LIMIT,
                             UNBOUNDED)
    else:
        fraction = state.pair.activations
    entries = rounded(reals, fraction, result.low, result.high).astype(np.int64)
    table = ir.Table(layer.name, given.source, entries, result.bits, result.signed, kind.low,
                     fraction)
    return state.add(table, entries[rows, places].astype(np.float64), fraction,
                     (int(entries.min()), int(entries.max())))


@quantize_layer.register
def _(layer: fl.FloatClamp, step: Step, state: State, given: Tensor) -> Tensor:
    within = steps_within((layer.minimum, layer.maximum), given.fraction, *_WIDE)
    low, high = (int(np.clip(bound, *within)) for bound in given.bounds)
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

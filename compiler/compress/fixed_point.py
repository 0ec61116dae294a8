"""Dynamic-precision fixed point (Qiu et al. 2016): a float network becomes an integer network.

Every value is ``q * 2**-f``. Each layer's weights have one fraction length f, found by range
analysis and a search for the least sum of absolute errors. Each feature map has one, found in the
order of the layers against the float network on calibration data, with the maps before it already
quantized. The *output* variant makes the same choices in the same order, but each, weights and
maps, by the sum of absolute errors that it leaves in the network's output when the layers behind it
are still float. The *static* variant has one for all weights and one for all maps.

Zero is exact everywhere, so padding is. The last layer's exact accumulators are the output, unless
a ReLU follows it.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial, singledispatch
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import ir
from ..ir import Integers, PenjingError, TensorType
from ..load import floats as fl
from ..load.floats import FloatLayer, FloatNetwork, Floats
from .fractions import (
    FRACTION_LIMIT,
    SEARCH_IMAGES,
    best_fraction,
    check_bits,
    no_overflow,
    pick,
    relu_high,
    rounded,
)
from .inputs import InputCode, input_code, quantize_input, shaped

__all__ = ["InputCode", "Mode", "Progress", "StaticPair", "input_code", "quantize",
           "quantize_input", "shaped", "static_pairs"]

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with the layers done, their number, and the name of the layer that is next."""

_BIAS_BITS = 44


class Mode(enum.Enum):
    """How fraction lengths are chosen."""

    DYNAMIC = "dynamic"
    OUTPUT = "output"
    STATIC = "static"


@dataclass(frozen=True)
class StaticPair:
    """The fraction lengths of all weights and of all feature maps but the input."""

    weights: int
    activations: int

    def __post_init__(self) -> None:
        for value in (self.weights, self.activations):
            if type(value) is not int or abs(value) > FRACTION_LIMIT:
                raise PenjingError(f"static fraction length: it must be an integer within "
                                   f"±{FRACTION_LIMIT}, not {value!r}")


def quantize(floats: FloatNetwork, calibration: NDArray[Any], weight_bits: int = 8,
             activation_bits: int = 8, name: str = "network", *, input_bits: int = 8,
             input_scale: float | None = None, mode: Mode = Mode.DYNAMIC,
             static: StaticPair | None = None, images: int = SEARCH_IMAGES,
             progress: Progress | None = None) -> ir.Network:
    """The integer network that comes closest to ``floats`` on the ``calibration`` data.

    Parameters: ``calibration`` (N, H, W, C) or (N, F), floats or the network's integers, see
    `input_code` for these and for ``input_bits`` and ``input_scale``; ``weight_bits`` and
    ``activation_bits`` 2 to 16; ``static`` the pair for `Mode.STATIC`, which is else the one whose
    answers agree best with the float network's; ``images`` how many of the calibration data are
    looked at.

    `PenjingError` names a setting out of range, unfit data, or a layer whose values no fixed point
    of that width can hold.
    """
    check_bits("weight bits", weight_bits, 2)
    check_bits("activation bits", activation_bits, 2)
    if images < 1:
        raise PenjingError(f"calibration images: at least 1 is needed, not {images}")
    if static is not None and mode is not Mode.STATIC:
        raise PenjingError("static fraction lengths: they need the static mode")
    job = _job(floats, calibration, weight_bits, activation_bits, name, input_bits, input_scale,
               images)
    if mode is not Mode.STATIC:
        return _build(replace(job, by_output=mode is Mode.OUTPUT), None, progress)[0]
    return _build(job, static or _best_pair(job, progress), None)[0]


def static_pairs(floats: FloatNetwork, calibration: NDArray[Any], weight_bits: int = 8,
                 activation_bits: int = 8, *, input_bits: int = 8,
                 input_scale: float | None = None,
                 images: int = SEARCH_IMAGES) -> Iterator[StaticPair]:
    """Every pair worth trying: from what the widest range needs to one past the narrowest."""
    check_bits("weight bits", weight_bits, 2)
    check_bits("activation bits", activation_bits, 2)
    yield from _pairs(_job(floats, calibration, weight_bits, activation_bits, "network", input_bits,
                           input_scale, images))


@dataclass(frozen=True)
class _Step:
    """A layer, the ReLU that merges into it, and whether its accumulators are the output's."""

    layer: FloatLayer
    relu: fl.FloatRelu | None
    exact: bool


@dataclass(frozen=True)
class _Job:
    """What does not depend on the fraction lengths, and whether these are judged by the output."""

    name: str
    code: InputCode
    layers: tuple[FloatLayer, ...]
    steps: tuple[_Step, ...]
    weight_bits: int
    activation_bits: int
    images: Integers
    reference: dict[str, Floats]
    by_output: bool = False

    def output_error(self, name: str, values: Floats) -> float:
        """Sum of absolute errors of the output where the tensor ``name`` is ``values``.

        Of a network that ends in an ArgMax, those of what it looks at: an index is no measure.
        """
        names = [layer.name for layer in self.layers]
        for layer in self.layers[names.index(name) + 1:]:
            if isinstance(layer, fl.FloatArgMax):
                break
            name, values = layer.name, fl.execute(layer, values)
        return float(np.abs(self.reference[name] - values).sum())


def _job(floats: FloatNetwork, calibration: NDArray[Any], weight_bits: int, activation_bits: int,
         name: str, input_bits: int, input_scale: float | None, images: int) -> _Job:
    code = input_code(calibration, floats.input_shape, input_bits, input_scale)
    picked = pick(shaped(calibration, floats.input_shape), images)
    # The hardware's input is worth 2**-f a step. What is left of the scale goes into the weights.
    rest = code.type.step * 2.0 ** code.type.fraction
    network = FloatNetwork(floats.input_shape, _relus_first(_rescaled(floats.layers, rest)))
    with np.errstate(all="ignore"):
        reference = fl.run_all(network, code.real(picked) / rest)
    for layer in network.layers:
        if not np.isfinite(reference[layer.name]).all():
            raise PenjingError(f"layer {layer.name}: its float output overflows on the calibration "
                               f"data; train the network again or scale the data")
    return _Job(name, code, network.layers, _steps(network.layers), weight_bits, activation_bits,
                code.integers(picked), reference)


def _rescaled(layers: tuple[FloatLayer, ...], factor: float) -> tuple[FloatLayer, ...]:
    """The same function of an input that is divided by ``factor``."""
    result = list(layers)
    for index, layer in enumerate(layers):
        if isinstance(layer, fl.FloatConvolution | fl.FloatDense):
            result[index] = replace(layer, weights=layer.weights * factor)
            break
        if isinstance(layer, fl.FloatRelu) and layer.maximum is not None:
            result[index] = replace(layer, maximum=layer.maximum / factor)
    return tuple(result)


def _relus_first(layers: tuple[FloatLayer, ...]) -> tuple[FloatLayer, ...]:
    """The same function with each ReLU before max pools and flattens, and no two in a row."""
    result: list[FloatLayer] = []
    for layer in layers:
        position = len(result)
        if isinstance(layer, fl.FloatRelu):
            while position and isinstance(result[position - 1], fl.FloatMaxPool | fl.FloatFlatten):
                position -= 1
            before = result[position - 1] if position else None
            if isinstance(before, fl.FloatRelu):
                limits = [limit for limit in (before.maximum, layer.maximum) if limit is not None]
                result[position - 1] = replace(before, maximum=min(limits, default=None))
                continue
        result.insert(position, layer)
    return tuple(result)


def _steps(layers: tuple[FloatLayer, ...]) -> tuple[_Step, ...]:
    macs = [index for index, layer in enumerate(layers)
            if isinstance(layer, fl.FloatConvolution | fl.FloatDense)]
    steps: list[_Step] = []
    for index, layer in enumerate(layers):
        if isinstance(layer, fl.FloatRelu) and index - 1 in macs:
            steps[-1] = replace(steps[-1], relu=layer)
            continue
        rest = layers[index + 1:]
        exact = index == macs[-1] if macs else False
        steps.append(_Step(layer, None, exact and not any(isinstance(other, fl.FloatRelu)
                                                          for other in rest)))
    return tuple(steps)


@dataclass
class _State:
    """The quantized prefix: its layers, and the tensor that it puts out on the calibration data."""

    job: _Job
    pair: StaticPair | None
    source: str
    values: Floats
    fraction: int
    bounds: tuple[int, int]
    net: ir.Builder

    def append(self, layer: ir.Layer, values: Floats) -> None:
        """Let ``layer``, which puts out ``values``, continue the network."""
        self.source, self.values = self.net.add(layer), values


def _build(job: _Job, pair: StaticPair | None,
           progress: Progress | None) -> tuple[ir.Network, Floats]:
    """The integer network, and its output in real numbers on the calibration data."""
    kind = job.code.type
    state = _State(job, pair, fl.INPUT, job.images.astype(np.float64), kind.fraction,
                   (kind.low, kind.high), ir.Builder(kind, fl.INPUT))
    for step in job.steps:
        state.net.reserve(step.layer.name)
    for done, step in enumerate(job.steps):
        if progress is not None:
            progress(done, len(job.steps), step.layer.name)
        _quantize(step.layer, step, state)
    if progress is not None:
        progress(len(job.steps), len(job.steps), "")
    if not state.net.layers:
        raise PenjingError(f"network {job.name}: nothing is left of it, since its input is never "
                           f"negative; add a layer")
    return state.net.network(job.name), state.values * 2.0 ** -state.fraction


@singledispatch
def _quantize(layer: FloatLayer, step: _Step, state: _State) -> None:
    """Append the integer layers that stand for ``step``."""
    raise PenjingError(f"layer {layer.name}: fixed point does not know {type(layer).__name__}")


@_quantize.register
def _(layer: fl.FloatConvolution, step: _Step, state: _State) -> None:
    weights, bias = _integer_weights(layer, state)
    values = fl.convolution(state.values, weights.values.astype(np.float64),
                            bias.astype(np.float64), layer.stride, layer.padding)
    state.append(ir.Convolution(layer.name, state.source, weights, bias, layer.stride,
                                layer.padding), values)
    _finish(step, weights.fraction, state)


@_quantize.register
def _(layer: fl.FloatDense, step: _Step, state: _State) -> None:
    weights, bias = _integer_weights(layer, state)
    values = fl.dense(state.values, weights.values.astype(np.float64), bias.astype(np.float64))
    state.append(ir.Dense(layer.name, state.source, weights, bias), values)
    _finish(step, weights.fraction, state)


def _integer_weights(layer: fl.FloatConvolution | fl.FloatDense,
                     state: _State) -> tuple[ir.Weights, Integers]:
    bits = state.job.weight_bits
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    if state.pair is None:
        # A bias far above the weights must not ask for an accumulator that no adder has.
        most = float(np.abs(layer.bias).max())
        room = math.floor(_BIAS_BITS - math.log2(most)) if most else 2 * FRACTION_LIMIT
        limits = (-FRACTION_LIMIT, max(-FRACTION_LIMIT, min(FRACTION_LIMIT, room - state.fraction)))
        error = _weights_error(layer, state) if state.job.by_output else None
        fraction = best_fraction(layer.weights, layer.weights, low, high, limits, layer.name,
                                 error=error)
    else:
        fraction = state.pair.weights
    values = rounded(layer.weights, fraction, low, high).astype(np.int64)
    limit = 1 << _BIAS_BITS
    bias = rounded(layer.bias, fraction + state.fraction, -limit, limit)
    return ir.Weights(values, bits, fraction), bias.astype(np.int64)


def _weights_error(layer: fl.FloatConvolution | fl.FloatDense,
                   state: _State) -> Callable[[Floats], float]:
    """The output's error by the layer's weights, on what the quantized prefix puts out."""
    given = state.values * 2.0 ** -state.fraction

    def error(weights: Floats) -> float:
        return state.job.output_error(layer.name, fl.execute(replace(layer, weights=weights),
                                                             given))

    return error


def _finish(step: _Step, weight_fraction: int, state: _State) -> None:
    """Requantize the accumulators, with the ReLU that follows, unless they are the output."""
    state.fraction += weight_fraction
    if step.exact and step.relu is None:
        limit = 1 << ir.MAX_BITS - 1
        state.bounds = (-limit, limit - 1)
        return
    relu = step.relu
    name = relu.name if relu else state.net.unique(f"{step.layer.name}_requantize")
    kind = TensorType((1, 1, 1), state.job.activation_bits, relu is None)
    maximum = relu.maximum if relu else None
    if state.pair is None:
        limits = (max(-FRACTION_LIMIT, state.fraction - ir.MAX_FRACTION),
                  min(FRACTION_LIMIT, state.fraction + ir.MAX_BITS))
        tensor = relu.name if relu else step.layer.name
        error = partial(state.job.output_error, tensor) if state.job.by_output else None
        fraction = best_fraction(state.job.reference[tensor], state.values * 2.0 ** -state.fraction,
                                 kind.low, kind.high, limits, step.layer.name, maximum, error)
    else:
        fraction = state.pair.activations
    high = relu_high(maximum, fraction, kind.high)
    values = rounded(state.values, fraction - state.fraction, kind.low, high)
    shift = state.fraction - fraction
    state.append(ir.ShiftRequantize(name, state.source, shift, kind.bits, kind.signed, kind.low,
                                    high), values)
    state.fraction, state.bounds = fraction, (kind.low, high)


@_quantize.register
def _(layer: fl.FloatRelu, step: _Step, state: _State) -> None:
    low, high = max(0, state.bounds[0]), relu_high(layer.maximum, state.fraction, state.bounds[1])
    if (low, high) != state.bounds:
        state.append(ir.Clamp(layer.name, state.source, low, high),
                     np.clip(state.values, low, high))
        state.bounds = (low, high)


@_quantize.register
def _(layer: fl.FloatMaxPool, step: _Step, state: _State) -> None:
    state.append(ir.MaxPool(layer.name, state.source, layer.kernel, layer.stride, layer.padding),
                 fl.max_pool(state.values, layer.kernel, layer.stride, layer.padding))


@_quantize.register
def _(layer: fl.FloatAveragePool, step: _Step, state: _State) -> None:
    total = fl.window_sum(state.values, layer.kernel, layer.stride, layer.padding).astype(np.int64)
    area = layer.kernel[0] * layer.kernel[1]
    values = ((2 * total + area) // (2 * area)).astype(np.float64)
    state.append(ir.AveragePool(layer.name, state.source, layer.kernel, layer.stride,
                                layer.padding), values)


@_quantize.register
def _(layer: fl.FloatFlatten, step: _Step, state: _State) -> None:
    state.append(ir.Flatten(layer.name, state.source),
                 state.values.reshape(len(state.values), 1, 1, -1))


@_quantize.register
def _(layer: fl.FloatArgMax, step: _Step, state: _State) -> None:
    state.append(ir.ArgMax(layer.name, state.source),
                 state.values.argmax(-1)[..., None].astype(np.float64))
    state.fraction = 0


def _pairs(job: _Job) -> list[StaticPair]:
    most = (1 << job.weight_bits - 1) - 1
    weights, activations = [], []
    for step in job.steps:
        if isinstance(step.layer, fl.FloatConvolution | fl.FloatDense):
            weights.append(no_overflow(step.layer.weights, most, step.layer.name))
            if not step.exact or step.relu is not None:
                high = (1 << job.activation_bits - (step.relu is None)) - 1
                name = step.relu.name if step.relu else step.layer.name
                activations.append(no_overflow(job.reference[name], high, step.layer.name))
    return [StaticPair(w, a) for w in _span(weights) for a in _span(activations)]


def _span(fractions: list[int]) -> range:
    return range(min(fractions, default=0), min(max(fractions, default=0) + 2, FRACTION_LIMIT + 1))


def _best_pair(job: _Job, progress: Progress | None) -> StaticPair:
    """The pair whose answers agree most often with the float network's, then with least error."""
    pairs = _pairs(job)
    wanted = list(job.reference.values())[-1]
    scores = []
    for done, pair in enumerate(pairs):
        if progress is not None:
            progress(done, len(pairs), f"fractions {pair.weights}, {pair.activations}")
        given = _build(job, pair, None)[1]
        agreement = float((given.argmax(-1) == wanted.argmax(-1)).mean())
        scores.append((-agreement, float(np.abs(given - wanted).sum())))
    return pairs[scores.index(min(scores))]

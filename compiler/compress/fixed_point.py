"""Dynamic-precision fixed point (Qiu et al. 2016): a float network becomes an integer network.

Every value is ``q * 2**-f``. Each layer's weights have one fraction length f, found by range
analysis and a search for the least sum of absolute errors. Each feature map has one, found in the
order of the layers against the float network on calibration data, with the maps before it already
quantized; where maps are joined, all are shifted to the longest of theirs, exactly. Functions of
single elements become tables. The *output* variant makes the same choices in the same order, but
each, weights and maps, by the sum of absolute errors that it leaves in the network's output when
the layers behind it are still float. The *static* variant has one for all weights and one for all
maps.

Zero is exact everywhere, so padding is. The last layer's exact accumulators are the output, unless
a ReLU or another clamp follows it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import ir
from ..ir import PenjingError
from ..load import floats as fl
from ..load.floats import FloatLayer, FloatNetwork, Floats
from .fixed_layers import EXACT, Job, State, Step, Tensor, quantize_layer
from .fractions import (
    FRACTION_LIMIT,
    SEARCH_IMAGES,
    StaticPair,
    check_bits,
    no_overflow,
    pick,
)
from .inputs import InputCode, input_code, quantize_input, shaped
from .rewrites import clamps_first, rescaled

__all__ = ["InputCode", "Mode", "Progress", "StaticPair", "input_code", "quantize",
           "quantize_input", "shaped", "static_pairs"]

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with the layers done, their number, and the name of the layer that is next."""


class Mode(enum.Enum):
    """How fraction lengths are chosen."""

    DYNAMIC = "dynamic"
    OUTPUT = "output"
    STATIC = "static"


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


def _job(floats: FloatNetwork, calibration: NDArray[Any], weight_bits: int, activation_bits: int,
         name: str, input_bits: int, input_scale: float | None, images: int) -> Job:
    code = input_code(calibration, floats.input_shape, input_bits, input_scale)
    picked = pick(shaped(calibration, floats.input_shape), images)
    # The hardware's input is worth 2**-f a step. What is left of the scale goes into the weights.
    rest = code.type.step * 2.0 ** code.type.fraction
    network = clamps_first(rescaled(floats, rest))
    with np.errstate(all="ignore"):
        reference = fl.run_all(network, code.real(picked) / rest)
    for layer in network.layers:
        if not np.isfinite(reference[layer.name]).all():
            raise PenjingError(f"layer {layer.name}: its float output overflows on the calibration "
                               f"data; train the network again or scale the data")
    return Job(name, code, network, _steps(network), weight_bits, activation_bits,
                code.integers(picked), reference)


def _steps(network: FloatNetwork) -> tuple[Step, ...]:
    """The layers, each with the clamp that alone reads its accumulators."""
    merged: dict[str, fl.FloatClamp] = {}
    for layer in network.layers:
        readers = network.readers.get(layer.name, [])
        if isinstance(layer, EXACT) and len(readers) == 1 and isinstance(readers[0], fl.FloatClamp):
            merged[layer.name] = readers[0]
    passed = {clamp.name for clamp in merged.values()}
    return tuple(Step(layer, merged.get(layer.name), _is_exact(network, layer))
                 for layer in network.layers if layer.name not in passed)


def _is_exact(network: FloatNetwork, layer: FloatLayer) -> bool:
    """Whether the output are the accumulators of ``layer``, or what pools make of them."""
    if not isinstance(layer, EXACT):
        return False
    while layer.name != network.output:
        readers = network.readers[layer.name]
        if len(readers) > 1 or not isinstance(readers[0], _POOLS):
            return False
        layer = readers[0]
    return True


_POOLS = (fl.FloatMaxPool, fl.FloatAveragePool, fl.FloatFlatten, fl.FloatReshape, fl.FloatPad,
          fl.FloatSlice, fl.FloatPermutation, fl.FloatCrop, fl.FloatUpsample, fl.FloatRepeat,
          fl.FloatArgMax)
"""Layers that leave the widths of their input."""


def _build(job: Job, pair: StaticPair | None,
           progress: Progress | None) -> tuple[ir.Network, Floats]:
    """The integer network, and its output in real numbers on the calibration data."""
    kind = job.code.type
    first = Tensor(fl.INPUT, job.images.astype(np.float64), kind.fraction, (kind.low, kind.high))
    state = State(job, pair, ir.Builder(kind, fl.INPUT), {fl.INPUT: first})
    for step in job.steps:
        state.net.reserve(step.layer.name)
    for done, step in enumerate(job.steps):
        if progress is not None:
            progress(done, len(job.steps), step.layer.name)
        inputs = [state.tensors[name] for name in step.layer.inputs]
        state.tensors[step.name] = quantize_layer(step.layer, step, state, *inputs)
    if progress is not None:
        progress(len(job.steps), len(job.steps), "")
    if not state.net.layers:
        raise PenjingError(f"network {job.name}: nothing is left of it, since its input is never "
                           f"negative; add a layer")
    last = state.tensors[job.steps[-1].name]
    function, tail = job.network.function, None
    if function is not ir.TailFunction.NONE:
        tail = replace(ir.Tail.of(state.net.types[last.source]), function=function)
    return state.net.network(job.name, last.source, tail), last.reals


def _pairs(job: Job) -> list[StaticPair]:
    most = (1 << job.weight_bits - 1) - 1
    weights, activations = [], []
    for step in job.steps:
        if isinstance(step.layer, fl.FloatMultiply):
            weights.append(no_overflow(step.layer.weights, most, step.layer.name))
        if step.is_rounded or isinstance(step.layer, fl.FloatUnary):
            wanted = job.reference[step.name]
            high = (1 << job.activation_bits - bool(wanted.min() < 0)) - 1
            activations.append(no_overflow(wanted, high, step.layer.name))
    return [StaticPair(w, a) for w in _span(weights) for a in _span(activations)]


def _span(fractions: list[int]) -> range:
    return range(min(fractions, default=0), min(max(fractions, default=0) + 2, FRACTION_LIMIT + 1))


def _best_pair(job: Job, progress: Progress | None) -> StaticPair:
    """The pair whose answers agree most often with the float network's, then with least error."""
    pairs = _pairs(job)
    wanted = job.reference[job.network.output]
    scores = []
    for done, pair in enumerate(pairs):
        if progress is not None:
            progress(done, len(pairs), f"fractions {pair.weights}, {pair.activations}")
        given = _build(job, pair, None)[1]
        agreement = float((given.argmax(-1) == wanted.argmax(-1)).mean())
        scores.append((-agreement, float(np.abs(given - wanted).sum())))
    return pairs[scores.index(min(scores))]

"""Dynamic-precision fixed point (Qiu et al. 2016): a float network becomes an integer network.

Every value is ``q * 2**-f``. Each layer's weights have one fraction length f, found by range
analysis and a search for the least sum of absolute errors. Each feature map has one, found in the
order of the layers against the float network on calibration data, with the maps before it already
quantized; where maps are joined, all are shifted to the longest of theirs, exactly. Functions of
single elements become tables. The *output* variant makes the same choices in the same order, but
each, weights and maps, by the sum of absolute errors that it leaves in the network's output when
the layers behind it are still float. The *divergence* variant chooses them by how much the
distribution of the magnitudes changes (HAQ, Wang 2019). The *static* variant has one for all
weights and one for all maps. Layers may have widths of their own.

Zero is exact everywhere, so padding is. The last layer's exact accumulators are the output, unless
a ReLU or another clamp follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import ir
from ..ir import PenjingError
from ..load import floats as fl
from ..load.floats import FloatLayer, FloatNetwork, Floats
from .fixed_layers import quantize_layer
from .fixed_state import EXACT, Job, Mode, State, Step, Tensor
from .fractions import (
    FRACTION_LIMIT,
    SEARCH_IMAGES,
    Grid,
    Grids,
    StaticPair,
    no_overflow,
    pick,
)
from .inputs import InputCode, input_code, quantize_input, shaped
from .precision import Precision, Precisions
from .rewrites import clamps_first, rescaled

__all__ = ["Built", "InputCode", "Mode", "Precision", "Precisions", "Progress", "StaticPair",
           "build", "input_code", "prepare", "quantize", "quantize_input", "shaped",
           "static_pairs", "widths"]

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with the layers done, their number, and the name of the layer that is next."""


def quantize(floats: FloatNetwork, calibration: NDArray[Any], weight_bits: int = 8,
             activation_bits: int = 8, name: str = "network", *, input_bits: int = 8,
             input_scale: float | None = None, mode: Mode = Mode.DYNAMIC,
             static: StaticPair | None = None, images: int = SEARCH_IMAGES,
             precisions: Mapping[str, Precision] | None = None,
             progress: Progress | None = None) -> ir.Network:
    """The integer network that comes closest to ``floats`` on the ``calibration`` data.

    Parameters: ``calibration`` (N, H, W, C) or (N, F), floats or the network's integers, see
    `input_code` for these and for ``input_bits`` and ``input_scale``; ``weight_bits`` and
    ``activation_bits`` 2 to 16, but for the layers that ``precisions`` names, see `widths`;
    ``static`` the pair for `Mode.STATIC`, which is else the one whose answers agree best with the
    float network's; ``images`` how many of the calibration data are looked at.

    `PenjingError` names a setting out of range, unfit data, or a layer whose values no fixed point
    of that width can hold.
    """
    if static is not None and mode is not Mode.STATIC:
        raise PenjingError("static fraction lengths: they need the static mode")
    job = prepare(floats, calibration, Precisions(weight_bits, activation_bits, precisions or {}),
                  name, input_bits=input_bits, input_scale=input_scale, mode=mode, images=images)
    if mode is Mode.STATIC:
        return build(job, static or _best_pair(job, progress)).network
    return build(job, progress=progress).network


def static_pairs(floats: FloatNetwork, calibration: NDArray[Any], weight_bits: int = 8,
                 activation_bits: int = 8, *, input_bits: int = 8,
                 input_scale: float | None = None,
                 images: int = SEARCH_IMAGES) -> Iterator[StaticPair]:
    """Every pair worth trying: from what the widest range needs to one past the narrowest."""
    yield from _pairs(prepare(floats, calibration, Precisions(weight_bits, activation_bits),
                              input_bits=input_bits, input_scale=input_scale, images=images))


def widths(floats: FloatNetwork) -> dict[str, Precision]:
    """The layers that may have widths of their own, in the order of the network.

    Each has 8 bits of what it has, and None of what it has not: sums have no weights, and what puts
    out its accumulators as they are has no map.
    """
    return {step.layer.name: Precision(8 if step.has_weights else None, 8 if step.has_map else None)
            for step in _steps(clamps_first(floats)) if step.has_weights or step.has_map}


def prepare(floats: FloatNetwork, calibration: NDArray[Any], bits: Precisions,
            name: str = "network", *, input_bits: int = 8, input_scale: float | None = None,
            mode: Mode = Mode.DYNAMIC, images: int = SEARCH_IMAGES) -> Job:
    """All that `build` needs; the job may be replaced by one with other ``bits``."""
    if images < 1:
        raise PenjingError(f"calibration images: at least 1 is needed, not {images}")
    bits.check(widths(floats))
    code = input_code(calibration, floats.input_shape, input_bits, input_scale)
    picked = pick(shaped(calibration, floats.input_shape), images)
    # The hardware's input is worth 2**-f a step. What is left of the scale goes into the weights.
    network = clamps_first(rescaled(floats, code.rest))
    with np.errstate(all="ignore"):
        reference = fl.run_all(network, code.real(picked) / code.rest)
    for layer in network.layers:
        if not np.isfinite(reference[layer.name]).all():
            raise PenjingError(f"layer {layer.name}: its float output overflows on the calibration "
                               f"data; train the network again or scale the data")
    return Job(name, code, network, _steps(network), code.integers(picked), reference, bits, mode)


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


@dataclass(frozen=True, eq=False)
class Built:
    """The integer ``network``, its ``grids``, and its output in reals on the calibration data."""

    network: ir.Network
    grids: Grids
    output: Floats


def build(job: Job, given: StaticPair | Grids | None = None, progress: Progress | None = None
          ) -> Built:
    """The integer network of ``job``, with the fraction lengths ``given`` or those that it chooses.
    """
    kind = job.code.type
    first = Tensor(fl.INPUT, job.images.astype(np.float64), kind.fraction, (kind.low, kind.high))
    state = State(job, given, ir.Builder(kind, fl.INPUT), {fl.INPUT: first})
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
    return Built(state.net.network(job.name, last.source, tail), state.grids, last.reals)


def _pairs(job: Job) -> list[StaticPair]:
    weights, activations = [], []
    for step in job.steps:
        name = step.layer.name
        if isinstance(step.layer, fl.FloatMultiply):
            most = Grid.of_weights(job.bits.weights_of(name)).high
            weights.append(no_overflow(step.layer.weights, most, name))
        if step.has_map:
            wanted = job.reference[step.name]
            high = (1 << job.bits.maps_of(name) - bool(wanted.min() < 0)) - 1
            activations.append(no_overflow(wanted, max(high, 1), name))
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
        given = build(job, pair).output
        agreement = float((given.argmax(-1) == wanted.argmax(-1)).mean())
        scores.append((-agreement, float(np.abs(given - wanted).sum())))
    return pairs[scores.index(min(scores))]

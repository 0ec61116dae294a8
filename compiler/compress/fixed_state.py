"""A float network on its way to fixed point: what is done, and how each range is chosen."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, replace

import numpy as np

from .. import ir
from ..ir import Integers, PenjingError, TensorType
from ..load import floats as fl
from ..load.floats import FloatLayer, FloatNetwork, Floats
from .divergence import by_divergence
from .fractions import (
    FRACTION_LIMIT,
    UNBOUNDED,
    Cost,
    Grid,
    Grids,
    StaticPair,
    absolute_error,
    best_fraction,
    no_overflow,
)
from .inputs import InputCode
from .precision import Precisions

BIAS_BITS = 44


class Mode(enum.Enum):
    """How fraction lengths are chosen."""

    DYNAMIC = "dynamic"
    OUTPUT = "output"
    DIVERGENCE = "divergence"
    STATIC = "static"


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

    @property
    def has_weights(self) -> bool:
        """Whether the layer multiplies by weights."""
        return isinstance(self.layer, fl.FloatMultiply)

    @property
    def has_map(self) -> bool:
        """Whether what it puts out is of a chosen width: accumulators, or entries of a table."""
        return self.is_rounded or isinstance(self.layer, fl.FloatUnary)


EXACT = (fl.FloatConvolution, fl.FloatTransposed, fl.FloatDense, fl.FloatAdd, fl.FloatSubtract,
         fl.FloatProduct, fl.FloatConcatenation)
"""Layers that compute exactly, in more bits than their inputs have."""


@dataclass(frozen=True)
class Job:
    """What does not depend on the fraction lengths, and how these are chosen."""

    name: str
    code: InputCode
    network: FloatNetwork
    steps: tuple[Step, ...]
    images: Integers
    reference: dict[str, Floats]
    bits: Precisions
    mode: Mode


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
    """The layers that are quantized, and their tensors by the names of the float network.

    ``given`` are the fraction lengths, unless they are chosen; ``grids`` tells what they became.
    """

    job: Job
    given: StaticPair | Grids | None
    net: ir.Builder
    tensors: dict[str, Tensor]
    grids: Grids = field(default_factory=Grids)

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

    def weights_grid(self, layer: fl.FloatMultiply, given: Tensor) -> Grid:
        """What the weights of ``layer`` are rounded to, which reads ``given``."""
        grid = Grid.of_weights(self.job.bits.weights_of(layer.name))
        if not grid.zero and not layer.weights.all():
            raise PenjingError(f"layer {layer.name}: some of its weights are 0, which one bit "
                               f"cannot hold; give it 2")
        match self.given:
            case StaticPair(fraction, _):
                return grid.at(fraction)
            case Grids(weights=known):
                return grid.at(known[layer.name].fraction)

        def output_error(fraction: int) -> float:
            weights = grid.at(fraction).reals(layer.weights)
            return self.output_error(layer.name, fl.execute(replace(layer, weights=weights),
                                                            given.reals))

        # A bias far above the weights must not ask for an accumulator that no adder has.
        most = float(np.abs(layer.bias).max())
        room = math.floor(BIAS_BITS - math.log2(most)) if most else 2 * FRACTION_LIMIT
        limits = (-FRACTION_LIMIT, max(-FRACTION_LIMIT, min(FRACTION_LIMIT, room - given.fraction)))
        return self._best(layer.weights, layer.weights, grid, limits, layer.name, output_error)

    def map_grid(self, step: Step, reals: Floats, fraction: int, signed: bool,
                 within: tuple[float, float] = UNBOUNDED) -> Grid:
        """What the map of ``step`` is rounded to, from ``reals`` of ``fraction``."""
        name, bits = step.name, self.job.bits.maps_of(step.layer.name)
        if signed and bits == 1:
            raise PenjingError(f"layer {step.layer.name}: its map has negative values, which take "
                               f"at least 2 bits; give it more")
        kind = TensorType((1, 1, 1), bits, signed)
        grid = Grid(kind.low, kind.high)
        match self.given:
            case StaticPair(_, length):
                return grid.at(length, within)
            case Grids(maps=known):
                return grid.at(known[name].fraction, within)

        def output_error(fraction: int) -> float:
            return self.output_error(name, grid.at(fraction, within).reals(reals))

        limits = (max(-FRACTION_LIMIT, fraction - ir.MAX_FRACTION),
                  min(FRACTION_LIMIT, fraction + ir.MAX_BITS))
        return self._best(self.job.reference[name], reals, grid, limits, name, output_error, within)

    def _best(self, wanted: Floats, given: Floats, grid: Grid, limits: tuple[int, int], who: str,
              output_error: Cost, within: tuple[float, float] = UNBOUNDED) -> Grid:
        """``grid`` at the fraction length that `Job.mode` chooses."""
        match self.job.mode:
            case Mode.OUTPUT:
                cost = output_error
            case Mode.DIVERGENCE:
                cost = by_divergence(wanted, grid)
            case _:
                cost = absolute_error(wanted, given, grid, within)
        return grid.at(best_fraction(no_overflow(wanted, grid.high, who), limits, cost), within)

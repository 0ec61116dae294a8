"""What engines share that read each kernel row as one run, all channels at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeGuard

import numpy as np

from ....hdl.engine import EngineShape
from ....hdl.sequencer import SEQUENCER_LATENCY
from ....hdl.window_geometry import WindowGeometry
from ... import ir
from ...ir import Integers
from ..fold import Fold, quotients
from ..site import Site
from .ask import Ask
from .engine import Engine, multiplies, output_lanes
from .sliced import Sliced
from .window import window_of


class Array(Protocol):
    """What an engine multiplies with: cycles to its accumulators, and behind them."""

    @property
    def depth(self) -> int:
        """Cycles from a beat and its weights to the edge that adds to the accumulators."""

    @property
    def results_latency(self) -> int:
        """Cycles from totals to the results that they stand for."""


@dataclass(frozen=True, kw_only=True)
class Flat(Engine):
    """An engine of ``pe`` outputs at once, each of which takes the same inputs."""

    @classmethod
    def accepts(cls, site: Site, fold: Fold) -> bool:
        """Whether no engine takes ``fold`` that wastes nothing on groups of channels."""
        return not Sliced.accepts(site, fold)

    @classmethod
    def proposals(cls, site: Site, ask: Ask) -> Iterator[Fold]:
        """For each number of runs and of row groups, the fewest lanes that are fast enough."""
        shape = site.geometry
        if isinstance(site.layer, ir.Depthwise):
            return
        for runs in quotients(site.outputs):
            for row_groups in quotients(shape.kernel[0]):
                rows = -(-shape.kernel[0] // row_groups)
                each = shape.positions * runs * row_groups
                lanes = cls.lanes(site, ask, each, spare=shape.kernel[0] % rows > 0)
                fold = Fold(-(-site.outputs // runs), rows, max(1, lanes))
                if lanes and cls._is_even(site, fold):
                    yield fold

    @classmethod
    def _is_even(cls, site: Site, fold: Fold) -> bool:
        """Whether beats of products in Winograd's form have no tail, which the transform behind
        them would have to repack in wide words."""
        shape = site.geometry
        _, beats = fold.steps(site.outputs, shape.kernel[0], shape.run)
        return not isinstance(site.layer, ir.WinogradProducts) or (
            site.outputs % output_lanes(fold.pe, beats) == 0)

    @classmethod
    def lanes(cls, site: Site, ask: Ask, each: int, *, spare: bool) -> int:
        """The fewest lanes that take all kernel rows in time, ``each`` cycles a beat; 0 for none.

        ``spare`` says that some of the rows are beyond the kernel.
        """
        return ask.lanes(site.geometry.run, each)

    @classmethod
    def framed(cls, site: Site, fold: Fold, array: Array, latency: int = SEQUENCER_LATENCY
               ) -> EngineShape:
        """The structure of an engine under ``fold`` around an ``array``.

        ``latency`` is that of its weights' source.
        """
        shape, outputs = site.geometry, site.outputs
        _, beats = fold.steps(outputs, shape.kernel[0], shape.run)
        return EngineShape(fold.pe, fold.simd, beats, outputs, output_lanes(fold.pe, beats),
                           latency + array.depth, array.results_latency,
                           rounds=site.rounds)

    def window(self, site: Site) -> WindowGeometry:
        """The window that is read once for every run of outputs."""
        shape, fold = site.geometry, self.fold
        return window_of(shape, fold.lanes, fold.rows, self.frame.groups)

    def weights(self, site: Site, *, spare: int = 0) -> Integers:
        """Weights in the order of the reads: (beats, outputs, row copies * lanes).

        Those beyond the layer's are ``spare``. Of a convolution in groups, each output takes all
        channels, those of other groups times zero: that costs ``groups`` times its multiplications
        and its memory.
        """
        layer, fold, shape = multiplies(site), self.fold, site.geometry
        values = layer.weights.values
        if is_grouped(layer):
            values = _ungrouped(values, layer.groups)
        if isinstance(layer, ir.TransposedConvolution):
            values = layer.phases(values)
        flat = values.reshape(site.rounds.parts, site.outputs, shape.kernel[0], -1)
        sizes = 1, fold.pe, fold.rows, fold.lanes
        padded = np.pad(flat, [(0, -whole % part) for whole, part in
                               zip(flat.shape, sizes, strict=True)], constant_values=spare)
        parts, runs, row_groups, steps = (whole // part for whole, part in
                                           zip(padded.shape, sizes, strict=True))
        split = padded.reshape(parts, runs, fold.pe, row_groups, fold.rows, steps, fold.lanes)
        beats = split.transpose(0, 1, 3, 5, 2, 4, 6)
        return beats.reshape(-1, fold.pe, fold.simd)


def fills_lanes(site: Site, fold: Fold) -> bool:
    """Whether every lane of every beat takes an input of the kernel."""
    shape = site.geometry
    return shape.kernel[0] % fold.rows == 0 and shape.run % fold.lanes == 0


def is_grouped(layer: ir.Layer) -> TypeGuard[ir.Convolution | ir.TransposedConvolution]:
    """Whether ``layer`` keeps groups of channels apart, whose products with others are zeros."""
    return isinstance(layer, ir.Convolution | ir.TransposedConvolution) and layer.groups > 1


def pads_zeros(layer: ir.Layer) -> bool:
    """Whether ``layer`` puts zeros around its input, which are no signs."""
    return (isinstance(layer, ir.SlidingLayer) and layer.pad_value == 0
            and any(layer.padding))


def _ungrouped(values: Integers, groups: int) -> Integers:
    """The kernel that takes all channels, zero where an output does not see them."""
    outputs, height, width, inputs = values.shape
    dense = np.zeros((groups, outputs // groups, height, width, groups, inputs), np.int64)
    split = values.reshape(groups, outputs // groups, height, width, inputs)
    for group in range(groups):
        dense[group, ..., group, :] = split[group]
    return dense.reshape(outputs, height, width, groups * inputs)

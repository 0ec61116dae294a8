"""The transforms of Winograd's form: sums of a few taps behind a window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

from ....hdl.combine import Combiner, CombinerShape
from ....hdl.pool import POOLER_LATENCY
from ....hdl.tech import Technology
from ....hdl.window import READ_LATENCY
from ....hdl.window_geometry import WindowGeometry
from ... import ir
from ...cost import Fabric, Resources, Storage, memories
from ...cost.memories import index_bits
from .. import timing, window_control, winograd
from ..port import Port
from ..site import Site
from .ask import Ask
from .kind import Stages, shape_of
from .window import Windowed, sliced_port, window_of


@dataclass(frozen=True, kw_only=True)
class Transform(Windowed):
    """As many lanes in as out; an output of a position after the other, a slice of channels after
    the other, a tap after the other."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The fewest lanes that divide the channels and are fast enough."""
        channels, shape = site.source.shape[2], _shape(site, 1)
        reads = site.geometry.positions * len(shape.signs[0]) * shape.area
        lanes = sliced_port(site, ask, reads).lanes
        yield cls(inputs=ask.inputs, o=Port(next(
            one for one in range(lanes, channels + 1) if channels % one == 0), channels))

    def window(self, site: Site) -> WindowGeometry:
        """The window, of which each output reads some taps."""
        return window_of(site.geometry, self.o.lanes, per_channel=True)

    def outputs(self, site: Site) -> timing.Outputs:
        """A beat for each slice of each output."""
        shape = _shape(site, self.o.lanes)
        reads = (np.arange(len(shape.signs[0]) * shape.slices) + 1) * shape.area - 1
        return timing.Outputs(reads, reads + READ_LATENCY + POOLER_LATENCY)

    def reader(self, site: Site) -> window_control.Reader:
        """One output of its taps."""
        return window_control.Reduction(_shape(site, self.o.lanes).area)

    def own_cells(self, site: Site, fabric: Fabric) -> Resources:
        """In each lane an adder, an element or its complement and a fresh start; what counts, and
        what is added at first."""
        shape, lanes = _shape(site, self.o.lanes), self.o.lanes
        bits, counts = shape.result_bits + shape.below, sum(map(index_bits, shape.counts))
        cells = super().own_cells(site, fabric) + fabric.control.stage.cells + Resources(
            luts=round(fabric.sums(bits + 1, lanes) + 2 * lanes * bits * fabric.logic.mux
                       + fabric.counters(counts)),
            ffs=lanes * (bits + shape.result_bits) + counts + 2)
        if len(set(sum(shape.constants, ()))) > 1:
            words = len(shape.constants)
            cells += memories.rom(fabric, Storage.LOGIC, words, lanes * bits) + Resources(
                luts=round(fabric.counters(index_bits(words))),
                ffs=index_bits(words))
        return cells

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the sums."""
        layer = site.layer
        fill = layer.pad_value if isinstance(layer, ir.WinogradInput) else 0
        return [*self.window_blocks(site, technology, fill),
                ("combine", Combiner(
                    _shape(site, self.o.lanes), technology=technology))]


@lru_cache(maxsize=1024)
def _shape(site: Site, lanes: int) -> CombinerShape:
    """What makes the sums."""
    layer, element, channels = site.layer, shape_of(site.source), site.source.shape[2]
    constants: tuple[tuple[int, ...], ...]
    if isinstance(layer, ir.WinogradInput):
        terms, below = winograd.input_terms(layer.tile), 0
        # All terms are counted from zero.
        constants = tuple((sum(layer.zero if minus else -layer.zero for _, minus in one),) * lanes
                          for one in terms[0] for _ in range(channels // lanes))
    else:
        assert isinstance(layer, ir.WinogradOutput)
        terms, below = winograd.output_terms(layer.tile), layer.halvings
        constants = tuple(map(tuple, (layer.bias << below).reshape(-1, lanes).tolist()))
    signs = winograd.signs(terms)
    return CombinerShape(element.width, element.signed, site.result.bits, below, signs, constants,
                         channels // lanes, site.geometry.positions // len(signs) // _rows(site))


def _rows(site: Site) -> int:
    """Rows of positions."""
    return site.result.shape[0] // len(site.geometry.gathers)

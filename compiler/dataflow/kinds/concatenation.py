"""The channels of several inputs, one behind the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from typing import Self

import numpy as np

from ....hdl.concatenate import Concatenator, ConcatenatorShape
from ....hdl.skip import SKIP_LATENCY
from ....hdl.stream import QUEUE_LATENCY, Beat, Queue
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Resources, streams
from ...cost.memories import index_bits
from ...ir import TensorType
from .. import control, timing
from ..gears import Gear, repacking
from ..port import Port
from ..site import Site
from .ask import Ask
from .kind import Kind, Stages, shape_of, widening

SPARE_BEATS = 3
"""What a pixel's queue holds beyond the pixel, so that it takes a beat in every cycle."""


@dataclass(frozen=True, kw_only=True)
class Union(Kind):
    """Pixel by pixel, the beats of its inputs by turns, or those of all at once.

    Each input is repacked to the same lanes. Where it comes by fewer, a queue behind that gathers
    the beats of a pixel before its turn, so that the turn takes no longer than they are many.
    """

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """Lanes that divide the channels of every input but the last, or all channels."""
        counts = [source.shape[2] for source in site.sources]
        common = gcd(*counts[:-1])
        for lanes in range(1, common + 1):
            if common % lanes == 0:
                yield cls(inputs=ask.inputs, o=Port(lanes, sum(counts)))
        yield cls(inputs=ask.inputs, o=Port(sum(counts), sum(counts)))

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Bits of signs as they come, if all are signs."""
        return (site.sources if isinstance(site.result, ir.Bipolar)
                else tuple(source.widened for source in site.sources))

    def cycles(self, site: Site) -> int:
        """The beats that go out, or those of the input that has most."""
        return max(self.o.beats(site.result.elements), *(
            port.beats(source.elements)
            for port, source in zip(self.inputs, site.sources, strict=True)))

    def stage(self, site: Site) -> timing.Stage | None:
        """An output beat when the last input beat that it needs is there."""
        height, width, channels = site.result.shape
        ends = np.minimum(np.arange(1, -(-channels // self.o.lanes) + 1) * self.o.lanes, channels)
        sources, latencies, before = [], [], 0
        for n, (port, source) in enumerate(zip(self.inputs, site.sources, strict=True)):
            count = source.shape[2]
            # Of each pixel, the input's channels that are out by the end of each output beat.
            out = np.clip(ends - before, 0, count)
            last = (np.arange(height * width)[:, None] * count + out).reshape(-1) - 1
            sources.append(np.where(last >= 0, port.beat_of(last), -1))
            latencies.append(
                SKIP_LATENCY + sum(gear.shape.latency for gear in self._gears(site, n))
                + QUEUE_LATENCY * (self._pixel_beats(site, n) > 0) + self._shape(site).latency)
            before += count
        shape = self._shape(site)
        stages = tuple(self._flow(site, n) for n in range(len(sources)))
        return timing.Joining(tuple(sources), tuple(latencies), stages,
                              control.Steps(shape.latency), () if shape.is_whole else shape.turns)

    def _flow(self, site: Site, n: int) -> tuple[control.Block, ...]:
        """What the beats of input ``n`` go through."""
        depth = self._pixel_beats(site, n)
        queue = (control.Delay(QUEUE_LATENCY, depth),) if depth else ()
        return *(gear.flow for gear in self._gears(site, n)), *queue

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """A choice and a register in each lane, and what repacks and gathers the inputs."""
        shape, bits = self._shape(site), site.result.bits
        width, inputs = shape.lanes * bits, len(site.sources)
        cells = fabric.control.register.cells + Resources(ffs=width)
        if not shape.is_whole:
            counters = sum(index_bits(turn) for turn in shape.turns)
            # Whose turn it is, one-hot, and whose beat is on its way.
            cells += Resources(luts=round((inputs - 1) * width * fabric.logic.mux
                                          + fabric.counters(counters)), ffs=counters + inputs)
        for n, source in enumerate(site.sources):
            for gear in self._gears(site, n):
                cells += gear.cells(fabric, source.bits)
            if depth := self._pixel_beats(site, n):
                cells += streams.queue(fabric, depth, shape.i_lanes[n] * source.bits + 1)
        return cells

    def branches(self, site: Site) -> tuple[Stages, ...]:
        """What repacks each input, gathers a pixel's beats, and makes integers of signs."""
        branches = []
        for n, (source, taken) in enumerate(zip(site.sources, self.carried(site), strict=True)):
            element, lanes = shape_of(source), self._shape(site).i_lanes[n]
            branch = [gear.block(element) for gear in self._gears(site, n)]
            if depth := self._pixel_beats(site, n):
                branch.append(("pixel", Queue(Beat(element, lanes), depth)))
            branches.append([*branch, *widening(source, taken, lanes)])
        return tuple(branches)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The concatenator."""
        shape = self._shape(site)
        return [("concatenate", Concatenator(
            [shape_of(taken) for taken in self.carried(site)], shape_of(site.result),
            channels=shape.channels, lanes=shape.lanes))]

    def _shape(self, site: Site) -> ConcatenatorShape:
        """The structure of the concatenator."""
        return ConcatenatorShape(tuple(source.shape[2] for source in site.sources), self.o.lanes)

    def _gears(self, site: Site, n: int) -> tuple[Gear, ...]:
        """What repacks input ``n``."""
        shape = self._shape(site)
        return repacking(self.inputs[n], Port(shape.i_lanes[n], shape.channels[n]),
                         site.sources[n].elements)

    def _pixel_beats(self, site: Site, n: int) -> int:
        """Beats of the queue that gathers those of a pixel of input ``n``; 0 for none."""
        shape, elements = self._shape(site), site.sources[n].elements
        turn, channels = shape.turns[n], shape.channels[n]
        comes_slowly = self.inputs[n].beats(elements) > elements // channels * turn
        return turn + SPARE_BEATS if comes_slowly and turn > 1 else 0

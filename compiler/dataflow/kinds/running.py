"""Maxima of windows that do not overlap: they are kept while the map comes by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.running_pool import RUNNING_POOLER_LATENCY, RunningMaxPooler, RunningShape
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, memories
from ...cost.memories import index_bits
from ...ir import Integers, TensorType
from .. import control, timing
from ..port import Port
from ..site import Site
from .ask import Ask
from .kind import Kind, Stages, carried_as_is, shape_of, style


@dataclass(frozen=True, kw_only=True)
class RunningMaximum(Kind):
    """A maximum for each window of a row, in ``storage``: the map itself is not kept."""

    storage: Storage

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """Those that take beats as they come, for windows side by side, if a pixel has enough of
        them."""
        layer, port, size = site.layer, ask.inputs[0], site.source.shape
        assert isinstance(layer, ir.MaxPool)
        if (layer.stride != layer.kernel or layer.kernel == (1, 1) or any(layer.padding)
                or port.group != size[2]):
            return
        try:
            RunningShape(size, layer.kernel, port.lanes)
        except ValueError:
            return
        for storage in memories.ram_storages(ask.fabric):
            yield cls(inputs=ask.inputs, o=Port(port.lanes, size[2]), storage=storage)

    def shape(self, site: Site) -> RunningShape:
        """The structure of the pooler."""
        return RunningShape(site.source.shape, site.geometry.kernel, self.i.lanes)

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Bits of signs as they come."""
        return carried_as_is(site)

    def cycles(self, site: Site) -> int:
        """The beats of a frame."""
        return self.i.beats(site.source.elements)

    def stage(self, site: Site) -> timing.Passing:
        """A beat with each last element of a window."""
        ends, beats = self._ends(site), self.cycles(site)
        complete = np.searchsorted(ends, np.arange(beats), side="right")
        flow = control.Repacker(complete.tolist(), (complete - 1).tolist(),
                                RUNNING_POOLER_LATENCY, 0)
        return timing.Passing(None, RUNNING_POOLER_LATENCY, stages=(flow,), kept=ends)

    def _ends(self, site: Site) -> Integers:
        """The beats of a frame that end windows."""
        shape = self.shape(site)
        (rows, columns), (height, width) = shape.kernel, shape.windows
        pixels = ((np.arange(1, height + 1) * rows - 1)[:, None] * shape.size[1]
                  + np.arange(1, width + 1) * columns - 1)
        return np.asarray(pixels[..., None] * shape.slices + np.arange(shape.slices)).reshape(-1)

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """The maxima so far."""
        width = self.i.lanes * self.carried(site)[0].bits
        return (Memory("window", self.shape(site).words, width, self.storage),)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """A comparison and a choice in each lane, the memory, and what counts elements."""
        shape, (memory,) = self.shape(site), self.memories(site)
        address = index_bits(shape.words)
        counts = (shape.slices, *shape.size[:2], *shape.kernel)
        bits = sum(map(index_bits, counts)) + 2 * address
        return (fabric.control.stage.cells
                + memories.ram(fabric, self.storage, memory.words, memory.width)
                + Resources(luts=round(fabric.sums(memory.width // self.i.lanes, self.i.lanes)
                                       + memory.width * fabric.logic.mux
                                       + fabric.counters(bits)),
                            ffs=2 * memory.width + bits + 3 * address + 9))

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The pooler."""
        pooler = RunningMaxPooler(shape_of(self.carried(site)[0]), self.shape(site),
                                  style=style(self.storage), technology=technology)
        return [("pool", pooler)]

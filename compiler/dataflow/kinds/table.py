"""Tables: a memory that the value addresses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from ....hdl.table import LookupTable, TableShape
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, memories
from ...ir import TensorType
from .. import control
from ..site import Site
from .ask import Ask
from .kind import Stages, shape_of, style
from .passing import Passing


@dataclass(frozen=True, kw_only=True)
class Lookup(Passing):
    """A memory for each lane, in ``storage``; it takes signs as the bits that they are."""

    shape: TableShape
    storage: Storage

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """One that takes beats as they come."""
        i = ask.inputs[0]
        shape = TableShape.of(len(_table(site).values), lanes=i.lanes, group=i.group,
                              i_bits=site.source.bits, o_bits=site.result.bits)
        storage = memories.rom_storage(ask.fabric, shape.entries, shape.o_bits)
        yield cls(inputs=ask.inputs, o=i, storage=storage,
                  shape=replace(shape, block=storage is Storage.BLOCK))

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Every type as it is."""
        return site.sources

    def latency(self, site: Site) -> int:
        """The memory's."""
        return self.shape.latency

    def flow(self, site: Site) -> tuple[control.Block, ...]:
        """Steps that all move or all wait."""
        return (control.Steps(self.shape.latency),)

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """The tables of each lane."""
        shape = self.shape
        return (Memory("tables", shape.entries, shape.o_bits, self.storage, shape.lanes),)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """The memories, what counts their words, and what goes with a beat.

        That functions may be simple is not counted: it is what any function takes.
        """
        shape, word_bits = self.shape, (self.shape.words - 1).bit_length()
        counter = word_bits + 1 if word_bits else 0
        return (memories.rom(fabric, self.storage, shape.entries, shape.o_bits) * shape.lanes
                + Resources(luts=2 + counter, ffs=2 * shape.latency + word_bits))

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The tables."""
        layer, source = _table(site), site.source
        values = range(source.low, source.high + 1, 2 if isinstance(source, ir.Bipolar) else 1)
        return [("table", LookupTable(
            shape_of(source), shape_of(site.result), lanes=self.i.lanes, group=self.i.group,
            tables=layer.values[:, [value - layer.low for value in values]].tolist(),
            style=style(self.storage), technology=technology))]


def _table(site: Site) -> ir.Table:
    assert isinstance(site.layer, ir.Table)
    return site.layer

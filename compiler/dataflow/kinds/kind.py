"""A kind of hardware that a layer may become: all that is decided about it, in one object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self, TypeAlias

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import wiring

from ....hdl.bipolar import BipolarToInteger
from ....hdl.tech import MemoryStyle, Technology
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage
from ...ir import TensorType
from ..fold import Fold
from ..port import Port
from ..site import Site
from ..timing import Stage

Stages: TypeAlias = list[tuple[str, wiring.Component]]
"""Blocks in a row, each with its instance name."""


@dataclass(frozen=True, kw_only=True)
class Kind(ABC):
    """Hardware of one layer. ``inputs`` and ``o`` are the ports of its tensors, ``dsps`` its DSP
    blocks, ``fold`` the products of its engine, if it has one.

    Its methods take the layer's `Site`, the same at every call. Numbers that the hardware has
    itself (latency, queue depth, widths) come from the parameters of the block beside the RTL.
    Unless it is ``exact``, its cycles depend on the data, and those that it tells are the most.
    """

    exact: ClassVar[bool] = True

    inputs: tuple[Port, ...]
    o: Port
    dsps: int = 0
    fold: Fold | None = None

    @property
    def i(self) -> Port:
        """The port of the first input."""
        return self.inputs[0]

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """The type in which its blocks take each input: integers, unless it says otherwise."""
        return tuple(source.widened for source in site.sources)

    @abstractmethod
    def cycles(self, site: Site) -> int:
        """Its initiation interval alone, in cycles a frame."""

    @abstractmethod
    def stage(self, site: Site) -> Stage | None:
        """When its beats move; None where it is only wiring."""

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """What it stores, queues in front of its inputs left out."""
        return ()

    def fillings(self, site: Site) -> tuple[bytes, ...]:
        """The symbols of each of its memories that a stream fills, in the order in which symbols
        pass them, see `penjing.hdl.fill`.

        Raises `PenjingError` where what the layer has does not go into them.
        """
        return ()

    @abstractmethod
    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Predicted cells, queues in front of its inputs left out."""

    def sparing(self, site: Site, fabric: Fabric) -> Iterator[Self]:
        """The same with fewer block RAMs than are worth it, for designs that lack them."""
        yield from ()

    def macs(self, site: Site) -> int:
        """Multiply-accumulates that a frame takes; those that it leaves out do not count."""
        return site.layer.macs(site.result)

    @property
    def products(self) -> int:
        """Products that it makes in a cycle."""
        return self.fold.products if self.fold else 0

    def work(self) -> Mapping[str, int]:
        """What it does in a cycle, as budgets and reports count it: ``{"multipliers": 16}``."""
        return {}

    def branches(self, site: Site) -> tuple[Stages, ...]:
        """What stands between each input and the blocks: what makes integers of signs."""
        return tuple(widening(source, taken, port.lanes) for source, taken, port in
                     zip(site.sources, self.carried(site), self.inputs, strict=True))

    @abstractmethod
    def blocks(self, site: Site, technology: Technology) -> Stages:
        """Its blocks in a row, the first with a port for each input; none if it is only wiring."""


_STYLES = {Storage.BLOCK: MemoryStyle.BLOCK, Storage.DISTRIBUTED: MemoryStyle.DISTRIBUTED,
           Storage.LOGIC: MemoryStyle.LOGIC}


def style(storage: Storage) -> MemoryStyle:
    """What the hardware calls the place ``storage``."""
    return _STYLES[storage]


def shape_of(kind: TensorType) -> Shape:
    """The hardware shape of one element of ``kind``."""
    is_signed = kind.signed and not isinstance(kind, ir.Bipolar)
    return signed(kind.bits) if is_signed else unsigned(kind.bits)


def values_of(kind: TensorType) -> range:
    """The values of ``kind``."""
    return range(kind.low, kind.high + 1)


def code(kind: TensorType, value: int) -> int:
    """What stands for ``value`` in the `shape_of` ``kind``."""
    return int(value > 0) if isinstance(kind, ir.Bipolar) else value


def carried_as_is(site: Site) -> tuple[TensorType, ...]:
    """What a kind takes that only selects and moves values: bits stay bits where they go on."""
    return (site.source if isinstance(site.result, ir.Bipolar) else site.source.widened,)


def widening(source: TensorType, taken: TensorType, lanes: int) -> Stages:
    """What makes integers of signs where ``source`` is taken as ``taken``; nothing elsewhere."""
    return [] if source == taken else [("integers", BipolarToInteger(lanes))]

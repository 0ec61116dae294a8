"""The plan: what hardware each layer becomes, and what is predicted of it."""

from __future__ import annotations

from dataclasses import dataclass

from ..cost import Memory, Resources
from .fold import Fold
from .kinds.kind import Kind
from .port import Port

__all__ = ["Fold", "LayerPlan", "Plan", "Port"]


@dataclass(frozen=True)
class LayerPlan:
    """What one layer becomes.

    ``layer`` is the layer's operation, ``kind`` its hardware, ``cycles`` its initiation interval
    alone, ``queues`` the memory in front of each input in which beats wait for another branch (None
    where none do), ``memory_bits`` those of all its memories, ``resources`` its predicted cells.
    """

    name: str
    layer: str
    kind: Kind
    cycles: int
    macs: int
    queues: tuple[Memory | None, ...]
    memory_bits: int
    resources: Resources

    @property
    def i(self) -> Port:
        """How its first input travels."""
        return self.kind.i

    @property
    def o(self) -> Port:
        """How its output travels."""
        return self.kind.o

    @property
    def fold(self) -> Fold | None:
        """The products of its engine; None where it has none."""
        return self.kind.fold

    @property
    def products(self) -> int:
        """Products of its engine in a cycle."""
        return self.kind.products

    def work(self, what: str) -> int:
        """How many of ``what`` (see `Kind.work`) it does in a cycle."""
        return self.kind.work().get(what, 0)


@dataclass(frozen=True)
class Plan:
    """The whole schedule: ``cycles_per_frame`` is the initiation interval, that of the slowest
    layer, or more where layers wait for each other; ``latency_cycles`` runs from the first input
    beat taken to the last output beat given.

    Unless it is ``exact``, both are what no frame exceeds.
    """

    board: str
    clock_mhz: float
    layers: tuple[LayerPlan, ...]
    cycles_per_frame: int
    latency_cycles: int

    @property
    def exact(self) -> bool:
        """Whether all frames take the same cycles, whatever is in them."""
        return all(layer.kind.exact for layer in self.layers)

    def work(self, what: str) -> int:
        """How many of ``what`` (see `Kind.work`) all layers do in a cycle."""
        return sum(layer.work(what) for layer in self.layers)

    @property
    def multipliers(self) -> int:
        """Multipliers of all layers."""
        return self.work("multipliers")

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one frame."""
        return sum(layer.macs for layer in self.layers)

    @property
    def utilization(self) -> float:
        """Useful multiply-accumulates / (products a cycle × cycles per frame); 0 without any."""
        engines = [layer for layer in self.layers if layer.products]
        products = sum(layer.products for layer in engines)
        return sum(layer.macs for layer in engines) / (max(1, products) * self.cycles_per_frame)

    @property
    def frames_per_second(self) -> float:
        """Throughput at the plan's clock."""
        return self.clock_mhz * 1e6 / self.cycles_per_frame

    @property
    def resources(self) -> Resources:
        """Predicted cells of the accelerator, board wrapper not counted."""
        return sum((layer.resources for layer in self.layers), Resources())

    def layer(self, name: str) -> LayerPlan:
        """The plan of the layer ``name``; `KeyError` if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

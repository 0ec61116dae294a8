"""The plan: what the schedule decided for each layer, and what it predicts."""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True)
class Fold:
    """Products of an engine: ``pe`` outputs at once, each from ``rows * lanes`` inputs.

    ``rows`` kernel rows are read at once, and of each ``lanes`` consecutive inputs, so the engine's
    SIMD width is ``rows * lanes``. None of them need divide a dimension.
    """

    pe: int
    rows: int
    lanes: int

    @property
    def simd(self) -> int:
        """Inputs that each processing element takes in a cycle."""
        return self.rows * self.lanes

    @property
    def products(self) -> int:
        """Products of the engine in a cycle."""
        return self.pe * self.simd


class Storage(enum.Enum):
    """Where a memory lives."""

    BLOCK = "block"
    DISTRIBUTED = "distributed"
    LOGIC = "logic"


@dataclass(frozen=True)
class Resources:
    """Cells of a design, in the units of the family: LUT4, flip-flops, DSP blocks, block RAMs."""

    luts: int = 0
    ffs: int = 0
    dsps: int = 0
    brams: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(self.luts + other.luts, self.ffs + other.ffs, self.dsps + other.dsps,
                         self.brams + other.brams)


@dataclass(frozen=True)
class Port:
    """How a tensor travels: ``lanes`` elements a beat, a fresh beat every ``group`` elements."""

    lanes: int
    group: int


@dataclass(frozen=True)
class Queue:
    """Room in front of an input for ``beats`` that wait for another branch; 0 where none do."""

    beats: int
    storage: Storage | None


@dataclass(frozen=True)
class LayerPlan:
    """What one layer becomes.

    ``cycles`` is the layer's initiation interval alone, ``buffer_words`` the words of its window
    buffer (0 without one), ``memory_bits`` weights, bias and buffers together. The fold's products
    are XORs if the layer is ``binary``, terms that are added or subtracted if it is ``ternary``,
    else multipliers, ``dsp_multipliers`` of which are DSP blocks. ``other`` is the port of a second
    input, ``steps`` the cycles of a beat in a scale requantization, ``scalers`` the multipliers of
    a slope requantization, ``queues`` what stands in front of each input where branches meet or
    part.
    """

    name: str
    kind: str
    i: Port
    o: Port
    cycles: int
    macs: int = 0
    fold: Fold | None = None
    binary: bool = False
    ternary: bool = False
    dsp_multipliers: int = 0
    weight_storage: Storage | None = None
    buffer_words: int = 0
    buffer_storage: Storage | None = None
    memory_bits: int = 0
    resources: Resources = Resources()
    other: Port | None = None
    queues: tuple[Queue, ...] = ()
    steps: int = 1
    scalers: int = 0

    @property
    def products(self) -> int:
        """Products of the layer's engine in a cycle."""
        return self.fold.products if self.fold else 0

    @property
    def multipliers(self) -> int:
        """Multipliers of the layer, of its engine or of a requantization."""
        return self.scalers + (0 if self.takes_bits else self.products)

    @property
    def takes_bits(self) -> bool:
        """Whether the layer's engine takes signs as bits."""
        return self.binary or self.ternary

    @property
    def xors(self) -> int:
        """Products of signs of the layer's engine in a cycle."""
        return self.products if self.binary else 0

    @property
    def additions(self) -> int:
        """Terms that the layer's engine adds, subtracts or leaves out in a cycle."""
        return self.products if self.ternary else 0


@dataclass(frozen=True)
class Plan:
    """The whole schedule: ``cycles_per_frame`` is the initiation interval, that of the slowest
    layer; ``latency_cycles`` runs from the first input beat taken to the last output beat given."""

    board: str
    clock_mhz: float
    layers: tuple[LayerPlan, ...]
    cycles_per_frame: int
    latency_cycles: int

    @property
    def multipliers(self) -> int:
        """Multipliers of all layers."""
        return sum(layer.multipliers for layer in self.layers)

    @property
    def xors(self) -> int:
        """Products of signs of all engines in a cycle."""
        return sum(layer.xors for layer in self.layers)

    @property
    def additions(self) -> int:
        """Terms that all engines add, subtract or leave out in a cycle."""
        return sum(layer.additions for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one frame."""
        return sum(layer.macs for layer in self.layers)

    @property
    def utilization(self) -> float:
        """Useful multiply-accumulates / (products a cycle × cycles per frame); 0 without any."""
        products = sum(layer.products for layer in self.layers)
        return self.macs / (max(1, products) * self.cycles_per_frame)

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

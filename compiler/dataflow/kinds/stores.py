"""How the memory of an engine with multipliers holds its weights: a store for each encoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from ....hdl.sequencer import ONCE, SEQUENCER_LATENCY, Rounds, Sequencer
from ....hdl.tech import MemoryStyle, Technology
from ....hdl.weights import CODEBOOK_LATENCY, CodebookWeights, WeightSource
from ... import ir
from ...cost import Fabric, Resources, Storage, memories
from ...ir import Integers
from .words import NOTHING, Beside, packed


@dataclass(frozen=True)
class Store(ABC):
    """Weights that a multiplier takes as ``value_bits``."""

    value_bits: int

    @property
    @abstractmethod
    def bits(self) -> int:
        """Bits of a weight in memory."""

    @property
    @abstractmethod
    def latency(self) -> int:
        """Cycles from a step to its word of weights."""

    @abstractmethod
    def cells(self, fabric: Fabric) -> Resources:
        """Cells for each weight of a word, its memory left out."""

    @abstractmethod
    def source(self, values: Integers, style: MemoryStyle, technology: Technology,
               rounds: Rounds = ONCE, beside: Beside = NOTHING) -> WeightSource:
        """What gives ``values`` (beats, outputs, terms), beat by beat in ``rounds``, and above them
        what is ``beside`` them."""


@dataclass(frozen=True)
class PlainStore(Store):
    """The memory holds the weights themselves."""

    @property
    def bits(self) -> int:
        """Those that a multiplier takes."""
        return self.value_bits

    @property
    def latency(self) -> int:
        """The memory's."""
        return SEQUENCER_LATENCY

    def cells(self, fabric: Fabric) -> Resources:
        """None."""
        return Resources()

    def source(self, values: Integers, style: MemoryStyle, technology: Technology,
               rounds: Rounds = ONCE, beside: Beside = NOTHING) -> WeightSource:
        """The memory."""
        width = values[0].size * self.value_bits
        return Sequencer(beside.above(packed(values, self.value_bits), width), width + beside.bits,
                         style=style, technology=technology, rounds=rounds)


@dataclass(frozen=True)
class CodebookStore(Store):
    """The memory holds indices, and a table for each multiplier has the ``codebook``."""

    codebook: tuple[int, ...]

    @property
    def bits(self) -> int:
        """Those of an index."""
        return (len(self.codebook) - 1).bit_length()

    @property
    def latency(self) -> int:
        """The memory's, and the table's."""
        return CODEBOOK_LATENCY

    def cells(self, fabric: Fabric) -> Resources:
        """A table."""
        return memories.rom(fabric, Storage.LOGIC, len(self.codebook), self.value_bits)

    def source(self, values: Integers, style: MemoryStyle, technology: Technology,
               rounds: Rounds = ONCE, beside: Beside = NOTHING) -> WeightSource:
        """The memory and the tables."""
        indices = packed(np.searchsorted(np.array(self.codebook), values), self.bits)
        return CodebookWeights(beside.above(indices, values[0].size * self.bits), values[0].size,
                               codebook=self.codebook, weight_bits=self.value_bits, style=style,
                               technology=technology, rounds=rounds, beside=beside.bits)


STORES: tuple[type[Store], ...] = (PlainStore, CodebookStore)
"""All stores of weights."""


def store_of(weights: ir.Weights, *, zeros: bool) -> Store:
    """The store of ``weights``, among which an engine puts ``zeros`` where it has none."""
    return _store(weights.encoding, weights, zeros)


@singledispatch
def _store(encoding: ir.Encoding, weights: ir.Weights, zeros: bool) -> Store:
    raise ir.PenjingError(f"weights: there is no hardware for their encoding, {encoding.name}; "
                          "store them plain")


@_store.register
def _(encoding: ir.Plain, weights: ir.Weights, zeros: bool) -> Store:
    return PlainStore(weights.bits)


@_store.register
def _(encoding: ir.Codebook, weights: ir.Weights, zeros: bool) -> Store:
    codebook = {*weights.stored.different.tolist(), *((0,) if zeros else ())}
    if len(codebook) > ir.MAX_CODES:
        # A codebook that is full has no place for the zeros: such an engine stores what they are.
        return PlainStore(weights.bits)
    return CodebookStore(weights.bits, tuple(sorted(codebook)))


@_store.register
def _(encoding: ir.NofM, weights: ir.Weights, zeros: bool) -> Store:
    return _store(encoding.values, weights, zeros)

"""How the memory of an engine with multipliers holds its weights: a store for each encoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import singledispatch
from typing import ClassVar

import numpy as np

from ....hdl.fill import Spelling
from ....hdl.sequencer import ONCE, SEQUENCER_LATENCY, LoadableSequencer, Rounds, Sequencer
from ....hdl.tech import MemoryStyle, Technology
from ....hdl.weights import CODEBOOK_LATENCY, CodebookWeights, LoadableCodebook, WeightSource
from ... import ir
from ...cost import Fabric, Resources, Storage, memories
from ...ir import Integers
from . import constants
from .words import NOTHING, Beside, packed


@dataclass(frozen=True)
class Store(ABC):
    """Weights that a multiplier takes as ``value_bits``. If ``loadable``, a stream brings them,
    and the biases too."""

    loadable: ClassVar[bool] = False

    value_bits: int

    @property
    @abstractmethod
    def bits(self) -> int:
        """Bits of a weight in memory."""

    def all_bits(self, weights: ir.Weights) -> int:
        """Bits of memory that all ``weights`` of a layer take, with tables."""
        return weights.memory_bits

    @property
    @abstractmethod
    def latency(self) -> int:
        """Cycles from a step to its word of weights."""

    def storage(self, fabric: Fabric, words: int, width: int) -> Storage:
        """Where a memory of so many ``words`` goes, each of all weights of a beat."""
        choose = memories.ram_storage if self.loadable else memories.rom_storage
        return choose(fabric, words, width)

    @abstractmethod
    def cells(self, fabric: Fabric) -> Resources:
        """Cells for each weight of a word, its memory left out."""

    def fillings(self, values: Integers, beside: Beside = NOTHING) -> tuple[bytes, ...]:
        """The symbols of each memory that a stream fills with ``values`` and what is ``beside``
        them, in their order; raises `PenjingError` where they do not go into it."""
        return ()

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
        """The memory's, the way's and the table's."""
        return CODEBOOK_LATENCY

    def cells(self, fabric: Fabric) -> Resources:
        """A table, and the register in front of it."""
        table = memories.rom(fabric, Storage.LOGIC, len(self.codebook), self.value_bits)
        return table + Resources(ffs=self.bits)

    def source(self, values: Integers, style: MemoryStyle, technology: Technology,
               rounds: Rounds = ONCE, beside: Beside = NOTHING) -> WeightSource:
        """The memory and the tables."""
        indices = packed(np.searchsorted(np.array(self.codebook), values), self.bits)
        return CodebookWeights(beside.above(indices, values[0].size * self.bits), values[0].size,
                               codebook=self.codebook, weight_bits=self.value_bits, style=style,
                               technology=technology, rounds=rounds, beside=beside.bits)


@dataclass(frozen=True)
class LoadablePlainStore(PlainStore):
    """A memory of the weights themselves, which a stream fills."""

    loadable = True

    def fillings(self, values: Integers, beside: Beside = NOTHING) -> tuple[bytes, ...]:
        """That of the memory."""
        spelling = Spelling(values[0].size, self.bits, beside.bits)
        words = beside.above(packed(values, self.bits), values[0].size * self.bits)
        return (spelling.spelled(words),)

    def source(self, values: Integers, style: MemoryStyle, technology: Technology,
               rounds: Rounds = ONCE, beside: Beside = NOTHING) -> WeightSource:
        """The memory."""
        return LoadableSequencer(len(values), Spelling(values[0].size, self.bits, beside.bits),
                                 style=style, technology=technology, rounds=rounds)


@dataclass(frozen=True)
class LoadableCodebookStore(Store):
    """A memory of indices of ``index_bits``, and a table for each multiplier, which a stream fills.
    """

    loadable = True

    index_bits: int

    @property
    def bits(self) -> int:
        """Those of an index."""
        return self.index_bits

    def all_bits(self, weights: ir.Weights) -> int:
        """Those of the indices and what is beside them, and of a table of as many values as these
        can tell apart."""
        stored = weights.stored
        beside = weights.memory_bits - ir.Codebook().bits_of(stored, weights.bits)
        return stored.count * self.index_bits + beside + (self.value_bits << self.index_bits)

    @property
    def latency(self) -> int:
        """The memory's, the way's and the table's."""
        return CODEBOOK_LATENCY

    def cells(self, fabric: Fabric) -> Resources:
        """A table, and the register in front of it."""
        table = memories.ram(fabric, constants.loose(fabric), 1 << self.index_bits,
                             self.value_bits)
        return table + Resources(ffs=self.bits)

    def fillings(self, values: Integers, beside: Beside = NOTHING) -> tuple[bytes, ...]:
        """Those of the indices and of the table."""
        codebook = np.unique(values)
        if len(codebook) > 1 << self.index_bits:
            raise ir.PenjingError(
                f"weights: they are of {len(codebook)} different values, and the tables that they "
                f"go into have {1 << self.index_bits}; share values, or compile for more")
        entries = np.pad(codebook, (0, (1 << self.index_bits) - len(codebook)))
        spelling = Spelling(values[0].size, self.bits, beside.bits)
        indices = packed(np.searchsorted(codebook, values), self.bits)
        return (spelling.spelled(beside.above(indices, values[0].size * self.bits)),
                Spelling(1, self.value_bits).spelled(packed(entries, self.value_bits)))

    def source(self, values: Integers, style: MemoryStyle, technology: Technology,
               rounds: Rounds = ONCE, beside: Beside = NOTHING) -> WeightSource:
        """The memory and the tables."""
        return LoadableCodebook(len(values), values[0].size, index_bits=self.index_bits,
                                weight_bits=self.value_bits, style=style, technology=technology,
                                rounds=rounds, beside=beside.bits)


STORES: tuple[type[Store], ...] = (PlainStore, CodebookStore, LoadablePlainStore,
                                   LoadableCodebookStore)
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
    return _plain(weights)


@_store.register
def _(encoding: ir.Codebook, weights: ir.Weights, zeros: bool) -> Store:
    codebook = {*weights.stored.different.tolist(), *((0,) if zeros else ())}
    if len(codebook) > ir.MAX_CODES:
        # A codebook that is full has no place for the zeros: such an engine stores what they are.
        return _plain(weights)
    if weights.loadable:
        return LoadableCodebookStore(weights.bits, max(1, (len(codebook) - 1).bit_length()))
    return CodebookStore(weights.bits, tuple(sorted(codebook)))


@_store.register
def _(encoding: ir.NofM, weights: ir.Weights, zeros: bool) -> Store:
    return _store(encoding.values, weights, zeros)


def _plain(weights: ir.Weights) -> Store:
    return (LoadablePlainStore if weights.loadable else PlainStore)(weights.bits)

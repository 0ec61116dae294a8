"""How hardware stores weights.

An encoding never changes a result: `Weights` hold the values, which are all that the golden model
sees. It takes them as `rows` (outputs, taps, channels), see `rows_of`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .tensor import Integers, require

MAX_CODES = 256
"""The most values of a codebook: an index has up to 8 bits."""


def rows_of(values: Integers) -> Integers:
    """Weights of a layer as (outputs, taps, channels), in the order in which they lie.

    A convolution's taps are those of its kernel, row by row, and its channels those of a group; a
    depthwise layer has one channel, a dense one has one tap and its inputs for channels.
    """
    channels = values.shape[-1] if values.ndim in (2, 4) else 1
    return values.reshape(values.shape[0] if values.ndim else 1, -1, channels)


@dataclass(frozen=True)
class Encoding(ABC):
    """How the weights of one layer lie in memory."""

    @property
    def kind(self) -> str:
        """The encoding's name in files."""
        return type(self).__name__.lower()

    @property
    def name(self) -> str:
        """The encoding's name in reports and on the command line."""
        return self.kind

    @abstractmethod
    def check(self, rows: Integers) -> None:
        """Raise `PenjingError` unless ``rows`` (outputs, taps, channels) can be stored so."""

    @abstractmethod
    def stored(self, rows: Integers) -> Stored:
        """The values that memory holds of ``rows`` (outputs, taps, channels)."""

    @abstractmethod
    def memory_bits(self, rows: Integers, bits: int) -> int:
        """All that memory holds of ``rows`` (outputs, taps, channels), whose values need ``bits``.

        Indices, filling and tables count.
        """


@dataclass(frozen=True, eq=False)
class Stored:
    """What a memory of values has to hold: ``values`` of any shape, and so many ``zeros`` more."""

    values: Integers
    zeros: int = 0

    @property
    def count(self) -> int:
        """How many values these are."""
        return self.values.size + self.zeros

    @cached_property
    def different(self) -> Integers:
        """All different ones (entries,), in ascending order; where nothing is stored, 0 alone."""
        if not self.values.size:
            return np.zeros(1, np.int64)
        # Weights have 16 bits at most: to count them all is faster than to sort them.
        low = self.values.min()
        found: Integers = np.flatnonzero(np.bincount((self.values - low).reshape(-1))) + low
        return np.union1d(found, [0]) if self.zeros else found


class ValueEncoding(Encoding):
    """How values lie in memory one by one, whether they are all of a layer's or those that a
    sparse encoding keeps."""

    def check(self, rows: Integers) -> None:
        """Refuse weights that cannot be stored so."""
        self.check_stored(self.stored(rows))

    def stored(self, rows: Integers) -> Stored:
        """All, of any shape."""
        return Stored(rows)

    def memory_bits(self, rows: Integers, bits: int) -> int:
        """Bits of all values, of any shape."""
        return self.bits_of(self.stored(rows), bits)

    @abstractmethod
    def check_stored(self, stored: Stored) -> None:
        """Raise `PenjingError` unless a sparse encoding can store these values so."""

    @abstractmethod
    def value_bits(self, stored: Stored, bits: int) -> int:
        """Bits of each value in memory, where a value needs ``bits``."""

    @abstractmethod
    def bits_of(self, stored: Stored, bits: int) -> int:
        """Bits of all values, where a value needs ``bits``; tables count."""


@dataclass(frozen=True)
class Plain(ValueEncoding):
    """Each weight is stored as it is, in two's complement."""

    def check_stored(self, stored: Stored) -> None:
        """All values can."""

    def value_bits(self, stored: Stored, bits: int) -> int:
        """As many as the values need."""
        return bits

    def bits_of(self, stored: Stored, bits: int) -> int:
        """Those of each value."""
        return stored.count * bits


@dataclass(frozen=True)
class Codebook(ValueEncoding):
    """Each weight is stored as its index in the codebook: all different values, in ascending order.

    A layer has 2 to 256 different ones, a sparse encoding stores 1 to 256. An index takes
    ``ceil(log2(entries))`` bits, so that of one entry takes none.
    """

    def check(self, rows: Integers) -> None:
        """Refuse weights with too many different values, or with one only."""
        self._require(self.stored(rows), 2)

    def check_stored(self, stored: Stored) -> None:
        """Refuse too many different values."""
        self._require(stored, 1)

    def _require(self, stored: Stored, least: int) -> None:
        count = len(stored.different)
        require(least <= count <= MAX_CODES,
                f"weights: a codebook holds {least} to {MAX_CODES} different values, not {count}; "
                f"share values, or store them plain")

    def value_bits(self, stored: Stored, bits: int) -> int:
        """Bits of an index."""
        return (len(stored.different) - 1).bit_length()

    def bits_of(self, stored: Stored, bits: int) -> int:
        """Those of the indices and of the table."""
        return stored.count * self.value_bits(stored, bits) + len(stored.different) * bits

    def entries(self, values: Integers) -> Integers:
        """The codebook (entries,) of ``values``."""
        return Stored(values).different

    def indices(self, values: Integers) -> Integers:
        """Where each of ``values`` is in the codebook, in their shape."""
        return np.searchsorted(self.entries(values), values).astype(np.int64)

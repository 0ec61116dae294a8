"""How hardware stores weights.

An encoding never changes a result: `Weights` hold the values, which are all that the golden model
sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from .tensor import Integers, require

MAX_CODES = 256
"""The most values of a codebook: an index has up to 8 bits."""


@dataclass(frozen=True)
class Encoding(ABC):
    """How the weights of one layer lie in memory."""

    @property
    def kind(self) -> str:
        """The encoding's name in files and reports."""
        return type(self).__name__.lower()

    @abstractmethod
    def check(self, values: Integers) -> None:
        """Raise `PenjingError` unless ``values``, of any shape, can be stored so."""

    @abstractmethod
    def memory_bits(self, values: Integers, bits: int) -> int:
        """Bits of memory that all ``values`` take, which themselves need ``bits`` each."""

    def entries(self, values: Integers) -> Integers:
        """All different weights that are stored of ``values``, in ascending order."""
        entries: Integers = np.unique(values)
        return entries


@dataclass(frozen=True)
class Plain(Encoding):
    """Each weight is stored as it is, in two's complement."""

    def check(self, values: Integers) -> None:
        """All values can."""

    def memory_bits(self, values: Integers, bits: int) -> int:
        """As many as the values need."""
        return values.size * bits


@dataclass(frozen=True)
class Codebook(Encoding):
    """Each weight is stored as its index in the codebook: all different values, in ascending order.

    A layer has 2 to 256 different ones. An index takes ``ceil(log2(entries))`` bits.
    """

    def check(self, values: Integers) -> None:
        """Refuse weights with too many different values, or with one only."""
        count = len(self.entries(values))
        require(2 <= count <= MAX_CODES,
                f"weights: a codebook holds 2 to {MAX_CODES} different values, not {count}; share "
                f"values, or store them plain")

    def memory_bits(self, values: Integers, bits: int) -> int:
        """Those of an index each, and of the codebook."""
        count = len(self.entries(values))
        return values.size * (count - 1).bit_length() + count * bits

    def indices(self, values: Integers) -> Integers:
        """Where each of ``values`` is in the codebook, in their shape."""
        return np.searchsorted(self.entries(values), values).astype(np.int64)

"""Weights whose inputs are added first, and multiplied last."""

from __future__ import annotations

from dataclasses import dataclass

from .encoding import Codebook, Encoding, Stored
from .tensor import Integers


@dataclass(frozen=True)
class Sums(Encoding):
    """As a codebook, for hardware that adds up inputs of equal codes before it multiplies.

    Products are few then: at most one for each code and output, whatever the number of inputs. A
    codebook of one value will do. For dense layers and convolutions.
    """

    def check(self, rows: Integers) -> None:
        """Refuse weights with too many different values."""
        Codebook().check_stored(self.stored(rows))

    def stored(self, rows: Integers) -> Stored:
        """All."""
        return Stored(rows)

    def memory_bits(self, rows: Integers, bits: int) -> int:
        """Those of a codebook."""
        return Codebook().bits_of(self.stored(rows), bits)

"""Weights that no memory holds: constants in logic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .encoding import Encoding, Stored
from .tensor import Integers


@dataclass(frozen=True)
class Constant(Encoding):
    """Each weight is a part of the logic, and all products are made at once.

    Zeros cost nothing, and what sums have in common is added once. A dense layer can have it, or a
    1×1 convolution.
    """

    def check(self, rows: Integers) -> None:
        """All weights can."""

    def stored(self, rows: Integers) -> Stored:
        """None."""
        return Stored(np.zeros(0, np.int64))

    def memory_bits(self, rows: Integers, bits: int) -> int:
        """None."""
        return 0

"""Trained weights: their values, and how hardware stores them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .encoding import Encoding, Plain, Stored, rows_of
from .tensor import MAX_FRACTION, Integers, frozen_array, is_int, require, signed_bits


@dataclass(frozen=True, eq=False)
class Weights:
    """Trained integers of a multiply-accumulate layer.

    ``values`` is an integer array (made int64 and read-only), each within ``bits`` (2 to 16), which
    is what a multiplier takes; ``fraction`` is their fraction length. The ``encoding`` says how
    hardware stores them, `memory_bits` what that takes; it never changes a result. Where they are
    ``loadable``, hardware is made for any values of the same shape and bits, which come in later.
    """

    values: Integers
    bits: int
    fraction: int = 0
    encoding: Encoding = field(default_factory=Plain)
    loadable: bool = False

    def __post_init__(self) -> None:
        require(is_int(self.bits) and 2 <= self.bits <= 16,
                f"weights: bits must be an integer from 2 to 16, not {self.bits!r}")
        require(is_int(self.fraction) and abs(self.fraction) <= MAX_FRACTION,
                f"weights: fraction must be an integer within ±{MAX_FRACTION}, "
                f"not {self.fraction!r}")
        low, high = -(1 << self.bits - 1), (1 << self.bits - 1) - 1
        object.__setattr__(self, "values", frozen_array("weights", self.values, low, high))
        require(isinstance(self.encoding, Encoding),
                f"weights: encoding must be an Encoding, not {self.encoding!r}")
        require(isinstance(self.loadable, bool),
                f"weights: loadable must be true or false, not {self.loadable!r}")
        self.encoding.check(self.rows)

    @classmethod
    def narrowest(cls, values: Integers, fraction: int = 0) -> Weights:
        """``values`` in as few bits as hold them."""
        bits = signed_bits(int(values.min()), int(values.max()))
        return cls(values, max(2, bits), fraction)

    @property
    def rows(self) -> Integers:
        """The values as (outputs, taps, channels), which is what encodings take."""
        return rows_of(self.values)

    @cached_property
    def memory_bits(self) -> int:
        """Bits of memory that all weights take by their encoding, with indices and tables."""
        return self.encoding.memory_bits(self.rows, self.bits)

    @cached_property
    def stored(self) -> Stored:
        """The values that memory holds by their encoding."""
        return self.encoding.stored(self.rows)

    @cached_property
    def nonzeros(self) -> int:
        """How many weights are not 0."""
        return int(np.count_nonzero(self.values))

    @cached_property
    def bipolar(self) -> bool:
        """Whether every weight is -1 or +1, and stays so."""
        return not self.loadable and bool((np.abs(self.values) == 1).all())

    @cached_property
    def codebook(self) -> tuple[int, ...]:
        """All different values, in ascending order."""
        return tuple(np.unique(self.values).tolist())

    @cached_property
    def full(self) -> bool:
        """Whether no weight is 0, nor becomes it."""
        return not self.loadable and bool(self.values.all())

    @cached_property
    def ternary(self) -> tuple[int, int] | None:
        """(Wp, Wn) if every weight is Wp, 0 or -Wn, and stays so, else None.

        Where there are none of one side, it is as the other; both are 1 if all weights are 0.
        """
        positive, negative = (np.unique(side[side > 0]) for side in (self.values, -self.values))
        if self.loadable or max(len(positive), len(negative)) > 1:
            return None
        found = [int(side[0]) if len(side) else None for side in (positive, negative)]
        return found[0] or found[1] or 1, found[1] or found[0] or 1

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, Weights) and self.bits == other.bits
                and self.fraction == other.fraction and self.encoding == other.encoding
                and self.loadable == other.loadable
                and np.array_equal(self.values, other.values))

"""Weights as the words that an engine's memory holds: the one place where they are packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....hdl.select_array import SelectShape
from ...ir import Integers

__all__ = ["NOTHING", "Beside", "count_words", "packed", "select_words"]


@dataclass(frozen=True)
class Beside:
    """What stands in each word above its weights: ``words`` of so many ``bits``."""

    words: Sequence[int]
    bits: int

    def above(self, words: list[int], bits: int) -> list[int]:
        """The ``words``, which have so many ``bits``, and these above them."""
        if not self.bits:
            return words
        return [low | high << bits for low, high in zip(words, self.words, strict=True)]


NOTHING = Beside((), 0)
"""Nothing beside the weights."""


def packed(values: Integers, bits: int) -> list[int]:
    """One word for each of ``values``' first axis: the others side by side, the first one lowest.

    ``bits`` of each are taken, two's complement.
    """
    rows = values.reshape(len(values), -1, 1) >> np.arange(bits) & 1
    packed_bytes = np.packbits(rows.astype(np.uint8).reshape(len(values), -1), axis=1,
                               bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed_bytes]


def slot_words(values: Sequence[Sequence[int]], slots: int) -> Integers:
    """(slots, elements) the ``values`` of each element, and zeros where it has fewer."""
    words = np.zeros((slots, len(values)), np.int64)
    for n, own in enumerate(values):
        words[:len(own), n] = own
    return words


def count_words(signs: Integers) -> list[int]:
    """Words for a `CountArray` of ``signs`` (beats, outputs, terms), each -1 or 1."""
    return packed((signs > 0).astype(np.int64), 1)


def select_words(signs: Integers, select: SelectShape) -> list[int]:
    """Words for a `SelectArray` of ``signs`` (beats, outputs, terms), each -1, 0 or 1."""
    code = select.selection.code
    codes = [np.array([code(side * sign) for sign in (-1, 0, 1)])[signs + 1]
             for side in (1 if factor > 0 else -1 for factor in select.factors)]
    return packed(np.stack(codes, -1), select.selection.bits)

"""Weights of which each run of ``m`` channels has at most ``n``: they and their places are stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .encoding import Codebook, Encoding, Plain
from .tensor import Integers, is_int, require

MOST_CHANNELS = 16


@dataclass(frozen=True)
class NofM(Encoding):
    """Of each ``m`` channels side by side, at most ``n`` have a weight other than 0.

    Weights are (outputs, inputs) or (outputs, height, width, inputs). A group is ``m`` channels of
    an output at one place of its kernel; the last one may have fewer, and zeros in their stead. It
    stores ``n`` weights as ``values`` says, `Plain` or `Codebook`, and for each its select of
    ``ceil(log2(m))`` bits: which of the channels it belongs to. ``1 <= n < m <= 16``; 2 of 4 is
    what NVIDIA's sparse tensor cores take (Mishra 2021, arXiv:2104.08378).
    """

    n: int
    m: int
    values: Encoding = field(default_factory=Plain)

    def __post_init__(self) -> None:
        require(is_int(self.n) and is_int(self.m) and 1 <= self.n < self.m <= MOST_CHANNELS,
                f"weights: n of m must be integers with 1 <= n < m <= {MOST_CHANNELS}, "
                f"not {self.n!r} of {self.m!r}")
        require(isinstance(self.values, Plain | Codebook),
                f"weights: the values of {self.n} of {self.m} must be stored by Plain() or "
                f"Codebook(), not {self.values!r}")

    @property
    def select_bits(self) -> int:
        """Bits that tell the channels of a group apart."""
        return (self.m - 1).bit_length()

    def check(self, values: Integers) -> None:
        """Refuse groups with too many weights other than 0, and weights without channels."""
        what = f"weights: {self.n} of {self.m}"
        require(values.ndim in (2, 4),
                f"{what} channels need weights (outputs, inputs) or (outputs, height, width, "
                f"inputs), not {values.shape}; store them plain")
        counts = (self._split(values) != 0).sum(-1)
        if counts.max(initial=0) > self.n:
            place = tuple(int(n) for n in np.argwhere(counts > self.n)[0])
            output, *tap, group = place
            where = f", row {tap[0]}, column {tap[1]}" if tap else ""
            last = min((group + 1) * self.m, values.shape[-1]) - 1
            require(False, f"{what} may differ from 0, but {counts[place]} do among the channels "
                           f"{group * self.m} to {last} of output {output}{where}; prune them, or "
                           "store them plain")
        stored, _ = self.groups(values)
        if stored.min() < stored.max():  # a codebook of one value is one, too: its indices are none
            self.values.check(stored)

    def memory_bits(self, values: Integers, bits: int) -> int:
        """Those of the weights that are stored, of their table, and of a select for each."""
        stored, selects = self.groups(values)
        return self.values.memory_bits(stored, bits) + selects.size * self.select_bits

    def entries(self, values: Integers) -> Integers:
        """All different weights that are stored, in ascending order: 0 if a group has fewer than
        ``n``."""
        return self.values.entries(self.groups(values)[0])

    def groups(self, values: Integers) -> tuple[Integers, Integers]:
        """What each group stores: weights and selects, both (..., groups, n).

        ``values`` are (..., channels). Selects ascend, so that the ``k``-th is from ``k`` to
        ``m - n + k``; they fill a group up that has fewer weights with some that are 0.
        """
        split = self._split(values)
        selects = np.sort(np.argsort(split == 0, -1, kind="stable")[..., :self.n], -1)
        return np.take_along_axis(split, selects, -1), selects.astype(np.int64)

    def _split(self, values: Integers) -> Integers:
        """(..., groups, m): zeros beyond the last channel."""
        spare = -values.shape[-1] % self.m
        padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, spare)])
        return padded.reshape(*values.shape[:-1], -1, self.m)

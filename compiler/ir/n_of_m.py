"""Weights of which each run of ``m`` channels has at most ``n``: they and their places are stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .encoding import Codebook, Encoding, Plain, Stored, ValueEncoding
from .tensor import Integers, is_int, require

MOST_CHANNELS = 16
"""The most channels of a group."""


@dataclass(frozen=True)
class NofM(Encoding):
    """Of each ``m`` channels side by side, at most ``n`` have a weight other than 0.

    A group is ``m`` channels of an output at one tap; the last one may have fewer, and zeros in
    their stead. It stores ``n`` weights as ``values`` says, and for each its select of
    ``ceil(log2(m))`` bits: which of the channels it belongs to. ``1 <= n < m <= 16``; 2 of 4 is
    what NVIDIA's sparse tensor cores take (Mishra 2021, arXiv:2104.08378).
    """

    n: int
    m: int
    values: ValueEncoding = field(default_factory=Plain)

    def __post_init__(self) -> None:
        require(is_int(self.n) and is_int(self.m) and 1 <= self.n < self.m <= MOST_CHANNELS,
                f"weights: n of m must be integers with 1 <= n < m <= {MOST_CHANNELS}, "
                f"not {self.n!r:.40} of {self.m!r:.40}")
        require(isinstance(self.values, ValueEncoding),
                f"weights: values of the encoding {self.n}:{self.m} must be stored plain or by a "
                f"codebook, not as {self.values!r:.60}")

    @property
    def name(self) -> str:
        """``n:m``, and whether a codebook stores its values."""
        return f"{self.n}:{self.m}{'+codebook' if isinstance(self.values, Codebook) else ''}"

    @property
    def select_bits(self) -> int:
        """Bits that tell the channels of a group apart."""
        return (self.m - 1).bit_length()

    def check(self, rows: Integers) -> None:
        """Refuse groups with too many weights other than 0, and values that cannot be stored."""
        counts = np.count_nonzero(self._split(rows), -1)
        if counts.max(initial=0) > self.n:
            output, tap, group = (int(n) for n in np.argwhere(counts > self.n)[0])
            where = f", tap {tap}" if rows.shape[1] > 1 else ""
            last = min((group + 1) * self.m, rows.shape[2]) - 1
            require(False, f"weights: {self.n} of {self.m} may differ from 0, but "
                           f"{counts[output, tap, group]} do among the channels {group * self.m} "
                           f"to {last} of output {output}{where}; prune them, or store them plain")
        self.values.check_stored(self.stored(rows))

    def stored(self, rows: Integers) -> Stored:
        """The weights other than 0, and the zeros of groups that have fewer than ``n``."""
        kept = rows[rows != 0]
        return Stored(kept, self._entries(rows) - kept.size)

    def memory_bits(self, rows: Integers, bits: int) -> int:
        """The weights, and a select for each."""
        return (self.values.bits_of(self.stored(rows), bits)
                + self._entries(rows) * self.select_bits)

    def _entries(self, rows: Integers) -> int:
        """Weights that all groups store."""
        outputs, taps, channels = rows.shape
        return outputs * taps * -(-channels // self.m) * self.n

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

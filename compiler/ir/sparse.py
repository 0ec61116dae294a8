"""Encodings that store no zeros, or only some: each row of weights is a list of entries.

A place in a row is ``tap * pitch + channel``, where the pitch is the next power of two of the
channels, so that hardware splits a place by wiring.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .encoding import Codebook, Encoding, Plain, Stored, ValueEncoding
from .tensor import Integers, is_int, require

MAX_GAP_BITS = 16
"""The widest gap between two entries."""
RUNS_PER_FILLING = 64
"""So many runs there are for each that only fills a gap, at least."""


def pitch_of(channels: int) -> int:
    """Places from one tap to the next."""
    return 1 << (channels - 1).bit_length()


@dataclass(frozen=True, eq=False)
class Walk:
    """The entries that hardware meets, output after output: each a weight and its place.

    ``lengths`` (outputs,) are the entries of each output, at least one; ``places`` (entries,) and
    ``values`` (entries,) tell of each entry. An entry may be filling: its weight is 0, and its
    place may lie behind the channels of its tap, before the next pitch.
    """

    lengths: Integers
    places: Integers
    values: Integers

    @property
    def stored(self) -> Integers:
        """The weights that memory holds, in the order of the entries."""
        return self.values


@dataclass(frozen=True, eq=False)
class GapWalk(Walk):
    """Entries in runs of equal length: of each run memory holds a flag, a gap and the weights.

    ``gaps`` (runs,) are the places, of a kernel list the channels, that are skipped since the run
    before, or since the beginning of the output.
    """

    gaps: Integers

    @classmethod
    def of(cls, runs: Integers, gaps: Integers, values: Integers, pitch: int) -> GapWalk:
        """So many ``runs`` (outputs,) of each output, their ``gaps`` (runs,), and their ``values``
        (runs, weights), whose places are a ``pitch`` apart."""
        run = values.shape[1]
        steps = np.cumsum(gaps + 1)
        before = np.append(0, steps[np.cumsum(runs)[:-1] - 1])
        firsts = steps - np.repeat(before, runs) - 1
        places = firsts[:, None] + np.arange(run) * pitch
        return cls(runs * run, places.reshape(-1), values.reshape(-1), gaps)

    @property
    def last(self) -> NDArray[np.bool_]:
        """Whether each run (runs,) ends its output."""
        run = len(self.values) // len(self.gaps)
        last = np.zeros(len(self.gaps), bool)
        last[np.cumsum(self.lengths) // run - 1] = True
        return last


class Sparse(Encoding):
    """What stores the ``values`` of some places only, and where these are."""

    stem: ClassVar[str]
    """What users call it, whatever stores its values."""
    values: ValueEncoding

    def __post_init__(self) -> None:
        require(isinstance(self.values, ValueEncoding),
                f"weights: values of the encoding {self.stem} must be stored plain or by a "
                f"codebook, not as {self.values!r:.60}")

    @property
    def name(self) -> str:
        """``stem``, and whether a codebook stores its values."""
        return f"{self.stem}+codebook" if isinstance(self.values, Codebook) else self.stem

    @classmethod
    @abstractmethod
    def best(cls, rows: Integers, bits: int, values: ValueEncoding) -> Self:
        """The one of fewest memory bits for ``rows``, whose weights need ``bits``."""

    @abstractmethod
    def walk(self, rows: Integers) -> Walk:
        """The entries of ``rows`` (outputs, taps, channels)."""


class _Marks(NamedTuple):
    """Where the runs of all outputs are, in ascending order, before gaps are filled.

    An output without a run has one that is ``filling``, at its place 0.
    """

    outputs: Integers  # (marks,) the output of each
    gaps: Integers  # (marks,) the places skipped before it
    filling: NDArray[np.bool_]  # (marks,)
    kept: Integers  # (marks that are no filling, weights of a run)

    @classmethod
    def of(cls, outputs: Integers, places: Integers, kept: Integers, count: int) -> _Marks:
        """The runs ``kept`` at ``places`` of ``outputs``, of which there is a ``count``."""
        empty = np.flatnonzero(np.bincount(outputs, minlength=count) == 0)
        at = np.searchsorted(outputs, empty)
        filling = np.insert(np.zeros(len(outputs), bool), at, True)
        outputs, places = np.insert(outputs, at, empty), np.insert(places, at, 0)
        first = np.diff(outputs, prepend=-1) != 0
        gaps = np.where(first, places, np.diff(places, prepend=0) - 1)
        return cls(outputs, gaps, filling, kept)

    def filled(self, gap_bits: int) -> Stored:
        """All weights in memory where gaps have so many bits."""
        fillings = int((self.gaps >> gap_bits).sum() + self.filling.sum())
        return Stored(self.kept, fillings * self.kept.shape[1])


@dataclass(frozen=True)
class _Gapped(Sparse):
    """Runs of weights, before each a gap: how many places are skipped, in ``gap_bits``.

    A gap that does not fit is filled with runs of zeros, each behind the longest gap.
    """

    gap_bits: int
    values: ValueEncoding = field(default_factory=Plain)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(is_int(self.gap_bits) and 1 <= self.gap_bits <= MAX_GAP_BITS,
                f"weights: gap bits of the encoding {self.stem} must be an integer from 1 to "
                f"{MAX_GAP_BITS}, not {self.gap_bits!r:.40}")

    @classmethod
    @abstractmethod
    def _marks(cls, rows: Integers) -> _Marks:
        """The runs of ``rows``."""

    @classmethod
    def best(cls, rows: Integers, bits: int, values: ValueEncoding) -> Self:
        """The one whose gaps have the width that takes the fewest memory bits, filling counted.

        Filling costs cycles, too, so of all runs it is at most one in `RUNS_PER_FILLING`.
        """
        marks = cls._marks(rows)
        least = next(width for width in range(1, MAX_GAP_BITS + 1) if width == MAX_GAP_BITS
                     or (marks.gaps >> width).sum() * RUNS_PER_FILLING <= len(marks.gaps))
        choices = (cls(gap_bits, values) for gap_bits in range(least, MAX_GAP_BITS + 1))
        return min(choices, key=lambda choice: choice._bits(marks, bits))

    def check(self, rows: Integers) -> None:
        """Refuse weights whose values cannot be stored."""
        self.values.check_stored(self.stored(rows))

    def stored(self, rows: Integers) -> Stored:
        """The weights of all runs, filling as well."""
        return self._marks(rows).filled(self.gap_bits)

    def memory_bits(self, rows: Integers, bits: int) -> int:
        """Flags, gaps and weights of all runs."""
        return self._bits(self._marks(rows), bits)

    def _bits(self, marks: _Marks, bits: int) -> int:
        stored = marks.filled(self.gap_bits)
        runs = stored.count // marks.kept.shape[1]
        return runs * (1 + self.gap_bits) + self.values.bits_of(stored, bits)

    def walk(self, rows: Integers) -> GapWalk:
        """The entries of ``rows`` (outputs, taps, channels)."""
        marks = self._marks(rows)
        run = marks.kept.shape[1]
        counts = (marks.gaps >> self.gap_bits) + 1
        longest = (1 << self.gap_bits) - 1
        gaps = np.full(counts.sum(), longest)
        ends = np.cumsum(counts) - 1
        gaps[ends] = marks.gaps & longest
        values = np.zeros((len(gaps), run), np.int64)
        values[ends[~marks.filling]] = marks.kept

        runs = np.bincount(np.repeat(marks.outputs, counts))
        return GapWalk.of(runs, gaps, values, pitch_of(rows.shape[2]))


@dataclass(frozen=True)
class RelativeIndex(_Gapped):
    """An entry for each non-zero weight: whether it ends its output, its gap, and its value.

    The gap counts the places skipped since the entry before, from place -1 of each output on. An
    output without non-zero weights has one filling. As in Deep Compression (Han, arXiv 1510.00149).
    """

    stem = "relative"

    @classmethod
    def _marks(cls, rows: Integers) -> _Marks:
        outputs, taps, channels = np.nonzero(rows)
        places = taps * pitch_of(rows.shape[2]) + channels
        return _Marks.of(outputs, places, rows[outputs, taps, channels][:, None], len(rows))


@dataclass(frozen=True)
class KernelList(_Gapped):
    """A slice of all taps for each channel that an output reads: last flag, gap, and its weights.

    The gap counts the channels skipped since the slice before, from channel -1 of each output on.
    Zeros within a slice are stored; an output that reads nothing has one slice of zeros. As in
    Mao (arXiv 1705.08922), whose kernels are pruned whole.
    """

    stem = "kernels"

    @classmethod
    def _marks(cls, rows: Integers) -> _Marks:
        outputs, channels = np.nonzero(rows.any(1))
        return _Marks.of(outputs, channels, rows[outputs, :, channels], len(rows))

"""Weights that are stored input after input, for hardware that skips inputs which are 0."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from .encoding import Codebook, Encoding, Plain, Stored, ValueEncoding
from .sparse import GapWalk, RelativeIndex
from .tensor import Integers, require


@dataclass(frozen=True)
class Columns(Encoding):
    """Of each input, the weights other than 0: a gap and a value each, and where they begin.

    The outputs are dealt to processing elements, each of which stores the weights of its own,
    column by column: a gap counts those of its outputs that are skipped since the entry before, in
    bits that it chooses, and a pointer tells where the entries of a column are. As in EIE (Han
    2016, arXiv 1602.01528), for dense layers and 1×1 convolutions. Whatever the elements, a
    codebook has a code for the zeros that fill gaps. Memory bits are those of one element that has
    all outputs.
    """

    values: ValueEncoding = field(default_factory=Plain)

    def __post_init__(self) -> None:
        require(isinstance(self.values, ValueEncoding),
                f"weights: values of the encoding columns must be stored plain or by a codebook, "
                f"not as {self.values!r:.60}")

    @property
    def name(self) -> str:
        """``columns``, and whether a codebook stores its values."""
        return f"columns{'+codebook' if isinstance(self.values, Codebook) else ''}"

    def check(self, rows: Integers) -> None:
        """Refuse kernels of several taps, and values that cannot be stored."""
        require(rows.shape[1] == 1, "weights: only those of a dense layer or a 1×1 convolution can "
                                    f"have the encoding {self.name}; store them plain or by a "
                                    "codebook")
        self.values.check_stored(Stored(rows[rows != 0], 1))

    def stored(self, rows: Integers) -> Stored:
        """The weights other than 0; how many zeros fill gaps is up to the elements."""
        return Stored(rows[rows != 0])

    def memory_bits(self, rows: Integers, bits: int) -> int:
        """Entries and pointers of one element."""
        columns = rows.transpose(2, 1, 0)
        index = best_index(columns, bits, self.values)
        walk = gap_walk(index, columns)
        return (len(walk.gaps) * index.gap_bits
                + self.values.bits_of(Stored(walk.stored), bits)
                + len(walk.lengths) * sum(pointer_bits(walk.lengths)))


def best_index(columns: Integers, bits: int, values: ValueEncoding) -> RelativeIndex:
    """Gaps of the width that takes the fewest memory bits for ``columns`` (columns, 1, rows)."""
    return RelativeIndex.best(columns[columns.any((1, 2))], bits, values)


def gap_walk(index: RelativeIndex, columns: Integers) -> GapWalk:
    """The entries of ``columns`` (columns, 1, rows), one behind the other.

    What the encoding ends an empty column with is left out: no input waits for it.
    """
    walk, some = index.walk(columns), columns.any((1, 2))
    kept = np.repeat(some, walk.lengths)
    return replace(walk, lengths=walk.lengths * some, places=walk.places[kept],
                   values=walk.values[kept], gaps=walk.gaps[kept])


def pointer_bits(lengths: Integers) -> tuple[int, int]:
    """Bits that tell how many entries a column has, and where these begin."""
    return max(1, int(lengths.max()).bit_length()), max(0, int(lengths.sum()) - 1).bit_length()

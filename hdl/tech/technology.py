"""What every FPGA family offers: multipliers and memories with registers in known places."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import wiring

from .count import DifferenceCounter
from .select import SelectedSum, Selection

__all__ = ["MemoryStyle", "Technology"]


class MemoryStyle(enum.Enum):
    """Where a memory lives."""

    BLOCK = "block"
    DISTRIBUTED = "distributed"
    LOGIC = "logic"


class Technology(ABC):
    """Maker of the cells that differ from family to family.

    The components of all families have the same members, the same values and the same latency, so
    that a design, its simulation and its golden model do not know which family they run on.
    """

    @abstractmethod
    def multiplier(self, a: ShapeLike, b: ShapeLike, *, dsp: bool) -> wiring.Component:
        """Multiplier ``p = a * b``: latency 2, one product a cycle, never stalls.

        Parameters
        ----------
        a, b : shapes of the operands, signed or not, 1 to 32 bits each.
        dsp : whether to take a DSP block; otherwise look-up tables only. Operands wider than the
            family's block are built from look-up tables, see `fits_dsp`.

        Members of the component
        ------------------------
        a, b : operands.
        p : their product, in a shape that holds every product; undefined for 2 cycles after reset.
        """

    @abstractmethod
    def low_product(self, bits: int) -> wiring.Component:
        """The lowest ``bits`` of a product, by look-up tables: latency 2, one a cycle.

        Members of the component
        ------------------------
        a, b : operands, In(bits).
        p : Out(bits), the same whatever the signs of the operands.
        """

    @abstractmethod
    def fits_dsp(self, a: ShapeLike, b: ShapeLike) -> bool:
        """Whether `multiplier` makes one DSP block of these operands."""

    @abstractmethod
    def difference_counter(self, terms: int, total_bits: int) -> DifferenceCounter:
        """Accumulated count of differing bits, the dot product of signs; see the class."""

    @abstractmethod
    def selected_sum(self, terms: int, bits: int, selection: Selection, total_bits: int
                     ) -> SelectedSum:
        """Accumulated sum of terms that codes choose, see the class."""

    @abstractmethod
    def rom(self, words: Sequence[int], width: int, style: MemoryStyle, *,
            registered: bool = False) -> wiring.Component:
        """Read-only memory of ``words``: latency 1 (2 if ``registered``), one word a cycle.

        Parameters
        ----------
        words : contents, each within ``range(2**width)``; at least one.
        width : bits a word.
        style : where it lives; DISTRIBUTED and LOGIC are look-up tables both.
        registered : adds an output register, which block RAMs have in silicon.

        Members of the component
        ------------------------
        address : In(range(len(words))); the word at an address past the end is undefined.
        enable : In(1), 1 unless connected; all registers hold while it is 0.
        data : Out(width); undefined before the first enabled cycle.
        """

    @abstractmethod
    def ram(self, width: int, depth: int, style: MemoryStyle, *, granularity: int | None = None,
            registered: bool = False) -> wiring.Component:
        """Memory with one write and one read port: latency 1 (2 if ``registered``).

        A read of the very address that is written in the same cycle gives an undefined word;
        contents are undefined until written.

        Parameters
        ----------
        width : bits a word.
        depth : words.
        style : where it lives; a family without distributed RAM takes flip-flops.
        granularity : bits that are written together, a divisor of the width; None for all.
        registered : adds an output register, which block RAMs have in silicon.

        Members of the component
        ------------------------
        write_address : In(range(depth)).
        write_data : In(width).
        write_enable : In(width // granularity), the lowest bits first.
        read_address : In(range(depth)).
        read_enable : In(1), 1 unless connected; the read registers hold while it is 0.
        read_data : Out(width).
        """

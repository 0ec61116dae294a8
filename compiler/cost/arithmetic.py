"""What arithmetic costs: multipliers, adder trees, counters of signs, sums of chosen terms."""

from __future__ import annotations

from dataclasses import dataclass

from .fabric import Fabric
from .resources import Resources


def multiplier(fabric: Fabric, a_bits: int, b_bits: int) -> Resources:
    """Cells of a multiplier built from logic.

    Partial-product rows of the wider operand are added pairwise; the carry chain's own tables form
    the products, so each pair of rows costs one adder. A register lies half-way, another behind.
    """
    wide, rows = max(a_bits, b_bits), min(a_bits, b_bits)
    levels = (rows - 1).bit_length()
    luts, ffs, terms = 0, 0 if levels > 1 else a_bits + b_bits, rows
    for level in range(1, levels + 1):
        pairs, odd = divmod(terms, 2)
        luts += pairs * (wide + (1 << level - 1) + 1)
        if level == levels // 2:
            ffs += pairs * (wide + (1 << level)) + odd * (wide + 1)
        terms = pairs + odd
    return Resources(luts=round(fabric.product_bit * luts), ffs=ffs + a_bits + b_bits)


def adder_tree(fabric: Fabric, terms: int, bits: int) -> Resources:
    """Cells of a sum of ``terms`` integers of ``bits`` bits, a register after each level."""
    luts = ffs = 0
    while terms > 1:
        bits += 1
        luts += terms // 2 * bits
        # An odd term is only delayed, at the width that it has.
        ffs += terms // 2 * bits + terms % 2 * (bits - 1)
        terms = (terms + 1) // 2
    return Resources(luts=round(fabric.adder_bit * luts), ffs=ffs)


@dataclass(frozen=True)
class Counter:
    """A counter of differing signs, as an ECP5 has it: halves of the cells of its carry chains,
    flip-flops, and as many more for each operand, whose signs are ``held`` back.

    What starts the carry of one sum takes the carry out of another.
    """

    slots: int
    ffs: int
    held: int

    @classmethod
    def of(cls, terms: int, total_bits: int) -> Counter:
        """The counter that accumulates the differences of so many ``terms``; see `hdl.tech`."""
        tree, levels = cls._tree(terms - 1)
        return cls(_chained(tree.slots + 1 + total_bits), tree.ffs + total_bits,
                   tree.held + (levels + 1 if terms > 1 else 0))

    def luts(self, fabric: Fabric) -> float:
        """LUTs of the carry chains."""
        return self.slots * fabric.count_bit

    @classmethod
    def _tree(cls, terms: int) -> tuple[Counter, int]:
        """The adders that count ``terms`` differences, and their levels behind the first."""
        bits = terms.bit_length()
        if terms <= 3:
            return cls(min(terms, 2), bits, 0), 0
        # Two counts, the larger first, and a sign that is carried into their sum.
        sizes = terms // 2, (terms - 1) // 2
        (large, levels), (small, fewer) = (cls._tree(size) for size in sizes)
        larger_bits, smaller_bits = (size.bit_length() for size in sizes)
        waits = (levels - fewer) * smaller_bits
        return cls(large.slots + small.slots + 1 + larger_bits,
                   large.ffs + small.ffs + bits + waits, large.held + small.held + levels + 1
                   ), levels + 1


def _chained(slots: int) -> int:
    """``slots`` of sums on chains of 40, with what ends each, in pairs as an ECP5 has them."""
    whole = slots + -(-slots // 40)
    return whole + whole % 2


@dataclass(frozen=True)
class SelectedSum:
    """LUTs and flip-flops of an accumulated sum of terms that codes choose, see `hdl.tech`."""

    luts: float
    ffs: int

    @classmethod
    def of(cls, fabric: Fabric, terms: int, bits: int, total_bits: int, *, both: bool
           ) -> SelectedSum:
        """The sum of ``terms`` of ``bits`` bits; of ``both``, a code gates and complements."""
        selecting = terms * bits
        if fabric.chain_selects:
            # Of two terms, a carry chain cannot both gate and complement but one.
            selecting = (terms + 1) // 2 * bits if both else terms % 2 * bits
        slots, ffs = _chained(total_bits), total_bits
        while terms > 1:
            pairs, odd = divmod(terms, 2)
            slots += _chained(pairs * (bits + 1))
            terms = pairs + odd
            bits += 1
            ffs += terms * bits
        return cls(selecting + slots * fabric.adder_bit, ffs)

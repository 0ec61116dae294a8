"""What arithmetic costs: multipliers, adder trees, counters of signs, sums of chosen terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from .fabric import Fabric
from .resources import Resources


@lru_cache(maxsize=8192)
def multiplier(fabric: Fabric, a_bits: int, b_bits: int, *, constant: bool = False,
               bits: int | None = None) -> Resources:
    """Cells of a multiplier built from logic; ``constant`` says that an operand never changes.

    Only the lowest ``bits`` of products are wanted, if it is said.

    Partial-product rows of the wider operand are added pairwise; the carry chain's own tables form
    the products, so each pair of rows costs one adder. A register lies half-way, another behind.
    """
    wide, rows = max(a_bits, b_bits), min(a_bits, b_bits)
    levels, kept = (rows - 1).bit_length(), a_bits + b_bits if bits is None else bits
    ffs = kept + (0 if levels > 1 else a_bits + b_bits)
    terms, luts = [range(row, row + 1) for row in range(rows)], 0.0
    for level in range(1, levels + 1):
        # Such rows are in a term; the lowest bits of a sum are those of its lower one.
        pairs = list(zip(terms[::2], terms[1::2], strict=False))
        luts += sum(_row_sum(fabric, min(wide + len(high), kept - high.start)) for _, high in pairs)
        terms = [range(low.start, high.stop) for low, high in pairs] + terms[len(pairs) * 2 :]
        if level == levels // 2:
            # A row that waits takes its bit of the other operand along.
            ffs += sum(min(wide + len(term), kept - term.start) for term in terms)
    share = fabric.logic.constant if constant else 1.0
    # The lowest bits of the first sums are products themselves.
    return Resources(luts=round(share * (luts + fabric.logic.product * (rows // 2))), ffs=ffs)


def _row_sum(fabric: Fabric, bits: int) -> float:
    """LUTs of a sum of partial products, of such ``bits`` as both have.

    Where tables of a chain choose what they add, half of a cell that is left starts the carry, and
    a single bit takes no chain.
    """
    slots = fabric.whole_chain(bits)
    started = fabric.silicon.chain_selects and slots > bits
    return fabric.logic.product * (min(bits, 1) if started and bits == 1 else slots) + (
        0 if started else fabric.logic.chain)


def choice(fabric: Fabric, inputs: int) -> float:
    """LUTs of a bit that is chosen among so many ``inputs``."""
    return max(0, inputs - 1) * fabric.logic.mux


@lru_cache(maxsize=8192)
def adder_tree(fabric: Fabric, terms: int, bits: int) -> Resources:
    """Cells of a sum of ``terms`` integers of ``bits`` bits, a register after each level."""
    luts, ffs = 0.0, 0
    while terms > 1:
        bits += 1
        luts += fabric.sums(bits, terms // 2)
        # An odd term is only delayed, at the width that it has.
        ffs += terms // 2 * bits + terms % 2 * (bits - 1)
        terms = (terms + 1) // 2
    return Resources(luts=round(luts), ffs=ffs)


@dataclass(frozen=True)
class Levels:
    """So many ``sums``, with bits of ``adders`` and of ``registers``, of a sum of terms with a
    register behind each level of its tree."""

    sums: int
    adders: int
    registers: int

    def luts(self, fabric: Fabric) -> float:
        """LUTs of the adders."""
        return self.adders * fabric.logic.adder + self.sums * fabric.logic.chain

    @classmethod
    def of(cls, fabric: Fabric, terms: Sequence[range], levels: int, wanted: range, *,
           alike: bool = False) -> Levels:
        """The sum of ``terms``, which have bits at such places, the lowest place first.

        It takes so many ``levels``, of which the last ones may only delay. Only the places that are
        ``wanted`` are looked at. If terms are ``alike``, all of them the same but for their places,
        so are the sums of those that are as far apart, and of these there is one.
        """
        count = adders = registers = 0
        # Where a term's parts are, counted from its lowest bit.
        parts: list[tuple[range, tuple[int, ...]]] = [(term, (0,)) for term in terms]
        for _ in range(levels):
            sums: list[tuple[range, tuple[int, ...]]] = []
            made = set()
            for (low, places), *rest in (parts[n : n + 2] for n in range(0, len(parts), 2)):
                end = min(wanted.stop, max([low.stop, *(high.stop + 1 for high, _ in rest)]))
                start = max(low.start, wanted.start) if len(parts) <= 2 else low.start
                for high, others in rest:
                    places += tuple(high.start - low.start + place for place in others)
                sums.append((range(start, max(start, end)), places))
                key = end - start, places
                if alike and key in made:
                    continue
                made.add(key)
                count += len(rest)
                adders += sum(fabric.whole_chain(end - high.start) for high, _ in rest)
                registers += len(sums[-1][0])
            parts = sums
        return cls(count, adders, registers)


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
    def of(cls, fabric: Fabric, terms: int, total_bits: int) -> Counter:
        """The counter that accumulates the differences of so many ``terms``; see `hdl.tech`."""
        tree, levels = cls._tree(terms - 1)
        return cls(_chained(fabric, tree.slots + 1 + total_bits), tree.ffs + total_bits,
                   tree.held + (levels + 1 if terms > 1 else 0))

    def luts(self, fabric: Fabric) -> float:
        """LUTs of the carry chains."""
        return self.slots * fabric.logic.count

    @classmethod
    def _tree(cls, terms: int) -> tuple[Counter, int]:
        """The adders that count ``terms`` differences, and their levels behind the first."""
        bits = terms.bit_length()
        if bits <= 2:
            return cls(min(terms, 2), bits, 0), 0
        # Two counts, the larger first, and a sign that is carried into their sum.
        sizes = terms // 2, (terms - 1) // 2
        (large, levels), (small, fewer) = (cls._tree(size) for size in sizes)
        larger_bits, smaller_bits = (size.bit_length() for size in sizes)
        waits = (levels - fewer) * smaller_bits
        return cls(large.slots + small.slots + 1 + larger_bits,
                   large.ffs + small.ffs + bits + waits, large.held + small.held + levels + 1
                   ), levels + 1


def _chained(fabric: Fabric, slots: int) -> int:
    """``slots`` of sums on chains, with what ends each."""
    return fabric.whole_chain(slots + -(-slots // fabric.silicon.chain_slots))


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
        if fabric.silicon.chain_selects:
            # Of two terms, a carry chain cannot both gate and complement but one.
            selecting = (terms + 1) // 2 * bits if both else terms % 2 * bits
        slots, ffs = _chained(fabric, total_bits), total_bits
        while terms > 1:
            pairs, odd = divmod(terms, 2)
            slots += _chained(fabric, pairs * (bits + 1))
            terms = pairs + odd
            bits += 1
            ffs += terms * bits
        return cls(selecting + slots * fabric.logic.adder, ffs)

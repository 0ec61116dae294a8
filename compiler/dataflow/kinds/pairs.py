"""Outputs that share DSP blocks by two: which do, and what that costs."""

from __future__ import annotations

from functools import lru_cache

from ....hdl.dot_array import Pairs
from ....hdl.paired_sum import PairShape
from ....hdl.tech import MULTIPLIER_LATENCY
from ...cost import Fabric, Resources, arithmetic
from ..fold import Fold
from .ask import Ask


def pairs_of(ask: Ask, fold: Fold, a_bits: int, b_bits: int) -> tuple[Pairs, int] | None:
    """As many pairs of outputs under ``fold`` as there are DSP blocks for, and all blocks, those of
    other outputs too; None where there can be no pair.

    Products that overlap take look-up tables, so that DSP blocks must be dear.
    """
    pair = PairShape.of(a_bits, b_bits, fold.simd, ask.fabric.silicon.dsp_widths[1])
    if pair is None or (pair.overlap and not ask.dear_dsps):
        return None
    if not ask.fabric.fits_dsp(a_bits, pair.operand_bits):
        return None
    count = ask.blocks(fold.pe // 2 * fold.simd) // fold.simd
    if not count:
        return None
    others = (fold.pe - 2 * count) * fold.simd if ask.fabric.fits_dsp(a_bits, b_bits) else 0
    return Pairs(count, pair), ask.blocks(count * fold.simd + others)


@lru_cache(maxsize=8192)
def pair_cells(fabric: Fabric, pairs: Pairs, terms: int, *, signed: bool) -> Resources:
    """Multipliers, adder trees and what parts their sums, for outputs of so many ``terms``.

    Inputs are ``signed`` or not; sums of them are made once for all pairs.
    """
    shape = pairs.shape
    parts = [min(shape.most_terms, terms - start) for start in range(0, terms, shape.most_terms)]
    whole = arithmetic.adder_tree(fabric, len(parts), shape.product_bits + shape.levels) * 2
    once = Resources(ffs=MULTIPLIER_LATENCY * shape.sums_bits(terms))
    for part in parts:
        whole += _sum_cells(fabric, shape, part, signed)
        once += arithmetic.adder_tree(fabric, part, shape.a_bits)
    return whole * pairs.count + once


def _sum_cells(fabric: Fabric, shape: PairShape, terms: int, signed: bool) -> Resources:
    """Those of a `PairedSum`."""
    bits, overlap = shape.a_bits + shape.operand_bits, shape.overlap
    o_bits = shape.product_bits + shape.levels
    # Each term: a block, and weights in front of it, of which a sign is turned over.
    each, beyond = Resources(luts=1, ffs=2 * shape.b_bits, dsps=1), Resources()
    luts = fabric.sums(o_bits - shape.b_bits + 1)
    if overlap:
        bits += shape.levels
        each += (arithmetic.multiplier(fabric, overlap, overlap, bits=overlap)
                 + Resources(luts=round(fabric.sums(overlap))))
        beyond = arithmetic.adder_tree(fabric, terms, overlap)
        luts += fabric.sums(overlap + shape.levels)
    if overlap or signed:
        luts += fabric.sums(o_bits)
    return (each * terms + arithmetic.adder_tree(fabric, terms, bits) + beyond
            + Resources(luts=round(luts), ffs=2 * o_bits))

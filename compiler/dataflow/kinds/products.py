"""What the engines with multipliers cost, whichever way their inputs come."""

from __future__ import annotations

from ....hdl.engine import EngineShape
from ...cost import Fabric, Resources, Storage, arithmetic, memories


def product_cells(fabric: Fabric, frame: EngineShape, *, multipliers: int, dsps: int, a_bits: int,
                  b_bits: int, total_bits: int) -> Resources:
    """Cells of ``pe`` outputs of ``simd`` terms each, without their weights and their frame.

    ``dsps`` of the ``multipliers`` are DSP blocks, whose registers are in silicon; those of the
    inputs' delay are not.
    """
    pe, simd, soft = frame.pe, frame.simd, multipliers - dsps
    cells = Resources(dsps=dsps) + arithmetic.multiplier(fabric, a_bits, b_bits) * soft
    cells += arithmetic.adder_tree(fabric, simd, a_bits + b_bits) * pe
    bias = memories.sequencer(fabric, Storage.LOGIC, frame.groups, pe * total_bits)
    # Each output: accumulator with the choice of the bias, and the drain's shift register.
    accumulators = pe * total_bits * (fabric.adder_bit + 2 * fabric.mux_bit)
    # Each output: accumulator and shift register; each weight and product; each input.
    ffs = (2 * pe * total_bits + dsps * (a_bits + 2 * b_bits) + soft * 2 * b_bits
           + (4 if soft else 3) * simd * a_bits)
    return cells + bias + Resources(luts=round(accumulators), ffs=ffs)

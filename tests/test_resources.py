"""The resource model where it must be exact."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from penjing import boards
from penjing.boards.families import FAMILIES, Family
from penjing.compiler import ir
from penjing.compiler.cost import Resources
from penjing.compiler.cost.families import ECP5, ICE40
from penjing.compiler.cost.memories import rom_blocks
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.plan import Fold
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Network, TensorType
from penjing.hdl.emit import emit
from penjing.hdl.tech import Ecp5, MemoryStyle
from penjing.hdl.tech.ecp5_memory import rom_depth

WIDTHS = range(1, 19)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_plan_and_hardware_agree_on_what_a_dsp_block_multiplies(family: Family) -> None:
    technology = family.technology()
    for a in WIDTHS:
        for b in WIDTHS:
            for shape in (signed(a), unsigned(a)):
                assert family.fabric.fits_dsp(a, b) == technology.fits_dsp(shape, signed(b)), (
                    f"{shape!r} times {b} bits")


@pytest.mark.parametrize(("depth", "width"), [
    (1, 1), (512, 36), (513, 36), (1317, 224), (1490, 88), (2304, 8), (5958, 9), (8192, 36),
    (8192, 72), (16384, 1), (16385, 2), (40000, 1)])
def test_plan_and_hardware_agree_on_blocks_of_constants(depth: int, width: int) -> None:
    rom = Ecp5().rom([0] * depth, width, MemoryStyle.BLOCK, registered=True)
    assert emit(rom, "rom").text.count("DP16KD") == rom_blocks(ECP5, depth, width)[0]


def test_few_banks_are_worth_a_few_blocks() -> None:
    # 16 banks of 512 words would do with 16 blocks, and a choice of one in 16 behind each bit.
    assert rom_depth(8192, 36) == 8192
    # Twice the blocks would be too many.
    assert rom_depth(5958, 88) == 2048


@pytest.mark.parametrize(("bits", "weight_bits", "dsps"), [(8, 8, 4), (4, 4, 0), (8, 2, 0),
                                                          (9, 2, 4), (17, 8, 0)])
def test_narrow_products_take_no_dsp_of_an_ice40(bits: int, weight_bits: int, dsps: int) -> None:
    weights = np.tile(np.arange(-2, 2), (4, 2))  # of more than three values, which multiply
    layer = ir.Dense("dense", "x", ir.Weights(weights, weight_bits), np.zeros(4, np.int64))
    network = Network("net", "x", TensorType((1, 1, 8), bits, False), (layer,))
    has = boards.find("icebreaker").budget
    plan = schedule(network, Budget(ICE40, Resources(has.luts, has.ffs, has.dsps, has.brams),
                                    has.dsps), Goal(folds={"dense": Fold(2, 1, 2)}))
    assert plan.multipliers == 4
    assert plan.resources.dsps == plan.layers[0].kind.dsps == dsps


@pytest.mark.parametrize("shift", [1, 5, 6, 14])
def test_a_shift_that_leaves_no_bit_has_no_less_than_no_cells(shift: int) -> None:
    layer = ir.ShiftRequantize("shift", "x", shift, 1, False)
    network = Network("net", "x", TensorType((1, 1, 6), 5, False), (layer,))
    cells = schedule(network, Budget(ECP5, Resources(10**6, 10**6, 0, 0), 0)).resources
    assert min(cells.luts, cells.ffs) > 0

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
from penjing.compiler.cost.memories import bank_words, ram_blocks, rom_blocks, rom_columns
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.plan import Fold
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Network, TensorType
from penjing.hdl.emit import emit
from penjing.hdl.sequencer import Sequencer
from penjing.hdl.tech import BANK_WORDS, Ecp5, MemoryStyle
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


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_plan_and_hardware_agree_on_banks_of_tables(family: Family) -> None:
    assert bank_words(family.fabric) == BANK_WORDS


@pytest.mark.parametrize(("depth", "width", "fewer"), [
    (24544, 13, 3), (33642, 13, 9), (22444, 16, 2), (2048, 9, 0), (512, 36, 0), (1000, 40, 0)])
def test_columns_of_their_own_shapes_take_fewer_blocks(depth: int, width: int, fewer: int) -> None:
    columns = rom_columns(ECP5, depth, width)
    assert sum(columns) == width
    blocks = sum(rom_blocks(ECP5, depth, column)[0] for column in columns)
    assert rom_blocks(ECP5, depth, width)[0] - blocks == fewer
    words = Sequencer([0] * depth, width, style=MemoryStyle.BLOCK, technology=Ecp5(),
                      columns=columns)
    assert emit(words, "words").text.count("DP16KD #(") == blocks
    # Where synthesis chooses the shapes, it is given the whole.
    assert rom_columns(ICE40, depth, width) == (width,)


@pytest.mark.parametrize(("depth", "width", "parts"), [
    (256, 8, 8), (512, 8, 4), (512, 9, 5), (512, 11, 3), (1024, 8, 16), (2048, 8, 4), (4096, 8, 2),
    (8192, 3, 2), (20000, 2, 3), (300, 40, 1)])
def test_plan_and_hardware_agree_on_blocks_that_are_written_in_parts(depth: int, width: int,
                                                                     parts: int) -> None:
    ram = Ecp5().ram(width * parts, depth, MemoryStyle.BLOCK, granularity=width, registered=True)
    assert emit(ram, "ram").text.count("DP16KD #(") == ram_blocks(ECP5, depth, width, parts)


def test_few_banks_are_worth_a_few_blocks() -> None:
    # 16 banks of 512 words would do with 16 blocks, and a choice of one in 16 behind each bit.
    assert rom_depth(8192, 36) == 8192
    # Twice the blocks would be too many.
    assert rom_depth(5958, 88) == 2048


@pytest.mark.parametrize(("bits", "weight_bits", "dsps"), [(8, 8, 4), (4, 4, 0), (8, 2, 0),
                                                          (9, 2, 2), (17, 8, 0)])
def test_narrow_products_take_no_dsp_of_an_ice40(bits: int, weight_bits: int, dsps: int) -> None:
    weights = np.tile(np.arange(-2, 2), (4, 2))  # of more than three values, which multiply
    layer = ir.Dense("dense", "x", ir.Weights(weights, weight_bits), np.zeros(4, np.int64))
    network = Network("net", "x", TensorType((1, 1, 8), bits, False), (layer,))
    has = boards.find("icebreaker").budget
    plan = schedule(network, Budget(ICE40, Resources(has.luts, has.ffs, has.dsps, has.brams),
                                    has.dsps), Goal(folds={"dense": Fold(2, 1, 2)}))
    # Of 9 and 2 bits, a block makes two products.
    assert plan.multipliers == (2 if (bits, weight_bits) == (9, 2) else 4)
    assert plan.resources.dsps == plan.layers[0].kind.dsps == dsps


@pytest.mark.parametrize("shift", [1, 5, 6, 14])
def test_a_shift_that_leaves_no_bit_has_no_less_than_no_cells(shift: int) -> None:
    layer = ir.ShiftRequantize("shift", "x", shift, 1, False)
    network = Network("net", "x", TensorType((1, 1, 6), 5, False), (layer,))
    cells = schedule(network, Budget(ECP5, Resources(10**6, 10**6, 0, 0), 0)).resources
    assert min(cells.luts, cells.ffs) > 0

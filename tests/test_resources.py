"""The resource model where it must be exact."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from penjing import boards
from penjing.compiler import ir
from penjing.compiler.ir import Network, TensorType
from penjing.compiler.plan import Fold, Resources
from penjing.compiler.resources import MODELS, Family, blocks, fits_dsp
from penjing.compiler.schedule import Budget, Goal, schedule
from penjing.hdl.emit import emit
from penjing.hdl.tech import Ecp5, Generic, Ice40, MemoryStyle, Technology
from penjing.hdl.tech.ecp5_memory import rom_depth

TECHNOLOGIES: dict[Family, Technology] = {
    Family.ECP5: Ecp5(), Family.ICE40: Ice40(), Family.GENERIC: Generic()}
WIDTHS = range(1, 19)


@pytest.mark.parametrize("family", Family)
def test_plan_and_hardware_agree_on_what_a_dsp_block_multiplies(family: Family) -> None:
    technology, model = TECHNOLOGIES[family], MODELS[family]
    for a in WIDTHS:
        for b in WIDTHS:
            for shape in (signed(a), unsigned(a)):
                assert fits_dsp(model, a, b) == technology.fits_dsp(shape, signed(b)), (
                    f"{shape!r} times {b} bits")


@pytest.mark.parametrize(("depth", "width"), [
    (1, 1), (512, 36), (513, 36), (1317, 224), (1490, 88), (2304, 8), (5958, 9), (8192, 36),
    (8192, 72), (16384, 1), (16385, 2), (40000, 1)])
def test_plan_and_hardware_agree_on_blocks_of_constants(depth: int, width: int) -> None:
    rom = Ecp5().rom([0] * depth, width, MemoryStyle.BLOCK, registered=True)
    assert emit(rom, "rom").text.count("DP16KD") == blocks(MODELS[Family.ECP5], depth, width)


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
    plan = schedule(network, Budget(Family.ICE40, Resources(has.luts, has.ffs, has.dsps, has.brams),
                                    has.dsps), Goal(folds={"dense": Fold(2, 1, 2)}))
    assert plan.multipliers == 4
    assert plan.resources.dsps == plan.layers[0].dsp_multipliers == dsps

"""The resource model where it must be exact."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from penjing import boards
from penjing.compiler import ir
from penjing.compiler.ir import Network, TensorType
from penjing.compiler.plan import Fold, Resources
from penjing.compiler.resources import MODELS, Family, fits_dsp
from penjing.compiler.schedule import Budget, Goal, schedule
from penjing.hdl.tech import Ecp5, Generic, Ice40, Technology

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

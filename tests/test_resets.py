# amaranth: UnusedElaboratable=no
"""Registers of data have no reset: how many bits have one does not depend on the elements' width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Fragment, signed
from amaranth.hdl._ast import SignalSet
from engines import dot_engine, select_engine
from penjing.compiler import ir
from penjing.compiler.dataflow.columns import Columns, interleaved
from penjing.compiler.dataflow.kinds import column_engine
from penjing.hdl.add import Adder
from penjing.hdl.argmax import ArgMaxer
from penjing.hdl.crop import Axis, Cropper
from penjing.hdl.gearbox import Gearbox
from penjing.hdl.pad import Padder
from penjing.hdl.pool import AveragePooler, MaxPooler, SumPooler
from penjing.hdl.requantize import ShiftRequantizer
from penjing.hdl.running_pool import RunningMaxPooler, RunningShape
from penjing.hdl.scale import ScaleRequantizer
from penjing.hdl.skip import SkipBuffer
from penjing.hdl.slope import SlopeRequantizer
from penjing.hdl.stream import Beat, Buffer, Fork, HalfRateBuffer, Queue
from penjing.hdl.tech import Generic, MemoryStyle
from penjing.hdl.threshold import Thresholder
from penjing.hdl.upsizer import Upsizer
from penjing.hdl.window import Window
from penjing.hdl.window_geometry import WindowGeometry

SMALL: dict[str, Any] = {"style": MemoryStyle.LOGIC, "technology": Generic()}
ONES, ZEROS = np.ones((6, 2, 3), np.int64), np.zeros(3, np.int64)
BLOCKS: dict[str, Callable[[int], Any]] = {
    "buffer": lambda bits: Buffer(Beat(bits, 2)),
    "half rate buffer": lambda bits: HalfRateBuffer(Beat(bits, 2)),
    "queue": lambda bits: Queue(Beat(bits, 2), 5),
    "fork": lambda bits: Fork(Beat(bits, 2), 3),
    "skip buffer": lambda bits: SkipBuffer(Beat(bits, 2), 8, **SMALL),
    "gearbox": lambda bits: Gearbox(bits, i_lanes=2, o_lanes=3, i_group=6, o_group=6, frame=6),
    "upsizer": lambda bits: Upsizer(bits, i_lanes=2, o_lanes=4, o_group=8, frame=8),
    "adder": lambda bits: Adder(signed(bits), signed(bits), signed(bits + 1), lanes=2),
    "subtractor": lambda bits: Adder(signed(bits), signed(bits), signed(bits + 1), lanes=2,
                                     subtracts=True),
    "cropper": lambda bits: Cropper(signed(bits), lanes=2, channels=3, rows=Axis(5, 1, 4, 2),
                                    columns=Axis(4, 0, 4, 3)),
    "argmax": lambda bits: ArgMaxer(signed(bits), count=5),
    "shift": lambda bits: ShiftRequantizer(signed(bits), signed(bits - 2), lanes=2, shift=2, low=-2,
                                           high=3),
    "scale": lambda bits: ScaleRequantizer(
        signed(bits), signed(bits - 2), lanes=2, group=2, steps=3, multipliers=[3 << 29, 5 << 28],
        shifts=[0, -1], low=-2, high=3, **SMALL),
    "slope": lambda bits: SlopeRequantizer(
        signed(bits), signed(bits - 2), lanes=2, group=2, multipliers=[(3, 4)], offsets=[(5, 6)],
        breakpoints=[0], shift=2, low=-2, high=3, **SMALL),
    "threshold": lambda bits: Thresholder(
        signed(bits), signed(bits - 2), lanes=2, group=2, thresholds=[[-1, 1, 2]], falling=[False],
        base=0, step=1, **SMALL),
    "maximum": lambda bits: MaxPooler(signed(bits), lanes=2, area=4),
    "running": lambda bits: RunningMaxPooler(
        signed(bits), RunningShape((5, 4, 8), (2, 2), 2), **SMALL),
    "sum": lambda bits: SumPooler(signed(bits), lanes=2, area=4),
    "average": lambda bits: AveragePooler(signed(bits), lanes=2, area=9),
    "window": lambda bits: Window(signed(bits), WindowGeometry(
        (4, 5, 3), (3, 3), (1, 1), (1, 1, 1, 1), 2, 2), depth=32, **SMALL),
    "pad": lambda bits: Padder(signed(bits), (3, 3, 2), (1, 0, 1, 0), fill=0, lanes=2, depth=16,
                               **SMALL),
    "dot": lambda bits: dot_engine(signed(bits), ONES, 4, ZEROS, 3 * bits),
    "broadcast": lambda bits: column_engine.engine(
        Columns(ir.Weights(ONES[:, 0], 2), interleaved(6, 2), ir.RelativeIndex(2)),
        ir.Dense("dense", "x", ir.Weights(ONES[:, 0], 2), np.zeros(6, np.int64)),
        ir.TensorType((1, 1, 3), bits, True), bits + 4, queue=3, lanes=2, o_lanes=1, banks=2,
        dsps=2, **SMALL),
    "codebook": lambda bits: dot_engine(signed(bits), ONES, 4, ZEROS, 3 * bits,
                                        codebook=[0, 1, 2]),
    "select": lambda bits: select_engine(signed(bits), ONES, ZEROS, 3 * bits, positive=2,
                                         negative=3)}


def reset_bits(fragment: Any) -> int:
    """Bits of registers that have a reset, in ``fragment`` and all below it."""
    driven = SignalSet(signal for statement in fragment.statements.get("sync", ())
                       for signal in statement._lhs_signals())
    return (sum(len(signal) for signal in driven if not signal.reset_less)
            + sum(reset_bits(below) for below, *_ in fragment.subfragments))


@pytest.mark.parametrize("name", BLOCKS)
def test_resets_are_of_control_only(name: str) -> None:
    few, many = (reset_bits(Fragment.get(BLOCKS[name](bits), None)) for bits in (6, 11))
    assert few == many
    assert name == "fork" or few > 0


def test_a_payload_that_is_reset_is_counted() -> None:
    from amaranth.hdl import Module, Signal
    m = Module()
    m.d.sync += [Signal(7).eq(1), Signal(5, reset_less=True).eq(1)]
    assert reset_bits(Fragment.get(m, None)) == 7

# amaranth: UnusedElaboratable=no
"""Scale requantization against its golden twin: all roundings, any digit, ties and extremes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from networks import run_block
from penjing.compiler import ir
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.ir import Integers, PenjingError, TensorType
from penjing.hdl.scale import ScaleRequantizer
from penjing.hdl.tech import Generic, MemoryStyle
from penjing.sim import golden
from penjing.sim.streams import Stalls

HALVES = ir.ScaleRounding.EVEN, ir.ScaleRounding.ODD
STEPS = (1, 2, 3, 4, 5, 7, 8, 11, 16, 20, 31, 40)


def random_layer(rng: np.random.Generator) -> tuple[ir.ScaleRequantize, TensorType]:
    """A layer whose reference arithmetic stays within 32 bits, and the type of its input."""
    while True:
        channels, bits = int(rng.integers(1, 8)), int(rng.integers(2, 29))
        kind = TensorType((3, 1, channels), int(rng.integers(1, 24)), bool(rng.integers(2)))
        count = channels if rng.integers(2) else 1
        top = int(rng.integers(-20, 3))
        shifts = rng.integers(top - int(rng.integers(0, 6)), top + 1, count)
        multipliers = rng.integers(0 if rng.integers(5) == 0 else 1 << 30, 1 << 31, count)
        if rng.integers(4) == 0:
            multipliers[:] = 1 << 30  # a power of two: ties are frequent
        addends = rng.integers(0, multipliers + 1) if rng.integers(2) else None
        limit = 1 << bits - 1
        low, high = sorted(int(v) for v in rng.integers(-limit, limit, 2))
        if rng.integers(2):
            low, high = -limit, limit - 1
        try:
            layer = ir.ScaleRequantize(
                "scale", "x", multipliers, shifts, bits, True, int(rng.integers(-200, 200)),
                int(rng.integers(0, 21)), int(rng.integers(-limit, limit)), low, high,
                ir.ScaleRounding(rng.choice([r.value for r in ir.ScaleRounding])),
                addends=addends)
            layer.output_type(kind)
        except PenjingError:
            continue
        return layer, kind


def images(layer: ir.ScaleRequantize, kind: TensorType, rng: np.random.Generator) -> Integers:
    """Both extremes, values around the offset where signs and ties are, and random ones."""
    x = rng.integers(kind.low, kind.high + 1, (6, *kind.shape))
    x[0], x[1] = kind.low, kind.high
    x[2] = np.clip(layer.offset + rng.integers(-3, 4, kind.shape), kind.low, kind.high)
    return x


def block(layer: ir.ScaleRequantize, kind: TensorType, lanes: int, steps: int) -> ScaleRequantizer:
    low, high = layer.bounds
    return ScaleRequantizer(
        signed(kind.bits) if kind.signed else unsigned(kind.bits), signed(layer.bits), lanes=lanes,
        group=kind.shape[2], steps=steps, multipliers=layer.multipliers.tolist(),
        shifts=layer.shifts.tolist(), offset=layer.offset, pre_shift=layer.pre_shift,
        zero_point=layer.zero_point, low=low, high=high,
        single=layer.rounding is ir.ScaleRounding.SINGLE,
        halves_to=HALVES.index(layer.rounding) if layer.rounding in HALVES else None,
        addends=[] if layer.addends is None else layer.addends.tolist(),
        style=MemoryStyle.LOGIC, technology=Generic())


@pytest.mark.parametrize("steps", STEPS)
def test_requantizer_equals_golden_in_any_number_of_steps(steps: int) -> None:
    rng = np.random.default_rng(steps)
    layer, kind = random_layer(rng)
    check(layer, kind, images(layer, kind, rng), int(rng.integers(1, 4)), steps)


@pytest.mark.parametrize("steps", STEPS[::3])
@pytest.mark.parametrize(("multiplier", "last"), [(1 << 30, 0), (3 << 29, 1), (5 << 28, 0)])
def test_every_half_goes_to_even_or_odd(multiplier: int, last: int, steps: int) -> None:
    """All values of a type, the second channel's by a multiplier with which none is quite a half.
    """
    kind = TensorType((16, 16, 2), 9, True)
    shifts = np.array([-3, -7])
    layer = ir.ScaleRequantize("scale", "x", np.array([multiplier, multiplier | 1]), shifts, 9,
                               True, offset=-1, zero_point=3, rounding=HALVES[last])
    x = np.stack([np.arange(-256, 256), np.arange(-256, 256)], -1).reshape(2, *kind.shape)
    exact = (x + 1) * layer.multipliers.astype(object)
    assert ((exact % 2 ** (31 - shifts)) == 2 ** (30 - shifts)).any()
    # Python rounds halves to even.
    wanted = [[round(Fraction(int(v), 1 << 31 - int(s)) + last) - last + 3
               for v, s in zip(pair, shifts, strict=True)] for pair in exact.reshape(-1, 2)]
    assert golden.execute(layer, x).reshape(-1, 2).tolist() == wanted
    dut = block(layer, kind, 2, steps)
    run_block(dut, x, golden.execute(layer, x), (kind, Port(2, 2)),
              (TensorType(kind.shape, 9, True), Port(2, 2)), [Stalls.NONE])


@pytest.mark.parametrize("rounding", ir.ScaleRounding)
def test_addends_are_what_a_finer_input_would_bring(rounding: ir.ScaleRounding) -> None:
    """Five bits below a step, once in the input of a layer and once added to its product."""
    rng = np.random.default_rng(7)
    multipliers, shifts = rng.integers(1 << 25, 1 << 26, 4) << 5, np.array([-6, -5, -7, -6])
    rests = np.array([0, 1, 16, 31])
    layer = ir.ScaleRequantize("scale", "x", multipliers, shifts, 8, True, offset=3,
                               rounding=rounding, addends=rests * multipliers >> 5)
    finer = replace(layer, offset=3 << 5, shifts=shifts - 5, addends=None)
    x = rng.integers(-3000, 3000, (400, 4))
    far = golden.execute(layer, x) - golden.execute(finer, (x << 5) + rests)
    # Two roundings are at other places in the two layers; one is not.
    assert (abs(far).max() <= 1) if rounding is ir.ScaleRounding.DOUBLE else not far.any()


def check(layer: ir.ScaleRequantize, kind: TensorType, x: Integers, lanes: int, steps: int) -> None:
    """Values under every stall pattern, and the cycles and latency that are promised."""
    port = Port(lanes, kind.shape[2])
    result = TensorType(kind.shape, layer.bits, True)
    dut = block(layer, kind, lanes, steps)
    ends = run_block(dut, x, golden.execute(layer, x), (kind, port), (result, port))
    beats = 3 * -(-kind.shape[2] // lanes)
    assert set(np.diff(ends)) == {beats * steps}
    assert ends[0] - 1 == dut.latency + (beats - 1) * steps


def test_golden_is_the_reference_arithmetic() -> None:
    # gemmlowp as its sources say it: a division that truncates, after a nudge by the sign.
    def reference(x: int, multiplier: int, shift: int) -> int:
        left, right = max(shift, 0), max(-shift, 0)
        product = (x << left) * multiplier
        nudged = product + (1 << 30 if product >= 0 else 1 - (1 << 30))
        high = abs(nudged) // (1 << 31) * (1 if nudged >= 0 else -1)
        mask = (1 << right) - 1
        threshold = (mask >> 1) + (high < 0)
        return (high >> right) + ((high & mask) > threshold)

    rng = np.random.default_rng(3)
    limit = 1 << 40
    for shift in range(-31, 9):
        span = 1 << 31 - max(shift, 0)
        x = np.append(rng.integers(-span, span, 200), (-span, span - 1, 0, 1, -1, 3, -3))
        for multiplier in (1 << 30, (1 << 31) - 1, int(rng.integers(1 << 30, 1 << 31)), 0, 1):
            got = golden.scale_requantize(x, np.array([multiplier]), np.array([shift]), 0, -limit,
                                          limit)
            assert got.tolist() == [reference(int(v), multiplier, shift) for v in x]


def test_what_does_not_fit_is_refused() -> None:
    layer, kind = random_layer(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^steps must be at least 1, not 0$"):
        block(layer, kind, 1, 0)
    with pytest.raises(PenjingError, match=r"^layer scale: it must have as many addends as "):
        replace(layer, addends=np.zeros(len(layer.multipliers) + 1, np.int64))

"""Every block with arithmetic against its golden twin: extremes first, four stall patterns."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import wiring
from engines import count_engine, dot_engine, o_lanes, select_engine
from networks import random_images, run_block
from penjing.compiler import ir
from penjing.compiler.dataflow import geometry
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.ir import Bipolar, TensorType
from penjing.hdl.argmax import ArgMaxer
from penjing.hdl.pad import Padder
from penjing.hdl.pool import AveragePooler, Inside, MaxPooler, SumPooler
from penjing.hdl.requantize import ShiftRequantizer
from penjing.hdl.running_pool import RunningMaxPooler, RunningShape
from penjing.hdl.select_array import digits
from penjing.hdl.tech import Generic, MemoryStyle
from penjing.hdl.window import Window
from penjing.hdl.window_geometry import WindowGeometry
from penjing.sim import golden


def vector(elements: int, bits: int, is_signed: bool) -> TensorType:
    return TensorType((1, 1, elements), bits, is_signed)


@pytest.mark.parametrize(("shift", "low", "high", "i_bits", "o_bits", "is_signed"), [
    (5, -128, 127, 20, 8, True), (0, 0, 15, 9, 4, False), (-2, -8, 7, 4, 4, True),
    (12, 0, 6, 10, 3, False), (1, -2, 1, 3, 2, True), (3, 2, 5, 9, 4, False)])
def test_shift_requantizer(shift: int, low: int, high: int, i_bits: int,
                           o_bits: int, is_signed: bool) -> None:
    kind = vector(12, i_bits, True)
    x = random_images(kind, 6, shift + 100)
    # Values around every rounding and saturation step.
    edges = [(bound << max(shift, 0)) + (1 << max(shift, 1) - 1) + step
             for bound in (low, high) for step in (-1, 0, 1)]
    x[2, 0, 0, :6] = np.clip(edges, kind.low, kind.high)
    block = ShiftRequantizer(signed(i_bits), signed(o_bits) if is_signed else unsigned(o_bits),
                             lanes=3, shift=shift, low=low, high=high)
    port = Port(3, 12)
    run_block(block, x, golden.shift_requantize(x, shift, low, high), (kind, port),
              (vector(12, o_bits, is_signed), port))


@pytest.mark.parametrize("layer", [ir.MaxPool, ir.AveragePool, ir.SumPool])
@pytest.mark.parametrize(("area", "bits", "is_signed", "lanes"), [
    (4, 8, False, 2), (1, 3, True, 1), (9, 5, True, 3), (49, 8, True, 1), (7, 16, False, 1),
    (6, 1, False, 2), (3, 1, True, 2)])
def test_poolers(layer: type[ir.PoolLayer], area: int, bits: int, is_signed: bool,
                 lanes: int) -> None:
    kind = TensorType((area, 1, lanes), bits, is_signed)
    pool = layer("pool", "x", (area, 1), (area, 1))
    x = random_images(kind, 12, area)
    make = {ir.MaxPool: MaxPooler, ir.AveragePool: AveragePooler, ir.SumPool: SumPooler}[layer]
    block = make(signed(bits) if is_signed else unsigned(bits), lanes=lanes, area=area)
    port = Port(lanes, lanes)
    run_block(block, x, golden.execute(pool, x), (kind, port), (pool.output_type(kind), port))


@pytest.mark.parametrize("style", MemoryStyle)
@pytest.mark.parametrize(("size", "kernel", "lanes", "bits", "is_signed"), [
    ((4, 4, 4), (2, 2), 1, 8, False), ((5, 7, 8), (2, 3), 2, 5, True),
    ((3, 2, 7), (1, 2), 2, 1, False), ((7, 1, 4), (3, 1), 1, 4, True),
    ((3, 3, 5), (3, 3), 1, 3, True)])
def test_running_maximum(size: tuple[int, int, int], kernel: tuple[int, int], lanes: int,
                         bits: int, style: MemoryStyle, *, is_signed: bool) -> None:
    kind = TensorType(size, bits, is_signed)
    pool = ir.MaxPool("pool", "x", kernel, kernel)
    x = random_images(kind, 5, bits)
    block = RunningMaxPooler(signed(bits) if is_signed else unsigned(bits),
                             RunningShape(size, kernel, lanes), style=style, technology=Generic())
    port = Port(lanes, size[2])
    run_block(block, x, golden.execute(pool, x), (kind, port), (pool.output_type(kind), port))


@pytest.mark.parametrize(("kernel", "lanes", "reason"), [
    ((1, 1), 1, "kernel"), ((5, 2), 1, "kernel"), ((2, 2), 2, "lanes"), ((2, 2), 1, "lanes"),
    ((0, 2), 1, "height")])
def test_running_maximum_refuses(kernel: tuple[int, int], lanes: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        RunningShape((4, 4, 3), kernel, lanes)


@pytest.mark.parametrize(("area", "bits", "is_signed"), [
    (4, 8, True), (2, 3, True), (9, 5, True), (64, 8, True), (6, 4, False), (1, 2, True)])
def test_average_of_halves_away_from_zero(area: int, bits: int, is_signed: bool
                                          ) -> None:
    kind = TensorType((area, 1, 1), bits, is_signed)
    x = random_images(kind, 40, area)
    # Sums around every half: one element, so far as it goes, and zeros.
    x[2:] = 0
    x[2:, 0] = np.clip(np.arange(38) - 19, kind.low, kind.high)[:, None, None]
    x[20:, -1] = kind.low
    wanted = golden.average_pool(x, (area, 1), (area, 1), rounding=ir.Rounding.HALF_AWAY)
    block = AveragePooler(signed(bits) if is_signed else unsigned(bits), lanes=1, area=area,
                          half_away=True)
    run_block(block, x, wanted, (kind, Port(1, 1)), (vector(1, bits, is_signed), Port(1, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ir.Rounding)
@pytest.mark.parametrize(("size", "kernel", "stride", "padding", "bits", "is_signed", "spare"), [
    ((4, 5), (3, 3), (1, 1), (1, 1, 1, 1), 8, True, 0), ((5, 1), (2, 1), (1, 1), (1, 1, 0, 0), 3,
    True, 0), ((5, 5), (3, 4), (2, 2), (2, 1, 0, 3), 4, False, 4), ((3, 4), (5, 7), (1, 3),
    (3, 4, 6, 2), 1, True, 2), ((6, 6), (2, 2), (2, 2), (0, 0, 0, 0), 8, True, 8),
    ((2, 3), (3, 4), (3, 4), (0, 1, 1, 0), 6, True, 0)])
def test_average_of_what_lies_inside(
        size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int],
        padding: tuple[int, int, int, int], bits: int, is_signed: bool, spare: int,
        rounding: ir.Rounding) -> None:
    """The windows of two slices of channels, tap by tap, zeros outside."""
    lanes, channels = 2, 3
    kind = TensorType((*size, channels), bits, is_signed)
    layer = ir.AveragePool("pool", "x", kernel, stride, padding, rounding, False, spare)
    result = layer.output_type(kind)
    x = random_images(kind, 4, spare)
    taps = golden._windows(x, kernel, stride, padding, 0).reshape(
        4, *result.shape, math.prod(kernel))
    taps = np.pad(taps, ((0, 0), (0, 0), (0, 0), (0, -channels % lanes), (0, 0)))
    beats = taps.reshape(4, *result.shape[:2], -1, lanes, taps.shape[-1]).swapaxes(-1, -2)
    rows, columns = geometry.elements_inside(
        geometry.Geometry(kind.shape, kernel, stride, padding, 1))
    block = AveragePooler(signed(bits) if is_signed else unsigned(bits), lanes=lanes,
                          area=math.prod(kernel), half_away=rounding is ir.Rounding.HALF_AWAY,
                          spare=spare, inside=Inside(rows, columns, 2))
    whole = beats.reshape(4, -1)
    run_block(block, whole, golden.execute(layer, x), (kind, Port(lanes, whole.shape[1])),
              (result, Port(lanes, channels)))


@pytest.mark.parametrize(("count", "bits", "is_signed"), [(10, 20, True), (1, 4, True),
                                                         (3, 2, False), (17, 3, True)])
def test_argmaxer(count: int, bits: int, is_signed: bool) -> None:
    kind = TensorType((2, 3, count), bits, is_signed)
    x = random_images(kind, 8, count)
    wanted = golden.argmax(x)
    result = TensorType((2, 3, 1), max(1, (count - 1).bit_length()), False)
    block = ArgMaxer(signed(bits) if is_signed else unsigned(bits), count=count)
    run_block(block, x, wanted, (kind, Port(1, count)), (result, Port(1, 1)))


@pytest.mark.parametrize(("inputs", "outputs", "pe", "simd", "bits", "weight_bits", "is_signed"), [
    (9, 5, 2, 4, 8, 8, False), (7, 3, 3, 7, 4, 3, True), (12, 8, 4, 1, 16, 16, True),
    (5, 6, 6, 2, 2, 2, False), (1, 1, 1, 1, 8, 8, True), (20, 7, 7, 20, 3, 5, True),
    (60, 50, 25, 2, 4, 4, True)])  # the last one's output queue is deep
def test_dot(inputs: int, outputs: int, pe: int, simd: int, bits: int,
             weight_bits: int, is_signed: bool) -> None:
    rng = np.random.default_rng(inputs)
    kind = vector(inputs, bits, is_signed)
    low = -(1 << weight_bits - 1)
    weights = rng.integers(low, -low, (outputs, inputs))
    weights[0], weights[-1] = low, -low - 1
    bias = rng.integers(-1000, 1000, outputs)
    layer = ir.Dense("dense", "x", ir.Weights(weights, weight_bits), bias)
    result = layer.output_type(kind)
    x = random_images(kind, 5, outputs)
    groups, folds = -(-outputs // pe), -(-inputs // simd)
    padded = np.pad(weights, ((0, groups * pe - outputs), (0, folds * simd - inputs)))
    beats = padded.reshape(groups, pe, folds, simd).transpose(0, 2, 1, 3)
    block = dot_engine(signed(bits) if is_signed else unsigned(bits), beats.reshape(-1, pe, simd),
                       weight_bits, bias, result.bits, dsp_multipliers=pe * simd // 2)
    # The vector comes once for every group of outputs.
    repeated = np.tile(x.reshape(len(x), 1, inputs), (1, groups, 1))
    sent = TensorType((1, groups, inputs), bits, is_signed)
    run_block(block, repeated, golden.dense(x, weights, bias), (sent, Port(simd, inputs)),
              (result, Port(o_lanes(pe, folds), outputs)))


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("inputs", "outputs", "pe", "simd"), [
    (64, 10, 4, 16), (12, 7, 7, 12), (9, 5, 2, 1), (30, 16, 16, 5), (32, 3, 1, 32), (7, 6, 4, 7)])
def test_binary(inputs: int, outputs: int, pe: int, simd: int, *,
                biased: bool) -> None:
    rng = np.random.default_rng(inputs)
    weights = rng.integers(0, 2, (outputs, inputs)) * 2 - 1
    weights[0], weights[-1] = 1, -1
    bias = rng.integers(-1000, 1000, outputs) if biased else np.full(outputs, 3)
    x = random_images(Bipolar((1, 1, inputs)), 5, outputs)
    wanted = golden.dense(x, weights, bias)
    groups, folds = -(-outputs // pe), inputs // simd
    padded = np.pad(weights, ((0, groups * pe - outputs), (0, 0)), constant_values=1)
    beats = padded.reshape(groups, pe, folds, simd).transpose(0, 2, 1, 3)
    block = count_engine(beats.reshape(-1, pe, simd), bias, 12)
    repeated = np.tile(x.reshape(len(x), 1, inputs), (1, groups, 1))
    run_block(block, repeated, wanted, (Bipolar((1, groups, inputs)), Port(simd, inputs)),
              (TensorType((1, 1, outputs), 12, True), Port(o_lanes(pe, folds), outputs)))


@pytest.mark.parametrize(("positive", "negative", "zeros"), [
    (1, 1, True), (1, 1, False), (6, 6, True), (5, 11, True), (64, 1, False)])
@pytest.mark.parametrize(("inputs", "outputs", "pe", "simd", "bits", "is_signed"), [
    (24, 10, 4, 8, 8, False), (9, 6, 2, 1, 1, False), (14, 7, 7, 7, 3, True),
    (5, 3, 3, 5, 2, True), (12, 4, 3, 6, 0, True)])
def test_ternary(inputs: int, outputs: int, pe: int, simd: int, bits: int,
                 positive: int, negative: int, *, is_signed: bool, zeros: bool) -> None:
    rng = np.random.default_rng(inputs)
    # Without bits: signs, which come as bits.
    kind = vector(inputs, bits, is_signed) if bits else Bipolar((1, 1, inputs))
    signs = rng.choice([-1, 0, 1] if zeros else [-1, 1], (outputs, inputs))
    signs[0], signs[-1] = 1, -1
    values = np.where(signs > 0, positive, negative) * signs
    bias = rng.integers(-1000, 1000, outputs) if outputs != 6 else np.full(outputs, -7)
    layer = ir.Dense("dense", "x", ir.Weights(values, 8), bias)
    result = layer.output_type(kind)
    x = random_images(kind, 5, outputs)
    # Every output at its highest and its lowest.
    x[2] = np.where(values[0] > 0, kind.high, kind.low)
    x[3] = np.where(values[-1] > 0, kind.high, kind.low)
    groups, folds = -(-outputs // pe), -(-inputs // simd)
    padded = np.pad(signs, ((0, groups * pe - outputs), (0, folds * simd - inputs)),
                    constant_values=int(not zeros))
    beats = padded.reshape(groups, pe, folds, simd).transpose(0, 2, 1, 3)
    shape = (signed if is_signed and bits else unsigned)(max(1, bits))
    block = select_engine(shape, beats.reshape(-1, pe, simd), bias, result.bits,
                          positive=positive, negative=negative, bipolar=not bits)
    repeated = np.tile(x.reshape(len(x), 1, inputs), (1, groups, 1))
    run_block(block, repeated, golden.dense(x, values, bias),
              (replace(kind, shape=(1, groups, inputs)), Port(simd, inputs)),
              (result, Port(o_lanes(pe, folds), outputs)))


def test_digits_make_every_factor() -> None:
    for factor in range(-300, 300):
        assert sum(digits(factor)) == factor
        assert len(digits(factor)) <= factor.bit_length() // 2 + 1


@pytest.mark.parametrize(("groups", "terms", "taps", "multiple", "slice_groups", "bits",
                          "weight_bits", "is_signed"), [
    (8, 1, 9, 1, 4, 8, 8, True), (7, 1, 4, 2, 3, 5, 3, False), (5, 1, 1, 3, 5, 8, 8, True),
    (11, 1, 6, 1, 7, 16, 16, True), (1, 1, 25, 4, 1, 2, 2, False), (13, 1, 3, 1, 13, 4, 8, True),
    (3, 4, 5, 2, 2, 8, 8, True), (4, 3, 2, 5, 3, 6, 4, False), (2, 2, 9, 1, 1, 8, 8, True)])
def test_depthwise(groups: int, terms: int, taps: int, multiple: int,
                   slice_groups: int, bits: int, weight_bits: int, is_signed: bool) -> None:
    rng = np.random.default_rng(groups)
    channels, lanes = groups * terms, slice_groups * terms
    kind = TensorType((taps, 1, channels), bits, is_signed)
    low = -(1 << weight_bits - 1)
    outputs = multiple * groups
    weights = rng.integers(low, -low, (outputs, taps, 1, terms))
    weights[0], weights[-1] = low, -low - 1
    bias = rng.integers(-1000, 1000, outputs)
    layer = ir.Convolution("layer", "x", ir.Weights(weights, weight_bits), bias, groups=groups)
    result = layer.output_type(kind)
    slices, size = -(-groups // slice_groups), slice_groups * multiple
    padded = np.pad(weights[:, :, 0], ((0, slices * size - outputs), (0, 0), (0, 0)))
    block = dot_engine(signed(bits) if is_signed else unsigned(bits),
                       padded.reshape(slices, size, taps, terms).transpose(0, 2, 1, 3).reshape(
                           -1, size, terms), weight_bits, bias, result.bits,
                       dsp_multipliers=size // 2, channel_groups=slice_groups)
    x = random_images(kind, 5, channels)
    wanted = golden.execute(layer, x)
    if terms == 1:
        assert np.array_equal(golden.depthwise(x, weights[..., 0], bias), wanted)
    # As a window gives them by channel: slice by slice, tap by tap.
    sent = np.pad(x[:, :, 0], ((0, 0), (0, 0), (0, slices * lanes - channels)))
    sent = sent.reshape(len(x), taps, slices, lanes).transpose(0, 2, 1, 3)
    sent_kind = TensorType((slices, taps, lanes), bits, is_signed)
    run_block(block, sent, wanted, (sent_kind, Port(lanes, lanes)),
              (result, Port(o_lanes(size, taps), outputs)))


@pytest.mark.parametrize(("size", "kernel", "stride", "padding", "lanes", "rows"), [
    ((5, 6, 2), (3, 3), (1, 1), (1, 1, 1, 1), 2, 1),
    ((7, 5, 3), (3, 2), (2, 1), (2, 0, 0, 1), 4, 2),
    ((6, 6, 1), (5, 4), (2, 3), (1, 4, 3, 0), 3, 5),
    ((4, 4, 4), (1, 1), (3, 2), (0, 0, 0, 0), 3, 1)])
def test_window_reads_what_convolution_multiplies(
        size: tuple[int, int, int], kernel: tuple[int, int],
        stride: tuple[int, int], padding: tuple[int, int, int, int], lanes: int, rows: int) -> None:
    kind = TensorType(size, 5, True)
    x = random_images(kind, 3, lanes)
    sliding = WindowGeometry(size, kernel, stride, padding, lanes=lanes, rows=rows)
    steps, groups = -(-sliding.run // lanes), -(-kernel[0] // rows)
    # One-hot kernels make the golden convolution put out each element of each window in turn; the
    # lanes past a row's end and the rows past the kernel's are undefined, and left out of both.
    order = []
    for group in range(groups):
        for step in range(steps):
            for row in range(group * rows, (group + 1) * rows):
                order += [(row, step * lanes + lane) if row < kernel[0]
                          and step * lanes + lane < sliding.run else None for lane in range(lanes)]
    hot = np.zeros((len(order), kernel[0], sliding.run), np.int64)
    for n, place in enumerate(order):
        if place is not None:
            hot[n][place] = 1
    weights = hot.reshape(len(order), *kernel, size[2])
    wanted = golden.convolution(x, weights, np.zeros(len(order), np.int64), stride, padding)
    block = Masked(Window(signed(5), sliding, depth=128, style=MemoryStyle.LOGIC,
                          technology=Generic()), [place is not None for place in order])
    elements = kind.elements
    run_block(block, x, wanted, (kind, Port(lanes, elements)),
              (TensorType(wanted.shape[1:], 5, True), Port(rows * lanes, len(order))),
              surplus=steps * groups)


@pytest.mark.parametrize(("size", "padding", "lanes"), [
    ((3, 4, 2), (2, 3, 1, 3), 2), ((4, 3, 3), (0, 0, 0, 4), 3), ((2, 2, 1), (5, 0, 3, 2), 1),
    ((5, 1, 2), (0, 4, 0, 0), 1)])
def test_padder(size: tuple[int, int, int], padding: tuple[int, int, int, int],
                lanes: int) -> None:
    kind = TensorType(size, 5, True)
    x = random_images(kind, 6, lanes)
    wanted = golden.pad(x, padding, -7)
    # So few words that one that is freed too early is overwritten.
    block = Padder(signed(5), size, padding, fill=-7, lanes=lanes, depth=16,
                   style=MemoryStyle.LOGIC, technology=Generic())
    run_block(block, x, wanted, (kind, Port(lanes, kind.elements)),
              (TensorType(wanted.shape[1:], 5, True), Port(lanes, size[2])))


class Masked(wiring.Component):
    """A window whose undefined lanes are set to zero, so that all of its output can be compared."""

    def __init__(self, window: Window, defined: list[bool]) -> None:
        self._window = window
        self._defined = defined
        super().__init__({"i": wiring.In(window.i.signature.flip()),
                          "o": wiring.Out(window.o.signature)})

    def elaborate(self, platform: object) -> object:
        from amaranth.hdl import Array, Const, Module, Mux, Signal
        m = Module()
        m.submodules.window = window = self._window
        lanes = len(self.o.p.data)
        steps = len(self._defined) // lanes
        step = Signal(range(steps))
        wiring.connect(m, wiring.flipped(self.i), window.i)
        m.d.comb += [self.o.valid.eq(window.o.valid), window.o.ready.eq(self.o.ready),
                     self.o.p.last.eq(window.o.p.last)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += step.eq(Mux(step == steps - 1, 0, step + 1))
        for lane in range(lanes):
            known = Array(Const(int(flag)) for flag in self._defined[lane::lanes])[step]
            m.d.comb += self.o.p.data[lane].eq(Mux(known, window.o.p.data[lane], 0))
        return m

"""The tests can fail: faults put into the hardware on purpose must turn them red."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Const, Module, Mux, Signal, Value
from networks import Builder, random_images, random_plan, run_block
from penjing.compiler import ir
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.kinds import ternary
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.ir import Network, TensorType
from penjing.hdl import pool, select_array, window
from penjing.hdl.dot_array import DotArray
from penjing.hdl.pool import AveragePooler
from penjing.hdl.requantize import ShiftRequantizer
from penjing.hdl.scale import ScaleRequantizer
from penjing.hdl.tech import Generic, Selection
from penjing.hdl.window import Window
from penjing.sim import golden
from penjing.sim.streams import Stalls

Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def network() -> Network:
    rng = np.random.default_rng(5)
    grow = Builder(TensorType((5, 4, 2), 4, True))
    grow.add(ir.Convolution("conv", "x", ir.Weights(rng.integers(-8, 8, (3, 3, 3, 2)), 4),
                            rng.integers(-20, 20, 3), (1, 1), (1, 1, 1, 1)))
    grow.add(ir.ShiftRequantize("relu", "conv", 4, 4, False))
    grow.add(ir.ArgMax("argmax", "relu"))
    return grow.network()


def check(network: Network, stalls: Stalls) -> None:
    plan = random_plan(network, 1)
    images = random_images(network.input_type, 4, 0)
    run_block(accelerator.whole(network, plan, Generic()), images, golden.run(network, images),
              (network.input_type, plan.layers[0].i), (network.output_type, plan.layers[-1].o),
              stalls)


@pytest.mark.parametrize("stalls", Stalls)
def test_without_a_fault_all_is_green(network: Network, stalls: Stalls) -> None:
    check(network, stalls)


def truncate(patch: Patch) -> None:
    patch.setattr(ShiftRequantizer, "_scale", lambda self, value: value >> self._shift)


def no_padding(patch: Patch) -> None:
    patch.setattr(window, "columns_inside", lambda m, geometry, counters: Const(-1, geometry.lanes))


def wrong_saturation(patch: Patch) -> None:
    original = ShiftRequantizer.__init__

    def init(self: ShiftRequantizer, *args: object, high: int, **kwargs: object) -> None:
        original(self, *args, high=high - 1, **kwargs)
    patch.setattr(ShiftRequantizer, "__init__", init)


def dropped_bias(patch: Patch) -> None:
    patch.setattr(DotArray, "_biases", lambda self, m, group: [Const(0)] * self._shape.pe)


FAULTS: list[Callable[[Patch], None]] = [truncate, no_padding, wrong_saturation, dropped_bias]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_value_is_seen(network: Network, monkeypatch: Patch,
                               fault: Callable[[Patch], None]) -> None:
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        check(without_argmax(network), Stalls.NONE)


PADDED: list[ir.Layer] = [
    ir.Convolution("layer", "x", ir.Weights(np.ones((2, 3, 3, 2), np.int64), 4),
                   np.zeros(2, np.int64), (1, 1), (0, 0, 0, 1), -3),
    ir.Convolution("layer", "x", ir.Weights(np.ones((2, 3, 3, 1), np.int64), 4),
                   np.zeros(2, np.int64), (2, 2), (1, 0, 0, 0), -3, 2),
    ir.Depthwise("layer", "x", ir.Weights(np.ones((4, 3, 3), np.int64), 4),
                 np.zeros(4, np.int64), (1, 1), (0, 1, 0, 0), -3),
    ir.Pad("layer", "x", (0, 0, 1, 0), -3)]


@pytest.mark.parametrize("layer", PADDED)
def test_a_wrong_pad_value_is_seen(layer: ir.Layer, monkeypatch: Patch) -> None:
    network = Network("net", "x", TensorType((5, 4, 2), 4, True), (layer,))
    check(network, Stalls.NONE)
    original = Window.__init__

    def init(self: Window, *args: object, fill: int, **kwargs: object) -> None:
        original(self, *args, fill=fill + 1, **kwargs)
    monkeypatch.setattr(Window, "__init__", init)
    with pytest.raises(AssertionError):
        check(network, Stalls.NONE)


def test_a_half_towards_zero_is_seen(monkeypatch: Patch) -> None:
    layer = ir.AveragePool("pool", "x", (2, 2), (2, 2), rounding=ir.Rounding.HALF_AWAY)
    network = Network("net", "x", TensorType((6, 6, 2), 4, True), (layer,))
    check(network, Stalls.NONE)
    original = AveragePooler.__init__

    def init(self: AveragePooler, *args: object, half_away: bool, **kwargs: object) -> None:
        original(self, *args, half_away=not half_away, **kwargs)
    monkeypatch.setattr(AveragePooler, "__init__", init)
    with pytest.raises(AssertionError):
        check(network, Stalls.NONE)


def test_windows_that_all_count_alike_are_seen(monkeypatch: Patch) -> None:
    layer = ir.AveragePool("pool", "x", (3, 3), (1, 1), (1, 1, 1, 1), count_padding=False)
    network = Network("net", "x", TensorType((5, 5, 2), 6, True), (layer,))
    check(network, Stalls.NONE)

    def usual(m: Module, index: Value, values: Sequence[int]) -> Signal:
        return Signal(range(max(values) + 1), init=max(values, key=values.count))
    monkeypatch.setattr(pool, "_among", usual)
    with pytest.raises(AssertionError):
        check(network, Stalls.NONE)


def half_up(patch: Patch) -> None:
    rounded_to(patch, lambda halves_to: {"halves_to": None, "single": True})


def other_parity(patch: Patch) -> None:
    rounded_to(patch, lambda halves_to: {"halves_to": 1 - halves_to})


def rounded_to(patch: Patch, other: Callable[[int], dict[str, Any]]) -> None:
    original = ScaleRequantizer.__init__

    def init(self: ScaleRequantizer, *args: object, halves_to: int, single: bool,
             **kwargs: object) -> None:
        original(self, *args, **{"single": single} | kwargs | other(halves_to))
    patch.setattr(ScaleRequantizer, "__init__", init)


def nothing_below_a_half(patch: Patch) -> None:
    original = ScaleRequantizer._finish

    def finish(self: ScaleRequantizer, m: Module, lane: int, exact: Value, rest: Value,
               *args: Any) -> Value:
        return original(self, m, lane, exact, Const(0), *args)
    patch.setattr(ScaleRequantizer, "_finish", finish)


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("rounding", [ir.ScaleRounding.EVEN, ir.ScaleRounding.ODD])
@pytest.mark.parametrize("fault", [half_up, other_parity, nothing_below_a_half])
def test_a_wrong_half_is_seen(fault: Callable[[Patch], None], rounding: ir.ScaleRounding,
                              steps: int, monkeypatch: Patch) -> None:
    layer = ir.ScaleRequantize("scale", "x", np.array([1 << 30, 3 << 28]), np.array([-1, 0]), 8,
                               True, rounding=rounding)
    network = Network("net", "x", TensorType((8, 8, 2), 7, True), (layer,))
    images = random_images(network.input_type, 4, 0)
    port = Port(2, 2)

    def run() -> None:
        plan = random_plan(network, 1)
        plan = replace(plan, layers=(replace(plan.layers[0], i=port, o=port, steps=steps),))
        run_block(accelerator.whole(network, plan, Generic()), images, golden.run(network, images),
                  (network.input_type, port), (network.output_type, port), Stalls.NONE)
    run()
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        run()


def test_a_wrong_tie_is_seen(network: Network, monkeypatch: Patch) -> None:
    # The golden model is the one that is bent here.
    def argmax(x: np.ndarray) -> np.ndarray:
        return x.shape[-1] - 1 - x[..., ::-1].argmax(-1)[..., None].astype(np.int64)
    monkeypatch.setattr(golden, "argmax", argmax)
    with pytest.raises(AssertionError):
        check(network, Stalls.NONE)


def without_argmax(network: Network) -> Network:
    return Network("net", "x", network.input_type, network.layers[:2])


def no_constants(patch: Patch) -> None:
    patch.setattr(ternary, "select_constants", lambda shape, select, bias, words: bias)


def nothing_left_out(patch: Patch) -> None:
    patch.setattr(Selection, "code", lambda self, sign: int(sign >= 0))


def all_added(patch: Patch) -> None:
    multiple = select_array._multiple
    patch.setattr(select_array, "_multiple",
                  lambda value, bits, digit: multiple(value, bits, abs(digit)))


@pytest.mark.parametrize("fault", [no_constants, nothing_left_out, all_added])
def test_a_wrong_term_is_seen(monkeypatch: Patch, fault: Callable[[Patch], None]) -> None:
    grow = Builder(TensorType((1, 1, 12), 4, True))
    weights = np.random.default_rng(6).choice([-3, 0, 5], (4, 12))
    grow.add(ir.Dense("dense", "x", ir.Weights(weights, 4), np.arange(4)))
    check(grow.network(), Stalls.NONE)
    fault(monkeypatch)
    with pytest.raises(AssertionError, match=r"^frame 0"):
        check(grow.network(), Stalls.NONE)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ignored_backpressure_is_seen_only_under_output_stalls(network: Network,
                                                               monkeypatch: Patch) -> None:
    def elaborate(self: ShiftRequantizer, platform: object) -> Module:
        m = Module()
        valid, last = Signal(), Signal()
        m.d.comb += self.i.ready.eq(1)
        m.d.sync += [valid.eq(self.i.valid), last.eq(self.i.p.last), self.o.valid.eq(valid),
                     self.o.p.last.eq(last)]
        for lane in range(len(self.i.p.data)):
            scaled = Signal.like(self._scale(self.i.p.data[lane]))
            m.d.sync += [
                scaled.eq(self._scale(self.i.p.data[lane])),
                self.o.p.data[lane].eq(Mux(scaled < self._low, self._low, Mux(
                    scaled > self._high, self._high, scaled)))]
        return m
    monkeypatch.setattr(ShiftRequantizer, "elaborate", elaborate)
    network = without_argmax(network)
    check(network, Stalls.NONE)
    check(network, Stalls.INPUT)
    with pytest.raises((AssertionError, TimeoutError)):
        check(network, Stalls.OUTPUT)

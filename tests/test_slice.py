# amaranth: UnusedElaboratable=no
"""Slices of channels, alone and in graphs with concatenations: values, exact cycles and latency."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import signed
from networks import (
    PLENTY,
    Builder,
    check_network,
    random_images,
    random_sign,
    random_weights,
    run_block,
)
from penjing.compiler import file, ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds.slice import Part
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.dataflow.search import Goal, schedule, search
from penjing.compiler.ir import Network, PenjingError, TensorType
from penjing.hdl.graph import Pipeline
from penjing.hdl.slice import Slicer, SlicerShape
from penjing.hdl.stream import Beat, Buffer
from penjing.hdl.tech import Generic
from penjing.sim import golden

FRAMES = 5
ECP5_OF_ALL = Budget(ECP5, PLENTY, 1000)


@pytest.mark.parametrize(("lanes", "group", "start", "stop", "o_lanes"), [
    (1, 6, 2, 5, 1), (2, 6, 2, 5, 2), (2, 6, 2, 3, 1), (2, 6, 4, 6, 2), (4, 6, 0, 5, 4),
    (4, 6, 1, 3, 2), (4, 6, 0, 6, 4), (6, 6, 1, 4, 3), (12, 36, 2, 6, 8), (12, 18, 5, 6, 2)])
def test_slicer(lanes: int, group: int, start: int, stop: int, o_lanes: int) -> None:
    kind = TensorType((3, 2, 6), 5, True)
    layer = ir.Slice("part", "x", start, stop)
    x = random_images(kind, FRAMES, start)
    shape = SlicerShape(lanes, 6, start, stop)
    assert shape.o_lanes == o_lanes
    slicer = Slicer(signed(5), lanes=lanes, channels=6, start=start, stop=stop, pixels=6)
    # It may have no clock of its own, but the simulation needs one.
    block = Pipeline([("slice", slicer), ("buffer", Buffer(Beat(signed(5), o_lanes)))])
    i, o = Port(lanes, group), Port(o_lanes, group // 6 * (stop - start))
    ends = run_block(block, x, golden.execute(layer, x), (kind, i), (layer.output_type(kind), o))
    assert set(np.diff(ends)) == {i.beats(36)}


def narrow(channels: int, start: int, stop: int, times: int = 1) -> Network:
    """A slice of the input's channels, each repeated so many ``times``."""
    grow = Builder(TensorType((3, 4, channels), 4, True))
    grow.add(ir.Clamp("clamp", "x", -7, 7))
    grow.add(ir.Repeat("repeat", "clamp", times))
    grow.add(ir.Slice("part", "repeat", start, stop))
    grow.add(ir.Clamp("end", "part", -6, 6))
    return grow.network()


@pytest.mark.parametrize(("network", "cycles", "taken", "o"), [
    (narrow(6, 1, 4), 12, Port(6, 6), Port(3, 3)),  # whole pixels: wires
    (narrow(3, 1, 3), 6, Port(6, 36), Port(4, 24)),  # several of them
    (narrow(6, 1, 4), 72, Port(1, 6), Port(1, 3)),  # beat by beat
    (narrow(8, 2, 7), 48, Port(2, 8), Port(2, 5)),
    (narrow(8, 1, 3), 24, Port(4, 8), Port(2, 2)),  # within a beat
    (narrow(8, 3, 7), 24, Port(8, 8), Port(4, 4)),  # across two
    (narrow(2, 3, 7, 4), 96, Port(1, 8), Port(1, 4)),  # there is time for single ones
    (narrow(2, 3, 7, 4), 24, Port(8, 8), Port(4, 4))])
def test_a_slice_takes_its_predicted_cycles(network: Network, cycles: int, taken: Port, o: Port
                                            ) -> None:
    plan = schedule(network, ECP5_OF_ALL, Goal(cycles))
    planned = plan.layer("part")
    assert isinstance(planned.kind, Part)
    assert (planned.kind.taken, planned.o) == (taken, o)
    check_network(network, plan)
    if planned.cycles > 12:
        tensors = golden.run_all(network, random_images(network.input_type, FRAMES, 0))
        alone = run_block(accelerator.layer(network, plan, "part", Generic()),
                          tensors["repeat"], tensors["part"],
                          (network.type_of("repeat"), planned.i),
                          (network.type_of("part"), planned.o))
        assert np.diff(alone)[-1] == planned.cycles


@pytest.mark.slow
@pytest.mark.parametrize("pace", [9, 18, 54])
def test_channels_are_split_and_put_together_anew(pace: int) -> None:
    grow = Builder(TensorType((4, 4, 6), 3, False))
    for name, start, stop in (("a", 0, 1), ("b", 1, 4), ("c", 3, 6)):
        grow.add(ir.Slice(name, "x", start, stop))
    grow.add(ir.MaxPool("pool", "b", (3, 3), (1, 1), (1, 1, 1, 1)))
    grow.add(ir.Concatenation("join", "c", ("pool", "a")))
    network = grow.network()
    plan = schedule(network, ECP5_OF_ALL, Goal(16 * pace))
    check_network(network, plan)


def woven(seed: int) -> Network:
    """Slices and concatenations of any tensors before, and convolutions and signs between them."""
    rng = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in rng.integers((1, 2, 1), (6, 6, 7)))
    grow = Builder(TensorType((height, width, channels), int(rng.integers(1, 7)),
                              bool(rng.integers(2))))
    tensors = ["x"]

    def unread() -> list[str]:
        read = {name for layer in grow.layers.values() for name in layer.inputs}
        return [name for name in tensors if name not in read]

    def pick() -> str:
        names = [unread(), tensors][int(rng.integers(2))]
        return names[int(rng.integers(len(names)))]

    for n in range(int(rng.integers(2, 7))):
        at, name, choice = pick(), f"layer{n}", int(rng.integers(6))
        count = grow.types[at].shape[2]
        if choice == 0:
            kernel = int(rng.integers(1, min(height, width, 5) + 1))
            low, outputs = (kernel - 1) // 2, int(rng.integers(1, 9))
            weights = replace(random_weights(rng, (outputs, kernel, kernel, count)), fraction=6)
            grow.add(ir.Convolution(f"conv{n}", at, weights, rng.integers(-50, 50, outputs), (1, 1),
                                    (low, kernel - 1 - low) * 2))
            grow.add(ir.ShiftRequantize(name, f"conv{n}", 6, int(rng.integers(2, 8)),
                                        bool(rng.integers(2))))
        elif choice == 1:
            start = int(rng.integers(count))
            grow.add(ir.Slice(name, at, start, int(rng.integers(start + 1, count + 1))))
        elif choice == 2:
            grow.add(ir.Clamp(name, at, -3, 2))
        elif choice == 3:
            grow.add(random_sign(rng, name, at, grow.types[at]))
        else:
            others = tuple(pick() for _ in range(int(rng.integers(1, 4))))
            if sum(grow.types[other].shape[2] for other in (at, *others)) > 24:
                continue
            grow.add(ir.Concatenation(name, at, others))
        tensors.append(name)
    if len(unread()) > 1:
        grow.add(ir.Concatenation("all", unread()[0], tuple(unread()[1:])))
    # What is only wiring has no clock.
    grow.add(ir.Clamp("end", grow.tail, -9, 9))
    return grow.network()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_graphs_of_slices_and_concatenations(seed: int) -> None:
    network = woven(seed)
    height, width, _ = network.input_type.shape
    pace = (9, 5, 3, 24)[seed % 4]
    try:
        plan = schedule(network, Budget(ECP5, PLENTY, 10_000), Goal(height * width * pace))
    except PenjingError:
        plan = schedule(network, ECP5_OF_ALL, Goal())
    check_network(network, plan, seed=seed)


def test_what_does_not_fit_is_refused() -> None:
    kind = TensorType((2, 3, 4), 8, False, 3)
    assert ir.Slice("part", "x", 1, 4).output_type(kind) == replace(kind, shape=(2, 3, 3))
    assert ir.Slice("part", "x", 1, 2).output_type(ir.Bipolar((2, 3, 4))) == ir.Bipolar((2, 3, 1))
    with pytest.raises(PenjingError, match=r"^layer part: stop must be at most the 4 channels of "
                                           r"its input, not 5$"):
        ir.Slice("part", "x", 1, 5).output_type(kind)
    for start, stop in ((-1, 2), (2, 2), (3, 1), (0, 1.5), (False, 2)):
        with pytest.raises(PenjingError, match=r"^layer part: start and stop must be integers, 0"):
            ir.Slice("part", "x", start, stop)
    for lanes, start, stop, reason in ((2, 1, 4, "within one beat or start with one, not 1 to 4"),
                                       (2, 3, 3, "start must be below stop"),
                                       (2, 2, 7, "stop at most channels, not 2 to 7 of 6"),
                                       (0, 2, 4, "lanes must be at least 1")):
        with pytest.raises(ValueError, match=reason):
            SlicerShape(lanes, 6, start, stop)
    with pytest.raises(ValueError, match="pixels must be at least 1"):
        Slicer(4, lanes=1, channels=2, start=0, stop=1, pixels=0)


def test_a_file_holds_it(tmp_path: object) -> None:
    network = woven(3)
    file.save(network, tmp_path / "net.penjing")
    assert file.load(tmp_path / "net.penjing") == network


def readers(channels: int) -> list[ir.Layer]:
    """Layers that take a slice of so many channels at paces of their own."""
    ones = np.ones(channels, np.int64)
    weights = ir.Weights(np.ones((2, 1, 1, channels), np.int64), 2)
    return [
        ir.ScaleRequantize("read", "part", ones << 30, 0 * ones, 8, True),
        ir.MaxPool("read", "part", (2, 1), (1, 1)), ir.SumPool("read", "part", (2, 1), (1, 1)),
        ir.AveragePool("read", "part", (2, 1), (1, 1)), ir.Pad("read", "part", (1, 0, 0, 0), 1),
        ir.ArgMax("read", "part"), ir.Slice("read", "part", 0, max(1, channels // 2)),
        ir.Clamp("read", "part", 0, 9),
        ir.Convolution("read", "part", weights, np.zeros(2, np.int64))]


@pytest.mark.slow
@pytest.mark.parametrize("which", range(9))
def test_what_reads_a_slice_keeps_the_interval(which: int) -> None:
    """What is kept comes in bursts; a slow reader must not hold up what is dropped."""
    compared = 0
    for channels, start, count in itertools.product((8, 12, 32), (0, 4), (3, 5, 8)):
        if start + count > channels:
            continue
        network = Network("net", "x", TensorType((2, 1, channels), 4, False), (
            ir.Slice("part", "x", start, start + count), readers(count)[which]))
        for pace in (channels // 4, channels // 2, channels, 2 * channels):
            try:
                found = search(network, Budget(ECP5, PLENTY, 100), Goal(2 * pace))
            except PenjingError:
                continue
            ends = found.finished.frame_ends(60)
            assert ends[-1] - ends[-2] == found.plan.cycles_per_frame, (channels, start, count)
            compared += 1
            if (channels, start, count) == (12, 0, 5):
                check_network(network, found.timed())
    assert compared > 20

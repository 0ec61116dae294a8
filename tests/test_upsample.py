"""Upsampling: values, memory, and exact cycles and latency, alone and in graphs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import signed
from graphs import check
from networks import (
    PLENTY,
    Builder,
    check_network,
    convolution,
    random_images,
    random_sign,
    run_block,
)
from penjing.compiler import file, ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Enlargement
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.dataflow.search import Candidate, Goal, search
from penjing.compiler.dataflow.site import sites
from penjing.compiler.ir import Network, PenjingError, TensorType
from penjing.hdl.tech import Generic, MemoryStyle
from penjing.hdl.upsample import Upsampler, upsampler_window
from penjing.sim import golden
from penjing.sim.streams import Stalls

FRAMES = 5


def found(network: Network, cycles: int | None = None) -> Candidate:
    return search(network, Budget(ECP5, PLENTY, 1000), Goal(cycles))


def test_rows_go_down_and_columns_across() -> None:
    x = np.array([[[1, -2], [3, 4]], [[5, 6], [7, 8]]])[None]
    wanted = [[[1, -2]] * 3 + [[3, 4]] * 3] * 2 + [[[5, 6]] * 3 + [[7, 8]] * 3] * 2
    assert golden.upsample(x, (2, 3)).tolist() == [wanted]


@pytest.mark.parametrize("factor", [*range(1, 65), 127, ir.MAX_FACTOR])
def test_pytorch_repeats_likewise(factor: int) -> None:
    pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")
    from penjing.sim.oracles import torch as oracle

    network = Network("net", "x", TensorType((5, 7, 2), 8, True),
                      (ir.Upsample("up", "x", (factor, max(1, 65 - factor))),))
    x = random_images(network.input_type, 3, factor)
    np.testing.assert_array_equal(oracle.run(network, x), golden.run(network, x))


@pytest.mark.parametrize(("size", "factors", "lanes", "depth"), [
    ((3, 4, 6), (2, 2), 1, 64), ((3, 4, 6), (3, 1), 2, 32), ((3, 4, 6), (1, 3), 4, 16),
    ((3, 4, 6), (2, 2), 5, 16), ((2, 3, 6), (4, 2), 6, 16), ((2, 1, 1), (64, 1), 1, 8),
    ((1, 3, 1), (1, 64), 1, 16), ((2, 1, 3), (2, 1), 2, 16), ((2, 2, 2), (1, 1), 2, 16)])
def test_upsampler(size: tuple[int, int, int], factors: tuple[int, int], lanes: int, depth: int
                   ) -> None:
    """Every beat of a frame takes a cycle, and none is lost between frames."""
    kind = TensorType(size, 5, True)
    layer = ir.Upsample("up", "x", factors)
    x = random_images(kind, FRAMES, lanes)
    block = Upsampler(signed(5), size, factors, lanes=lanes, depth=depth, style=MemoryStyle.LOGIC,
                      technology=Generic())
    result = layer.output_type(kind)
    i, o = Port(lanes, kind.elements), Port(lanes, size[2])
    ends = run_block(block, x, golden.execute(layer, x), (kind, i), (result, o))
    assert set(np.diff(ends)) == {o.beats(result.elements)}


def test_latency_and_order_of_reads() -> None:
    window = upsampler_window((2, 3, 4), (3, 2), 4)
    assert (window.reads, window.passes, window.banks, window.words) == (2, 3, 1, 6)
    assert [loop.count for loop in window.loops] == [1, 1, 2, 3, 3, 2]
    for factors in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="must be at least 1"):
            upsampler_window((2, 3, 4), factors, 4)


def enlarged(factors: tuple[int, int], *, size: tuple[int, int, int] = (3, 3, 2),
             signs: bool = False) -> Network:
    """A convolution in front and behind, and signs where they are wanted."""
    rng = np.random.default_rng(factors)
    grow = Builder(TensorType(size, 4, True))
    for layer in convolution(rng, "a", "x", 4, size[2]):
        grow.add(layer)
    if signs:
        grow.add(random_sign(rng, "sign", grow.tail, grow.type))
    grow.add(ir.Upsample("up", grow.tail, factors))
    for layer in convolution(rng, "b", grow.tail, 2, 4, 2):
        grow.add(layer)
    return grow.network()


@pytest.mark.slow
@pytest.mark.parametrize(("factors", "signs", "cycles", "lanes"), [
    ((2, 2), False, 36, 4), ((2, 2), True, 80, 2), ((2, 2), False, 600, 1), ((3, 1), False, 27, 4),
    ((4, 1), True, 160, 1), ((1, 3), False, 60, 2), ((1, 3), True, 27, 4), ((5, 4), False, 180, 4),
    ((1, 1), True, 9, 4)])
def test_an_upsampling_takes_its_predicted_cycles(factors: tuple[int, int], signs: bool,
                                                  cycles: int, lanes: int) -> None:
    network = enlarged(factors, signs=signs)
    candidate = found(network, cycles)
    check(network, candidate)
    plan, site = candidate.timed(), sites(network)["up"]
    planned = plan.layer("up")
    assert isinstance(planned.kind, Enlargement)
    assert planned.o == Port(lanes, 4)
    assert planned.cycles == planned.o.beats(site.result.elements) <= cycles
    tensors = golden.run_all(network, random_images(network.input_type, FRAMES, 1))
    alone = run_block(accelerator.layer(network, plan, "up", Generic()),
                      tensors[site.layer.inputs[0]], tensors["up"], (site.source, planned.i),
                      (site.result, planned.o), [Stalls.NONE])
    assert np.diff(alone)[-1] == planned.cycles


@pytest.mark.parametrize("factors", [(2, 2), (7, 1), (64, 1)])
def test_a_buffer_holds_rows_and_no_map(factors: tuple[int, int]) -> None:
    """Two rows are the most that is on its way: one that goes out, and one that comes in."""
    network = enlarged(factors, size=(12, 32, 2))
    kind = found(network).plan.layer("up").kind
    assert isinstance(kind, Enlargement) and kind.buffer is not None
    row = 32 * -(-4 // kind.o.lanes)
    assert row < kind.buffer.words <= 4 * row < 12 * row


@pytest.mark.slow
@pytest.mark.parametrize(("factors", "cycles"), [((2, 1), 200), ((3, 2), 1200)])
def test_a_row_is_longer_than_what_is_on_its_way(factors: tuple[int, int], cycles: int) -> None:
    network = enlarged(factors, size=(2, 24, 2))
    check(network, found(network, cycles))


@pytest.mark.slow
@pytest.mark.parametrize(("factors", "cycles"), [
    ((2, 2), 36), ((2, 2), 700), ((3, 1), 90), ((1, 3), 90)])
def test_what_was_pooled_meets_what_was_not(factors: tuple[int, int], cycles: int) -> None:
    """The bottom of a U: pooled, upsampled, and put beside the map that waits for it."""
    rng = np.random.default_rng(cycles)
    grow = Builder(TensorType((6, 6, 2), 4, True))
    grow.add(ir.MaxPool("pool", "x", factors, factors))
    grow.add(ir.Upsample("up", "pool", factors))
    grow.add(ir.Concatenation("join", "up", ("x",)))
    for layer in convolution(rng, "b", "join", 2, 4, 2):
        grow.add(layer)
    network = grow.network()
    check(network, found(network, cycles))


def test_a_network_of_it_alone() -> None:
    network = Network("net", "x", TensorType((3, 2, 3), 3, True), (ir.Upsample("up", "x", (3, 2)),))
    for cycles, beats in ((36, 36), (71, 36), (72, 72), (107, 72), (108, 108)):
        assert found(network, cycles).plan.cycles_per_frame == beats
    check_network(network, found(network, 72).timed(), frames=4)
    with pytest.raises(PenjingError, match="no fold reaches 35 cycles a frame"):
        found(network, 35)


def test_what_does_not_fit_is_refused() -> None:
    kind = TensorType((2, 3, 4), 8, False, 3)
    assert ir.Upsample("up", "x", (1, 64)).output_type(kind) == replace(kind, shape=(2, 192, 4))
    assert ir.Upsample("up", "x", (2, 1)).output_type(ir.Bipolar((2, 3, 4))) == ir.Bipolar(
        (4, 3, 4))
    for factors in ((0, 1), (1, 1025), (2,), (1, 2, 3), (1.0, 2), (True, 2), 2):
        with pytest.raises(PenjingError, match=r"^layer up: factors must be "):
            ir.Upsample("up", "x", factors)
    with pytest.raises(PenjingError, match=r"^tensor: shape \(65536, 4096, 1\) has 2684"):
        ir.Upsample("up", "x", (1024, 1)).output_type(TensorType((64, 4096, 1), 1, False))


def test_a_file_holds_it(tmp_path: object) -> None:
    network = enlarged((3, 2))
    file.save(network, tmp_path / "net.penjing")
    assert file.load(tmp_path / "net.penjing") == network

"""PyTorch computes the integers that the golden model computes, or refuses."""

from __future__ import annotations

import numpy as np
import pytest
from penjing.compiler import ir
from penjing.compiler.ir import PenjingError
from penjing.sim import golden

pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")

from penjing.sim.oracles import torch as oracle


def random_network(rng: np.random.Generator) -> ir.Network:
    """A chain of every kind of layer with random shapes, strides and paddings."""
    kind = ir.TensorType((int(rng.integers(7, 12)), int(rng.integers(7, 12)), 2),
                         int(rng.integers(2, 9)), bool(rng.integers(2)))

    def integers(low: int, high: int, count: int) -> tuple[int, ...]:
        return tuple(int(v) for v in rng.integers(low, high, count))

    bits = int(rng.integers(2, 9))
    half = 1 << bits - 1
    kernel = integers(1, 5, 2)
    pads = tuple(int(rng.integers(0, kernel[i // 2])) for i in range(4))
    conv = ir.Convolution(
        "conv", "x", ir.Weights(rng.integers(-half, half, (5, *kernel, 2)), bits),
        rng.integers(-99, 99, 5), integers(1, 3, 2), pads)  # type: ignore[arg-type]
    net = ir.Builder(kind)
    for layer in (
            conv,
            ir.ShiftRequantize("rq", "conv", int(rng.integers(-2, 9)), 6, bool(rng.integers(2))),
            ir.MaxPool("pool", "rq", (2, 3), integers(1, 3, 2), (1, 0, 2, 1)),
            ir.AveragePool("mean", "pool", (2, 2), integers(1, 3, 2), (1, 1, 0, 1),
                           ir.Rounding(rng.choice(["half_up", "half_away"])),
                           bool(rng.integers(2)), int(rng.integers(0, 3))),
            ir.Clamp("clamp", "mean", -20, 25),
            ir.Subtract("difference", *(("clamp", "mean") if rng.integers(2) else
                                        ("mean", "clamp")))):
        net.add(layer)
    net.add(ir.Multiply("product", "difference", "mean", integers(-9, 9, 2)))
    taken = []
    for size in net.type.shape[:2]:
        start = int(rng.integers(size))
        taken.append((start, int(rng.integers(start, size)) + 1, int(rng.integers(1, 4))))
    net.add(ir.Crop("crop", "product", *taken))
    net.add(ir.Pad("pad", "crop", integers(0, 3, 4), 7))  # type: ignore[arg-type]
    net.add(ir.Permutation("mixed", "pad", tuple(rng.permutation(5).tolist())))
    height, width, channels = net.type.shape
    net.add(ir.Reshape("reshape", "mixed", (channels, height, width)))
    net.add(ir.Flatten("flat", "reshape"))
    size = net.type.elements
    net.add(ir.Dense("dense", "flat", ir.Weights(rng.integers(-128, 128, (6, size)), 8),
                     rng.integers(-9, 9, 6)))
    if rng.integers(2):
        net.add(ir.ArgMax("best", "dense"))
    return net.network()


@pytest.mark.parametrize("seed", range(25))
def test_integers_equal_the_golden_model(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    kind = network.input_type
    x = rng.integers(kind.low, kind.high + 1, (5, *kind.shape))
    x[0], x[1] = kind.low, kind.high
    given = oracle.run(network, x, batch=2)
    assert given.dtype == np.int64
    np.testing.assert_array_equal(given, golden.run(network, x))


@pytest.mark.parametrize("seed", range(12))
def test_tables_slices_and_concatenations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = ir.TensorType((4, 3, 5), int(rng.integers(1, 9)), bool(rng.integers(2)))
    net = ir.Builder(kind)
    rows = int(rng.choice([1, 5]))
    net.add(ir.Table("table", "x", rng.integers(-32, 32, (rows, 1 << kind.bits)), 6, True,
                     kind.low))
    net.add(ir.Slice("slice", "table", seed % 3, 3 + seed % 3))
    net.add(ir.Concatenation("join", "slice", ("table", "slice")))
    network = net.network()
    x = rng.integers(kind.low, kind.high + 1, (5, *kind.shape))
    np.testing.assert_array_equal(oracle.run(network, x), golden.run(network, x))


@pytest.mark.parametrize("shift", [-40, -1, 0, 1, 7, 46, 47, 48, 49, 64])
def test_shifts_at_the_limits(shift: int) -> None:
    kind = ir.TensorType((1, 1, 8), 48, True)
    layer = ir.ShiftRequantize("r", "x", shift, 16, True)
    network = ir.Network("n", "x", kind, (layer,))
    edge = 1 << max(shift - 1, 0)
    wanted = (kind.low, kind.high, 0, -1, 1, edge, -edge, edge - 1)
    x = np.array([min(max(v, kind.low), kind.high) for v in wanted]).reshape(1, 1, 1, 8)
    np.testing.assert_array_equal(oracle.run(network, x), golden.run(network, x))


def test_integers_refuse() -> None:
    network = random_network(np.random.default_rng(0))
    good = np.zeros((1, *network.input_type.shape), np.int64)
    with pytest.raises(PenjingError, match="the network takes integers"):
        oracle.run(network, good.astype(float))
    with pytest.raises(PenjingError, match="the network takes integers"):
        oracle.run(network, good[0])
    with pytest.raises(PenjingError, match="must lie within"):
        oracle.run(network, good + 300)


@pytest.mark.parametrize("bits", [11, 12])
def test_sums_at_the_limit_of_float32(bits: int) -> None:
    rng = np.random.default_rng(bits)
    most = (1 << bits - 1) - 1
    weights = ir.Weights(np.full((3, 3, 3, 4), most), bits)
    # The largest sum is below 2**24 with weights of 11 bits, above it with 12.
    network = ir.Network("wide", "x", ir.TensorType((6, 6, 4), 8, False), (
        ir.Convolution("conv", "x", weights, np.array([1, 0, -1])),
        ir.Flatten("flat", "conv"),
        ir.ShiftRequantize("few", "flat", 17, 8, False),
        ir.Dense("dense", "few", ir.Weights(rng.integers(-99, 99, (2, 48)), 8),
                 np.array([(1 << 24) + 1, 7]))))
    x = rng.integers(250, 256, (3, 6, 6, 4))
    assert np.array_equal(oracle.run(network, x), golden.run(network, x))

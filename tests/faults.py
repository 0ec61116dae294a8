"""Networks into whose Verilog a tool puts faults, and how they are judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from networks import (
    Builder,
    codes,
    graph_plan,
    random_images,
    random_plan,
    random_sign,
    random_weights,
    wide_and_deep,
)
from penjing.compiler import ir
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.plan import Plan, Port
from penjing.compiler.ir import Network, TensorType
from penjing.hdl.emit import emit
from penjing.hdl.tech import Generic
from penjing.sim import golden
from penjing.sim.mutants import Mutant, judge
from penjing.sim.streams import pack

FRAMES = 96
"""Enough for counters of words to wrap around, and for a product's last bit to show in a result."""


def judged(network: Network, plan: Plan, count: int, seed: int = 1) -> list[Mutant]:
    """What becomes of ``count`` faults in the accelerator of ``plan``."""
    images = random_images(network.input_type, FRAMES, 0)
    i, o = plan.layers[0].i, plan.layers[-1].o
    kind = network.output_type
    wanted = codes(kind, golden.run(network, images).reshape(FRAMES, -1))
    last = 1 << o.lanes * kind.bits
    return judge(
        emit(accelerator.whole(network, plan, Generic()), "top"),
        packed(codes(network.input_type, images.reshape(FRAMES, -1)), network.input_type, i),
        packed(wanted, kind, o),
        # Of spare lanes nothing is said; `last` always counts.
        [payload | last for payload in packed(np.full_like(wanted, -1), kind, o)],
        i_bits=i.lanes * network.input_type.bits + 1, o_bits=o.lanes * kind.bits + 1,
        count=count, seed=seed)


def packed(frames: np.ndarray, kind: TensorType, port: Port) -> Sequence[int]:
    """The payloads of all ``frames``."""
    return [payload for frame in frames.tolist()
            for payload in pack(frame, kind.bits, port.lanes, port.group)]


def caught(mutants: Sequence[Mutant]) -> float:
    """The share of faults that the test of the network sees."""
    return sum(mutant.verdict.value > 0 for mutant in mutants) / len(mutants)


def chain() -> tuple[Network, Plan]:
    """A convolution with padding, its requantization by a shift, and an ArgMax."""
    rng = np.random.default_rng(5)
    grow = Builder(TensorType((5, 4, 2), 4, True))
    grow.add(ir.Convolution("conv", "x", ir.Weights(rng.integers(-8, 8, (3, 3, 3, 2)), 4),
                            rng.integers(-20, 20, 3), (1, 1), (1, 1, 1, 1)))
    grow.add(ir.ShiftRequantize("relu", "conv", 4, 4, False))
    return grow.network(), random_plan(grow.network(), 1)


def residual() -> tuple[Network, Plan]:
    """The input is read three times, and two sums join it again."""
    network = wide_and_deep(2)
    return network, graph_plan(network, 2)


def binary() -> tuple[Network, Plan]:
    """Signs, a layer that counts them, and signs of that."""
    rng = np.random.default_rng(3)
    grow = Builder(TensorType((5, 5, 4), 4, False))
    grow.add(random_sign(rng, "signs", "x", grow.type))
    grow.add(ir.Convolution("layer", "signs", ir.Weights(rng.choice([-1, 1], (6, 3, 3, 4)), 2),
                            rng.integers(-3, 3, 6)))
    grow.add(ir.Threshold("last", "layer", rng.integers(-6, 7, (6, 1)), np.arange(6) % 2, 2, True,
                          -1, 2))
    return grow.network(), random_plan(grow.network(), 3)


def ternary() -> tuple[Network, Plan]:
    """Weights of three values, of different scales, and thresholds behind them."""
    rng = np.random.default_rng(6)
    grow = Builder(TensorType((4, 4, 3), 4, True))
    grow.add(ir.Convolution("layer", "x", ir.Weights(rng.choice([-3, 0, 5], (4, 2, 2, 3)), 4),
                            rng.integers(-9, 9, 4)))
    grow.add(ir.Threshold("levels", "layer", np.sort(rng.integers(-90, 90, (4, 3)), 1),
                          np.zeros(4, np.int64), 2, False))
    return grow.network(), random_plan(grow.network(), 2)


def scale() -> tuple[Network, Plan]:
    """A pool, a dense layer, and a scale for each of its outputs that few of them saturate."""
    rng = np.random.default_rng(7)
    grow = Builder(TensorType((4, 4, 3), 5, True))
    grow.add(ir.MaxPool("pool", "x", (2, 2), (2, 2)))
    grow.add(ir.Flatten("flatten", "pool"))
    grow.add(ir.Dense("dense", "flatten", random_weights(rng, (5, 12)), rng.integers(-50, 50, 5)))
    grow.add(ir.ScaleRequantize("scale", "dense", rng.integers(1 << 30, 1 << 31, 5),
                                rng.integers(-5, -3, 5), 8, True, zero_point=3))
    return grow.network(), random_plan(grow.network(), 4)


EXAMPLES: dict[str, Callable[[], tuple[Network, Plan]]] = {
    "chain": chain, "residual": residual, "binary": binary, "ternary": ternary, "scale": scale}

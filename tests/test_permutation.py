# amaranth: UnusedElaboratable=no
"""Channels in another order: values, exact cycles and latency, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import signed
from networks import PLENTY, Builder, check_network, random_images, run_block
from penjing.compiler import ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Shuffle
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Network, PenjingError, TensorType
from penjing.hdl.graph import Pipeline
from penjing.hdl.permute import Permuter
from penjing.hdl.stream import Beat, Buffer
from penjing.sim import golden


def test_pytorch_selects_likewise() -> None:
    pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")
    from penjing.sim.oracles import torch as oracle

    layer = ir.Permutation("mix", "x", (3, 0, 2, 1))
    network = Network("net", "x", TensorType((2, 3, 4), 8, True), (layer,))
    x = random_images(network.input_type, 3, 0)
    np.testing.assert_array_equal(oracle.run(network, x), golden.run(network, x))
    assert golden.permute(np.array([[5, 6, 7, 8]]), layer.order).tolist() == [[8, 5, 7, 6]]


@pytest.mark.parametrize(("lanes", "group"), [(3, 3), (6, 18)])
def test_permuter(lanes: int, group: int) -> None:
    kind, order = TensorType((2, 6, 3), 5, True), (2, 0, 1)
    layer = ir.Permutation("mix", "x", order)
    x = random_images(kind, 4, lanes)
    # It has no clock of its own, but the simulation needs one.
    block = Pipeline([("permute", Permuter(signed(5), lanes=lanes, order=order)),
                      ("buffer", Buffer(Beat(signed(5), lanes)))])
    port = Port(lanes, group)
    ends = run_block(block, x, golden.execute(layer, x), (kind, port), (kind, port))
    assert set(np.diff(ends)) == {port.beats(kind.elements)}


@pytest.mark.parametrize(("cycles", "lanes"), [(12, 6), (24, 6), (72, 6)])
def test_a_permutation_takes_its_predicted_cycles(cycles: int, lanes: int) -> None:
    grow = Builder(TensorType((3, 4, 6), 4, True))
    grow.add(ir.Clamp("clamp", "x", -7, 7))
    grow.add(ir.Permutation("mix", "clamp", (5, 3, 1, 4, 2, 0)))
    grow.add(ir.Clamp("end", "mix", -6, 6))
    network = grow.network()
    plan = schedule(network, Budget(ECP5, PLENTY, 1000), Goal(cycles))
    planned = plan.layer("mix")
    assert isinstance(planned.kind, Shuffle)
    assert planned.o == Port(lanes, 6)
    assert (plan.layers[0].i.lanes < 6) == (cycles > 12)
    check_network(network, plan)


def test_a_shuffle_between_groups_is_exact() -> None:
    rng = np.random.default_rng(0)
    grow = Builder(TensorType((4, 4, 6), 3, True))
    grow.add(ir.Convolution("conv", "x", ir.Weights(rng.integers(-3, 4, (6, 1, 1, 3)), 3),
                            np.zeros(6, np.int64), groups=2))
    grow.add(ir.Permutation("mix", "conv", (0, 3, 1, 4, 2, 5)))
    grow.add(ir.Slice("half", "mix", 0, 3))
    grow.add(ir.Slice("other", "mix", 3, 6))
    grow.add(ir.Add("sum", "half", "other"))
    network = grow.network()
    check_network(network, schedule(network, Budget(ECP5, PLENTY, 12), Goal()))


def test_an_order_must_be_one() -> None:
    for order in ((0, 2), (0, 0, 1), (-1, 0), [0, 1], (0, 1.0)):
        with pytest.raises(PenjingError, match=r"^layer mix: order must be a tuple that holds"):
            ir.Permutation("mix", "x", order)  # type: ignore[arg-type]
    with pytest.raises(PenjingError, match=r"^layer mix: order has 2 channels, its input has 3$"):
        ir.Permutation("mix", "x", (1, 0)).output_type(TensorType((1, 1, 3), 4, True))
    for lanes, order in ((3, (1, 0)), (2, (1, 1))):
        with pytest.raises(ValueError, match="must"):
            Permuter(signed(4), lanes=lanes, order=order)

# amaranth: UnusedElaboratable=no
"""Weights of which n of m are stored: their encoding, their array, and what they spare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import signed
from amaranth.sim import Simulator
from cases import LAYER
from networks import PLENTY, check_network
from penjing.compiler import file, ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Ask, Dot, NofM, candidates
from penjing.compiler.dataflow.plan import Fold, Plan, Port
from penjing.compiler.dataflow.search import Goal, fold_of_simd, schedule
from penjing.compiler.dataflow.site import sites
from penjing.compiler.ir import Integers, Network, PenjingError, TensorType, Weights
from penjing.hdl.engine import EngineShape
from penjing.hdl.n_of_m_array import Chooser, NofMArray, NofMShape
from penjing.hdl.tech import Generic

USUAL = [(1, 2), (2, 4), (1, 4), (3, 8), (5, 16), (15, 16)]


def pruned(shape: tuple[int, ...], n: int, m: int, seed: int = 0, bits: int = 8) -> Integers:
    """Weights, of which in each group any ``n`` may differ from 0."""
    rng = np.random.default_rng([seed, n, m])
    whole = *shape[:-1], -(-shape[-1] // m), m
    values = rng.integers(-(1 << bits - 1), 1 << bits - 1, whole)
    values *= np.argsort(rng.random(whole), -1) < n
    return values.reshape(*shape[:-1], -1)[..., :shape[-1]]


def convolution(n: int, m: int, channels: int, kernel: tuple[int, int] = (3, 3), outputs: int = 4,
                by: ir.ValueEncoding | None = None, groups: int = 1) -> Network:
    """A convolution of a map of 4 bits; each output is of some seed."""
    values = pruned((outputs, *kernel, channels // groups), n, m)
    layer = ir.Convolution(LAYER, "x", Weights(values, 8, encoding=ir.NofM(n, m, by or ir.Plain())),
                           np.arange(outputs), padding=(1, 1, 0, 0), groups=groups)
    return Network("net", "x", TensorType((4, 4, channels), 4, False), (layer,))


def plan_of(network: Network, fold: Fold) -> Plan:
    return schedule(network, Budget(ECP5, PLENTY, 10**4), Goal(10**5, {LAYER: fold}))


# --- the encoding
@pytest.mark.parametrize(("n", "m"), USUAL)
@pytest.mark.parametrize("channels", [1, 5, 16, 20])
def test_groups_hold_all_weights(n: int, m: int, channels: int) -> None:
    values = pruned((3, 2, 2, channels), n, m)
    stored, selects = ir.NofM(n, m).groups(values)
    groups = -(-channels // m)
    assert stored.shape == selects.shape == (3, 2, 2, groups, n)
    least = np.arange(n)
    assert (least <= selects).all() and (selects <= m - n + least).all()
    assert (np.diff(selects) > 0).all()
    found = np.zeros((3, 2, 2, groups, m), np.int64)
    np.put_along_axis(found, selects, stored, -1)
    assert np.array_equal(found.reshape(3, 2, 2, -1)[..., :channels], values)
    assert not found.reshape(3, 2, 2, -1)[..., channels:].any()


@pytest.mark.parametrize(("n", "m", "select"), [(1, 2, 1), (2, 4, 2), (1, 4, 2), (2, 5, 3),
                                                (3, 8, 3), (5, 16, 4)])
def test_bits_of_memory(n: int, m: int, select: int) -> None:
    """Of each group n weights and n selects, also where it has fewer, and the table."""
    weights = Weights(pruned((6, 3, 3, 20), n, m), 8, encoding=ir.NofM(n, m))
    stored = 6 * 9 * -(-20 // m) * n
    assert weights.memory_bits == stored * (8 + select)
    few = np.sign(weights.values) * 7
    coded = Weights(few, 8, encoding=ir.NofM(n, m, ir.Codebook()))
    assert coded.stored.different.tolist() == [-7, 0, 7]
    assert coded.memory_bits == stored * (2 + select) + 3 * 8


def test_a_codebook_of_one_value_has_no_indices() -> None:
    values = np.tile([3, 0, 3, 0], (5, 2))
    weights = Weights(values, 8, encoding=ir.NofM(2, 4, ir.Codebook()))
    assert weights.stored.different.tolist() == [3]
    assert weights.memory_bits == 20 * 2 + 8


@pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 4), (5, 4), (1, 17), (True, 4), (1.0, 4)])
def test_n_is_less_than_m(n: int, m: int) -> None:
    with pytest.raises(PenjingError, match=f"^weights: n of m must be integers with 1 <= n < m <= "
                                           f"16, not {n} of {m}$"):
        ir.NofM(n, m)


def test_values_are_stored_in_a_known_way() -> None:
    with pytest.raises(PenjingError, match=r"^weights: values of the encoding 2:4 must be stored "
                                           r"plain or by a codebook, not as NofM"):
        ir.NofM(2, 4, ir.NofM(1, 2))  # type: ignore[arg-type]


def test_a_group_that_has_too_many_is_named() -> None:
    values = np.zeros((3, 2, 2, 6), np.int64)
    values[2, 0, 1, [4, 5]] = 1
    Weights(values, 8, encoding=ir.NofM(2, 4))
    with pytest.raises(PenjingError, match=(
            r"^weights: 1 of 4 may differ from 0, but 2 do among the channels 4 to 5 of output 2, "
            r"tap 1; prune them, or store them plain$")):
        Weights(values, 8, encoding=ir.NofM(1, 4))
    with pytest.raises(PenjingError, match=r"3 do among the channels 0 to 3 of output 1; prune"):
        Weights(np.array([[1, 0, 0, 1], [1, 1, 1, 0]]), 8, encoding=ir.NofM(2, 4))


def test_a_file_keeps_the_encoding(tmp_path: Path) -> None:
    for by in (ir.Plain(), ir.Codebook()):
        network = convolution(3, 8, 10, by=by)
        file.save(network, path := tmp_path / "net.penjing")
        assert file.load(path) == network


# --- the array
@pytest.mark.parametrize(("n", "m", "span", "simd"), [(2, 4, 6, 12), (1, 2, 2, 4), (5, 16, 7, 7),
                                                      (3, 8, 16, 16), (15, 16, 16, 16)])
def test_choices(n: int, m: int, span: int, simd: int) -> None:
    """Every input of a group reaches as many of its products as its place allows."""
    choice = NofMShape(simd, n, m, span)
    assert len(choice.choices) == choice.terms
    rng = np.random.default_rng(1)
    dut = Chooser(choice, signed(5))

    async def testbench(ctx: object) -> None:
        for _ in range(50):
            x, wanted, selects = rng.integers(0, 32, simd), [], []
            for start in range(0, simd, span):
                for first in range(0, span, m):
                    chosen = np.sort(rng.permutation(m)[:n])
                    selects += chosen.tolist()
                    wanted += [int(x[start + first + c]) if first + c < span else 0
                               for c in chosen]
            ctx.set(dut.x, sum(int(value) << 5 * k for k, value in enumerate(x)))
            ctx.set(dut.selects, sum(s << choice.select_bits * k for k, s in enumerate(selects)))
            assert ctx.get(dut.o) == sum(value << 5 * k for k, value in enumerate(wanted))

    simulator = Simulator(dut)
    simulator.add_testbench(testbench)
    simulator.run()


def test_structures_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"^span must divide 12, not 5$"):
        NofMShape(12, 2, 4, 5)
    with pytest.raises(ValueError, match=r"^m must be at least 5, not 4$"):
        NofMShape(12, 4, 4, 4)
    shape = EngineShape(2, 8, 2, 4, 1, 9)
    with pytest.raises(ValueError, match=r"^choice must be among 8 inputs of one group of "
                                         r"channels, not 12 of 1$"):
        NofMArray(shape, NofMShape(12, 2, 4, 4), signed(4), weight_bits=4, bias=[0] * 4,
                  accumulator_bits=12, dsp_multipliers=0, technology=Generic())


# --- the engine
@pytest.mark.parametrize(("n", "m", "fold"), [
    (1, 2, Fold(2, 1, 4)), (2, 4, Fold(2, 1, 8)), (1, 4, Fold(4, 3, 16)), (3, 8, Fold(3, 1, 16)),
    (5, 16, Fold(2, 1, 16)), (5, 16, Fold(1, 2, 48))])
@pytest.mark.parametrize("by", [ir.Plain(), ir.Codebook()], ids=["plain", "codebook"])
def test_engine(n: int, m: int, fold: Fold, by: ir.ValueEncoding) -> None:
    """Values under all stalls, cycles and latency; n/m of the products have a multiplier."""
    network = convolution(n, m, 16, by=by)
    plan = plan_of(network, fold)
    assert plan.multipliers * m == fold.products * n
    assert isinstance(plan.layers[0].kind, NofM)
    check_network(network, plan, frames=3)


@pytest.mark.parametrize("lanes", [6, 12, 18])
def test_groups_end_with_a_tap(lanes: int) -> None:
    """Where the channels are no whole groups, beats bring whole taps."""
    network = convolution(2, 4, 6)
    plan = plan_of(network, Fold(2, 1, lanes))
    assert plan.multipliers == 2 * lanes // 6 * 4
    check_network(network, plan, frames=3)


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (1, 4), (3, 8), (4, 16)])
def test_cycles_are_n_of_m_of_those_of_the_dense_engine(n: int, m: int) -> None:
    network = convolution(n, m, 16)
    few = plan_of(network, Fold(1, 1, 16))
    layer = network.layers[0]
    assert isinstance(layer, ir.Convolution)
    plain = Network("net", "x", network.input_type, (ir.Convolution(
        LAYER, "x", Weights(layer.weights.values, 8), layer.bias, padding=layer.padding),))
    many = plan_of(plain, Fold(1, 1, 16 * n // m))
    assert many.multipliers == few.multipliers
    assert few.cycles_per_frame * m == many.cycles_per_frame * n
    # Products with what is not stored are not made, and do not count.
    assert few.macs * m == many.macs * n
    assert few.layers[0].products == few.multipliers
    assert few.utilization == many.utilization
    assert isinstance(many.layers[0].kind, Dot)


def test_one_value_in_hardware() -> None:
    """A codebook of one value, of which only the selects are stored."""
    values = np.tile([0, 5, 0, 5, 5, 0, 0, 5], (4, 3))
    layer = ir.Dense(LAYER, "x", Weights(values, 8, encoding=ir.NofM(2, 4, ir.Codebook())),
                     np.arange(4))
    network = Network("net", "x", TensorType((1, 1, 24), 4, True), (layer,))
    plan = plan_of(network, Fold(2, 1, 8))
    (memory,) = (one for one in plan.layers[0].kind.memories(sites(network)[LAYER])
                 if one.role == "weights")
    assert (memory.words, memory.width) == (6, 2 * 4 * 2)
    check_network(network, plan, frames=3)


@pytest.mark.parametrize(("inputs", "fold", "codes"), [
    (24, Fold(2, 1, 4), 1), (23, Fold(2, 1, 4), 1), (22, Fold(2, 1, 4), 2), (20, Fold(2, 1, 8), 2),
    (24, Fold(3, 1, 4), 2)])
def test_a_codebook_has_a_zero_where_it_needs_one(inputs: int, fold: Fold, codes: int) -> None:
    """Groups of too few weights need one, and groups and outputs that there are none of; lanes to
    spare within a group do not."""
    values = np.tile([0, 5, 5, 0], (4, 6))[:, :inputs]
    layer = ir.Dense(LAYER, "x", Weights(values, 8, encoding=ir.NofM(2, 4, ir.Codebook())),
                     np.arange(4))
    network = Network("net", "x", TensorType((1, 1, inputs), 4, True), (layer,))
    plan = plan_of(network, fold)
    kind = plan.layers[0].kind
    assert isinstance(kind, NofM) and kind.store.bits == codes - 1
    check_network(network, plan, frames=3)


def test_layers_that_cannot_have_it_are_named() -> None:
    with pytest.raises(PenjingError, match=(
            r"^layer layer: weights of a convolution in groups cannot have the encoding 2:4; store "
            r"them plain or by a codebook$")):
        convolution(2, 4, 8, groups=2)
    weights = Weights(pruned((3, 2, 2, 4), 2, 4), 8, encoding=ir.NofM(2, 4, ir.Codebook()))
    with pytest.raises(PenjingError, match=r"a transposed convolution cannot have the encoding "
                                           r"2:4\+codebook; store them plain or by a codebook$"):
        ir.TransposedConvolution(LAYER, "x", weights, np.zeros(3, np.int64), (2, 2))
    weights = Weights(pruned((3, 2, 2), 2, 4), 8, encoding=ir.NofM(2, 4))
    with pytest.raises(PenjingError, match=r"a depthwise convolution cannot have the encoding 2:4"):
        ir.Depthwise(LAYER, "x", weights, np.zeros(3, np.int64))


def test_no_other_engine_offers_itself() -> None:
    site = sites(convolution(2, 4, 8))[LAYER]
    ask = Ask(ECP5, (Port(1, 8),), 10**4, 9)
    assert {type(kind) for kind in candidates(site.layer, site, ask)} == {NofM}
    assert not list(Dot.candidates(site, ask))


def test_folds_that_part_groups() -> None:
    with pytest.raises(PenjingError, match=r"^layer layer: 5 lanes part the groups in which its "
                                           r"weights are stored; take 8$"):
        plan_of(convolution(2, 4, 8), Fold(1, 1, 5))
    with pytest.raises(PenjingError, match=r"^layer layer: 8 lanes part .* take 12$"):
        plan_of(convolution(2, 4, 6), Fold(1, 1, 8))
    network = convolution(2, 4, 8)
    assert fold_of_simd(network, network.layers[0], 2, 11) == Fold(2, 1, 8)
    with pytest.raises(PenjingError, match=r"^layer layer: 3 inputs a cycle are less than a group "
                                           r"in which its weights are stored; take 4$"):
        fold_of_simd(network, network.layers[0], 2, 3)

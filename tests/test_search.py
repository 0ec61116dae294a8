"""What the search takes for a layer: the cheapest of all engines, in one currency."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import DRAWS, LAYER, Case
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import one_of
from networks import random_images, run_network
from penjing.compiler import ir
from penjing.compiler.cost import Fabric, Resources
from penjing.compiler.cost.families import ECP5, ICE40
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import (
    ENGINES,
    Ask,
    Columnwise,
    Constant,
    Kind,
    NofM,
    Nonzeros,
    Sliced,
    Ternary,
)
from penjing.compiler.dataflow.options import OUTPUT_LANE_LUTS, Options
from penjing.compiler.dataflow.plan import Fold, Plan, Port
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.dataflow.site import Site, sites
from penjing.compiler.encode import encode
from penjing.compiler.ir import Network, TensorType
from penjing.hdl.tech import BANK_WORDS
from penjing.sim.streams import Stalls

NO_DSPS = Resources(luts=10**6, ffs=10**6, dsps=0, brams=10**4)


def price(kind: Kind, site: Site, fabric: Fabric) -> int:
    """What a kind costs, and what the layer behind pays for its lanes."""
    return fabric.price(kind.cells(site, fabric)) + OUTPUT_LANE_LUTS * kind.o.lanes


def offers(site: Site, ask: Ask) -> dict[type[Kind], list[Kind]]:
    """What each engine has to offer that is fast enough."""
    return {engine: [one for one in engine.candidates(site, ask) if one.cycles(site) <= ask.cycles]
            for engine in ENGINES}


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__name__)
def test_no_engine_has_a_cheaper_fold(engine: type[Kind]) -> None:
    compared = []

    @settings(deadline=None, max_examples=25, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))
    @given(one_of(*DRAWS[engine]))
    def check(case: Case) -> None:
        site = sites(case.network)[LAYER]
        port = Port(1, site.source.shape[2])
        for fabric in (ECP5, ICE40):
            for cycles in (16 * case.cycles, 256 * case.cycles):
                ask = Ask(fabric, (port,), cycles, case.dsps)
                best = Options(site, fabric).cheapest(ask.inputs, cycles, case.dsps)
                options = offers(site, ask)
                prices = [price(one, site, fabric) for of in options.values() for one in of]
                assert (best is None) is (not prices)
                if best is not None:
                    assert best.cycles <= cycles
                    assert price(best.kind, site, fabric) == min(prices)
                    compared.append(sum(map(bool, options.values())))

    check()
    # Engines compete for layers, not folds alone; what leaves zeros out, or has no memory, has one.
    assert max(compared) > (engine not in (NofM, Nonzeros, Columnwise, Constant))


def grouped() -> Network:
    """A 3×3 convolution of 8×8 positions, 16 to 16 channels in two groups, of three weights."""
    values = np.random.default_rng(0).choice([-3, 0, 5], (16, 3, 3, 8))
    layer = ir.Convolution(LAYER, "x", ir.Weights(values, 8), np.zeros(16, np.int64), (1, 1),
                           (1, 1, 1, 1), groups=2)
    return Network("net", "x", TensorType((8, 8, 16), 8, True), (layer,))


def test_sums_without_multipliers_are_cheaper_than_soft_multipliers() -> None:
    network = grouped()
    plan = schedule(network, Budget(ECP5, NO_DSPS, 10**6), Goal(2304)).layers[0]
    assert isinstance(plan.kind, Ternary) and plan.cycles <= 2304
    assert plan.work("multipliers") == plan.resources.dsps == 0
    soft = schedule(network, Budget(ECP5, NO_DSPS, 10**6),
                    Goal(2304, {LAYER: Fold(8, 1, 8)})).layers[0]
    assert isinstance(soft.kind, Sliced) and soft.cycles <= 2304
    assert soft.work("multipliers") == 64
    assert plan.resources.luts < soft.resources.luts


def stack(count: int) -> Network:
    """3×3 convolutions of 8×8 positions, 32 to 32 channels, one behind the other."""
    layers: list[ir.Layer] = []
    for n in range(count):
        values = np.random.default_rng(n).integers(-127, 128, (32, 3, 3, 32))
        layers += [ir.Convolution(f"c{n}", layers[-1].name if layers else "x",
                                  ir.Weights(values, 8), np.zeros(32, np.int64), (1, 1),
                                  (1, 1, 1, 1)),
                   ir.ShiftRequantize(f"r{n}", f"c{n}", 10, 8, True)]
    return Network("net", "x", TensorType((8, 8, 32), 8, True), tuple(layers))


@pytest.mark.parametrize(("multipliers", "brams", "slower"), [(32, 18, 1.05), (24, 22, 1.25)])
def test_where_block_rams_run_out_layers_spare_them(multipliers: int, brams: int, slower: float
                                                    ) -> None:
    network = stack(3)

    def plan(most: int) -> Plan:
        cells = Resources(luts=10**5, ffs=10**5, dsps=multipliers, brams=most)
        return schedule(network, Budget(ECP5, cells, multipliers))

    many, few = plan(1000), plan(brams)
    assert few.resources.brams <= brams < many.resources.brams
    assert few.cycles_per_frame <= slower * many.cycles_per_frame


def test_constants_in_tables_spare_block_rams() -> None:
    """256 words of 72 bits are two blocks, or the tables of 72 columns."""
    values = np.random.default_rng(0).integers(-128, 128, (256, 3, 3, 1))
    layer = ir.Convolution(LAYER, "x", ir.Weights(values, 8), np.zeros(256, np.int64), (1, 1),
                           (1, 1, 1, 1))
    network = Network("net", "x", TensorType((3, 3, 1), 8, True), (layer,))
    fold = Goal(folds={LAYER: Fold(1, 3, 3)})
    cells = Resources(luts=10**5, ffs=10**5, dsps=9, brams=10**3)

    def plan(brams: int) -> Plan:
        return schedule(network, Budget(ECP5, replace(cells, brams=brams), 9), fold)

    many, few = plan(2), plan(0)
    assert (many.resources.brams, few.resources.brams) == (2, 0)
    assert few.resources.luts > many.resources.luts + 1000
    assert few.cycles_per_frame == many.cycles_per_frame
    images = random_images(network.input_type, 1, 1)
    run_network(network, few, images, [Stalls.BOTH])


@pytest.mark.parametrize("encoding", ["relative", "relative:6+codebook", "bitmap"])
def test_entries_in_tables_spare_block_rams(encoding: str) -> None:
    """More entries than a bank of tables has words: the slowest engine takes one a cycle."""
    generator = np.random.default_rng(0)
    values = generator.choice([-96, -32, 32, 96], (64, 3, 3, 32))
    values[generator.random(values.shape) < 0.85] = 0
    assert np.count_nonzero(values) > 2 * BANK_WORDS
    layer = ir.Convolution(LAYER, "x", ir.Weights(values, 8), np.zeros(64, np.int64), (1, 1),
                           (1, 1, 1, 1))
    network = encode(Network("net", "x", TensorType((3, 3, 32), 8, True), (layer,)),
                     {LAYER: encoding})
    fold = Goal(folds={LAYER: Fold(1, 1, 1)})
    cells = Resources(luts=10**5, ffs=10**5, dsps=1, brams=10**3)

    def plan(brams: int) -> Plan:
        return schedule(network, Budget(ECP5, replace(cells, brams=brams), 1), fold)

    many = plan(1000)
    few = plan(many.resources.brams - 1)
    assert few.resources.brams < many.resources.brams
    assert few.resources.luts > many.resources.luts + 1000
    assert few.cycles_per_frame == many.cycles_per_frame
    images = random_images(network.input_type, 1, 1)
    run_network(network, few, images, [Stalls.NONE, Stalls.BOTH])


def test_a_faster_plan_where_only_that_has_block_rams_enough() -> None:
    """Its weights lie in few words: the slowest plan has them in block RAM, and this in LUTs."""
    values = np.random.default_rng(0).integers(-128, 128, (16, 3, 3, 8))
    layer = ir.Convolution(LAYER, "x", ir.Weights(values, 8), np.zeros(16, np.int64), (1, 1),
                           (1, 1, 1, 1))
    network = Network("net", "x", TensorType((8, 8, 8), 8, True), (layer,))
    none = Resources(luts=10**5, ffs=10**5, dsps=150, brams=0)
    few = Budget(ECP5, none, 150)
    assert schedule(network, few) == schedule(network, Budget(ECP5, replace(none, brams=2), 150))
    slow = schedule(network, few, Goal(73728))
    assert slow.resources.brams == 0 and slow.cycles_per_frame < 73728
    with pytest.raises(ir.PenjingError, match="needs 2 block RAMs on generic, where it may have 0"):
        schedule(network, replace(few, multipliers=1))

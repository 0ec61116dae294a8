"""Every kind of hardware, by one harness: drawn, planned, priced and simulated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import DRAWS, LAYER, Case
from engines import most_pieces
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis.strategies import SearchStrategy, one_of
from networks import PLENTY, check_cycles, run_block, run_network
from penjing.compiler import ir
from penjing.compiler.cost import Fabric, Storage
from penjing.compiler.cost.families import ECP5, ICE40
from penjing.compiler.dataflow import accelerator, kinds, plan_file
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import ENGINES, KINDS, Ask, Engine, Kind, candidates
from penjing.compiler.dataflow.kinds.engine import Multiplying, _frame_cells
from penjing.compiler.dataflow.kinds.entry_store import EntryMemory
from penjing.compiler.dataflow.kinds.window import Buffered
from penjing.compiler.dataflow.options import Catalogue, Options, Scarce
from penjing.compiler.dataflow.plan import Fold, LayerPlan, Plan, Port
from penjing.compiler.dataflow.search import Goal
from penjing.compiler.dataflow.searching import Search
from penjing.compiler.dataflow.site import Site, sites
from penjing.compiler.ir import Integers
from penjing.hdl.bitmap_entries import MASKS_AHEAD
from penjing.hdl.emit import emit
from penjing.hdl.graph import Pipeline
from penjing.hdl.pool import AverageShape
from penjing.hdl.stream import Buffer, Queue
from penjing.hdl.tech import Generic
from penjing.sim import golden
from penjing.sim.streams import Stalls

FABRICS = (ECP5, ICE40)
EXAMPLES = 24
ALL_DRAWS = [pytest.param(kind, draw, id=f"{kind.__name__}{n or ''}")
             for kind, draws in DRAWS.items() for n, draw in enumerate(draws)]


def drawn(examples: int) -> settings:
    """So many examples, the same ones every day; they take as long as they like."""
    return settings(deadline=None, max_examples=examples, database=None, derandomize=True,
                    phases=[Phase.generate],  # to shrink one simulates for an hour
                    suppress_health_check=list(HealthCheck))


few = drawn(6)


def test_every_kind_is_drawn() -> None:
    assert set(DRAWS) == set(KINDS)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "draw"), ALL_DRAWS)
def test_kind(kind: type[Kind], draw: SearchStrategy[Case], tmp_path: Path) -> None:
    found = set()

    @drawn(EXAMPLES)
    @given(draw)
    def check(case: Case) -> None:
        for fabric in FABRICS:
            plan, best = planned(case, kind, fabric)
            found.add(best)
            check_price(case, plan, fabric, tmp_path / "plan.json")
        simulate(case, plan)

    check()
    assert kind in found, f"of nothing that is drawn for {kind.__name__} it is the cheapest"


@pytest.mark.parametrize("wide", [False, True], ids=["apart", "side_by_side"])
@pytest.mark.parametrize("examples", [
    EXAMPLES, pytest.param(2 * EXAMPLES, marks=pytest.mark.slow)])
def test_a_tile_engine_is_the_same_whatever_its_memories(wide: bool, examples: int) -> None:
    """Columns apart or side by side, results in as many pieces as can be, entries in columns."""
    found = set()

    @drawn(examples)
    @given(*DRAWS[kinds.Nonzeros])
    def check(case: Case) -> None:
        plan, _ = planned(case, kinds.Nonzeros, ECP5)
        site, layer = sites(case.network)[LAYER], plan.layer(LAYER)
        kind = layer.kind
        assert isinstance(kind, kinds.Nonzeros)
        if kind.fold.lanes == 1:
            reject()  # of one position, most are the same
        entries = EntryMemory(Storage.BLOCK)
        if isinstance(site.layer.weights.encoding, ir.RelativeIndex):
            whole = next(one.width for one in replace(kind, entries=entries).memories(site))
            entries = EntryMemory(Storage.BLOCK, (whole - 1, 1))
        pieces = most_pieces(site, kind)
        kind = replace(kind, wide=wide, pieces=pieces, entries=entries)
        found.add((pieces, kind.shape(site).parity_bits))
        simulate(case, replace(plan, layers=tuple(
            replace(one, kind=kind) if one is layer else one for one in plan.layers)))

    check()
    assert {parity for _, parity in found} == {0, 1} if wide else {0}
    assert {1, 2} <= {pieces for pieces, _ in found}


# --- what is priced is what is built
@pytest.fixture
def _forgotten() -> Iterator[None]:
    """Cells that were worked out with other depths are not remembered."""
    yield
    _frame_cells.cache_clear()


@pytest.mark.usefixtures("_forgotten")
@pytest.mark.parametrize("kind", [
    *(engine for engine in ENGINES if engine is not kinds.Constant), kinds.Scale, kinds.Slope,
    kinds.Search], ids=lambda kind: kind.__name__)
def test_the_output_queue_is_priced_as_it_is_built(kind: type[Kind]) -> None:
    compared = []

    @few
    @given(one_of(*DRAWS[kind]))
    def check(case: Case) -> None:
        plan, _ = planned(case, kind, ECP5)
        site, layer = sites(case.network)[LAYER], plan.layer(LAYER)
        shape = shape_of(site, layer.kind)
        with pytest.MonkeyPatch.context() as patch:
            depths = depths_of_queues(patch)
            emit(accelerator.component(site, layer, Generic()), "top")
            ahead = masks_ahead(site, layer.kind)
            assert depths == [*ahead, *([shape.queue_depth] if shape.queue_depth else [])]
            # A table more in each column, or a block RAM instead of many tables.
            deeper_by_a_table = shape.queue_depth + ECP5.silicon.ram_words
            patch.setattr(type(shape), "queue_depth", deeper_by_a_table)
            patch.setitem(vars(shape), "queue_depth", deeper_by_a_table)  # where it is remembered
            deeper = layer.kind.cells(site, ECP5)
            built = layer.resources
            assert deeper.luts > built.luts or deeper.brams > built.brams
        compared.append(shape.queue_depth)

    check()
    assert compared


def shape_of(site: Site, kind: Kind) -> Any:
    """The structure with the depth of the output queue, whose cells are not remembered then."""
    _frame_cells.cache_clear()
    if isinstance(kind, kinds.Nonzeros):
        return kind.shape(site).results
    if isinstance(kind, kinds.Columnwise):
        return kind.flow(site).drain
    return kind.frame if isinstance(kind, Engine) else kind.shape


def masks_ahead(site: Site, kind: Kind) -> list[int]:
    """The depths of the queues of masks, one for each processing element that reads a bitmap."""
    if isinstance(kind, kinds.Nonzeros) and isinstance(site.layer.weights.encoding, ir.Bitmap):
        return [MASKS_AHEAD] * kind.fold.pe
    return []


def depths_of_queues(patch: pytest.MonkeyPatch) -> list[int]:
    """The depths of all queues that are made from now on."""
    depths = []
    original = Queue.__init__

    def init(self: Queue, layout: object, depth: int) -> None:
        depths.append(depth)
        original(self, layout, depth)
    patch.setattr(Queue, "__init__", init)
    return depths


def test_an_average_is_priced_with_the_levels_that_are_built() -> None:
    compared = set()

    @few
    @given(*DRAWS[kinds.Average])
    def check(case: Case) -> None:
        plan, _ = planned(case, kinds.Average, ECP5)
        site, layer = sites(case.network)[LAYER], plan.layer(LAYER)
        verilog = emit(accelerator.component(site, layer, Generic()), "top")
        built = {int(level) for level in re.findall(r"\bproduct0_(\d+)_0\b", verilog.text)}
        assert isinstance(layer.kind, kinds.Average)
        levels = layer.kind._shape(site).levels
        assert built == set(range(levels))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AverageShape, "levels", levels + 2)
            assert layer.kind.cells(site, ECP5).ffs > layer.resources.ffs
        compared.add(levels)

    check()
    assert len(compared) > 1


@pytest.mark.parametrize(("codes", "lanes", "wanted"), [
    (range(-2, 2), 4, 2), (range(-2, 2), 5, 2), (range(1, 5), 4, 2), (range(1, 5), 5, 3),
    ([-7, 9], 4, 1), ([-7, 9, 30], 5, 2), (range(-128, 128), 4, 8), (range(-128, 128), 5, 8),
    (range(1, 257), 4, 8), (range(1, 257), 5, 10)])
def test_bits_of_a_codebook(codes: Sequence[int], lanes: int, wanted: int) -> None:
    """Lanes to spare need a 0 among the codes; a codebook that is full has no place for it."""
    values = np.resize(np.array(codes), (8, 32))
    layer = ir.Dense(LAYER, "x", ir.Weights(values, 10, encoding=ir.Codebook()),
                     np.zeros(8, np.int64))
    network = ir.Network("net", "x", ir.TensorType((1, 1, 32), 4, False), (layer,))
    case = Case(network, np.zeros((1, 1, 1, 32), np.int64), Port(1, 32), 1, 0, Fold(2, 1, lanes))
    plan = planned(case, kinds.Dot, ECP5)[0].layers[0]
    (memory,) = (one for one in plan.kind.memories(sites(network)[LAYER])
                 if one.role == "weights")
    assert memory.words == 4 * -(-32 // lanes)
    assert memory.width == 2 * lanes * wanted


# --- plans
def planned(case: Case, kind: type[Kind], fabric: Fabric) -> tuple[Plan, type[Kind]]:
    """The plan in which the layer is of a ``kind``, and the kind that it is best made of."""
    network, found = case.network, sites(case.network)
    ports = {network.input: case.port}
    chosen: dict[str, Kind] = {}
    for name, site in found.items():
        ask, one = asked(case, site, Ask(fabric, tuple(ports[i] for i in site.layer.inputs), 0,
                                         case.dsps, case.fold if name == LAYER else None,
                                         dear_dsps=case.dsps % 2 == 1))
        if name == LAYER:
            best = type(one)
            one = one if best is kind else cheapest_of(kind, site, ask)
        chosen[name], ports[name] = one, one.o
    search = Search.of(network, Budget(fabric, PLENTY, 10**6), Goal(), "generic", 100.0,
                       Catalogue(fabric))
    options = {name: search.options[name].of(one) for name, one in chosen.items()}
    return search.planned(options).timed(), best


def asked(case: Case, site: Site, ask: Ask) -> tuple[Ask, Kind]:
    """What is asked, in the fewest of the case's cycles, their double ... that are enough."""
    for doublings in range(16):
        ask = replace(ask, cycles=case.cycles << doublings)
        option = Options(site, ask.fabric).cheapest(ask.inputs, ask.cycles, ask.dsps, ask.fold,
                                                    Scarce(dsps=ask.dear_dsps))
        if option is not None:
            assert ask.fold is not None or option.cycles <= ask.cycles
            return ask, option.kind
    raise AssertionError(f"no hardware for {site.name} in {ask.cycles} cycles")


def cheapest_of(kind: type[Kind], site: Site, ask: Ask) -> Kind:
    """The cheapest of a ``kind``."""
    options = [one for one in candidates(site.layer, site, ask) if type(one) is kind
               and (ask.fold is not None or one.cycles(site) <= ask.cycles)]
    if not options:
        reject()
    return min(options, key=lambda one: ask.fabric.price(one.cells(site, ask.fabric)))


# --- prices
def check_price(case: Case, plan: Plan, fabric: Fabric, path: Path) -> None:
    """What a plan says of cells, memories and work, and that its file says the same."""
    site, layer = sites(case.network)[LAYER], plan.layer(LAYER)
    kind, cells = layer.kind, layer.resources
    assert min(cells.luts, cells.ffs, cells.dsps, cells.brams) >= 0
    assert cells.dsps == kind.dsps <= layer.work("multipliers")
    memories = kind.memories(site)
    assert layer.memory_bits == sum(memory.bits for memory in memories) + sum(
        queue.bits for queue in layer.queues if queue)
    assert all(count > 0 for count in kind.work().values())
    if layer.fold:
        paired = kind.pairs.count * layer.fold.simd if isinstance(kind, kinds.Dot) and (
            kind.pairs) else 0
        assert (sum(kind.work().values()) + paired == layer.fold.products
                or isinstance(kind, kinds.NofM))
    if kind.dsps and not (isinstance(kind, kinds.Dot) and kind.pairs):
        soft = replace(kind, dsps=0).cells(site, fabric)
        assert soft.dsps == 0 and soft.luts >= kind.cells(site, fabric).luts
    if isinstance(kind, Buffered):
        assert kind.buffer is not None
        larger = kind.buffered(site, fabric, 2 * kind.buffer.words)
        assert fabric.price(larger.cells(site, fabric)) >= fabric.price(kind.cells(site, fabric))
    if isinstance(kind, Multiplying):
        check_store(kind, site)
    plan_file.save(plan, case.network, path)
    assert plan_file.load(path, case.network) == plan


def check_store(kind: Multiplying, site: Site) -> None:
    """The memory of weights is as wide as their encoding says; a codebook has a 0 if need be."""
    layer = site.layer
    assert isinstance(layer, ir.MultiplyAccumulate)
    (memory,) = (one for one in kind.memories(site) if one.role == "weights")
    multipliers = kind.stored
    bits, rest = divmod(memory.width, multipliers)
    assert rest == 0
    weights, encoding = layer.weights, layer.weights.encoding
    stored = weights.values
    if isinstance(encoding, ir.NofM):
        # Of whole groups of inputs, n of m have a multiplier.
        assert multipliers * encoding.m >= kind.fold.products * encoding.n
        if kind.fold.lanes % encoding.m == 0 == kind.choice.span % encoding.m:
            assert multipliers * encoding.m == kind.fold.products * encoding.n
        stored, _ = encoding.groups(stored)
        bits -= encoding.select_bits
        encoding = encoding.values
    if encoding == ir.Plain():
        assert bits == weights.bits
        return
    # Weights that the layer has none of are multiplied by 0.
    spare = memory.words * multipliers > stored.size
    codes = len({*np.unique(stored).tolist(), *([0] if spare else [])})
    assert bits == ((codes - 1).bit_length() if codes <= 256 else weights.bits)


# --- simulation
def simulate(case: Case, plan: Plan) -> None:
    """Values under all stalls, cycles and latency; cycles of the layer by itself, too."""
    network = case.network
    ends = run_network(network, plan, case.images)
    check_cycles(plan, ends)
    if len(network.layers) > 1:
        simulate_alone(sites(network)[LAYER], plan.layer(LAYER), golden.run_all(
            network, case.images))


def simulate_alone(site: Site, layer: LayerPlan, tensors: Mapping[str, Integers]) -> None:
    """Cycles of a layer by itself, if it has one input and any hardware."""
    if len(site.sources) > 1:
        return
    made = accelerator.component(site, layer, Generic())
    if made is None:
        assert layer.cycles == 0
        return
    # Wires have no clock of their own, but the simulation needs one.
    clocked = Pipeline([("alone", made), ("buffer", Buffer(made.o.payload.shape()))])
    ends = run_block(clocked, tensors[site.layer.inputs[0]], tensors[LAYER],
                     (site.source, layer.i), (site.result, layer.o), [Stalls.NONE])
    interval = np.diff(ends)[-1]
    assert interval == layer.cycles if layer.kind.exact else interval <= layer.cycles

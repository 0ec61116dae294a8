"""What ``bench/icebreaker.py`` builds fits the board, and what it has refused is refused."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest
from penjing import boards
from penjing.boards.link_cost import planned_link
from penjing.compiler import file
from penjing.compiler.dataflow.design import Design
from penjing.compiler.dataflow.plan import Plan
from penjing.compiler.ir import Convolution, Dense, Network
from penjing.flow import Target, plan

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("rich")
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("icebreaker")


def test_the_small_network_fits(bench: ModuleType) -> None:
    network = bench.small_network()
    assert network == bench.small_network()
    assert {layer.weights.bits for layer in network.layers
            if isinstance(layer, Convolution | Dense)} == {4}
    plan_ = _fitting(bench, network, None)
    assert plan_.resources.dsps > 0


def test_the_binary_network_fits(bench: ModuleType) -> None:
    plan_ = _fitting(bench, file.load(bench.BINARY), bench.BINARY_FPS)
    assert plan_.work("xors") > 100
    assert plan_.resources.dsps == 0


def _fitting(bench: ModuleType, network: Network, fps: float | None) -> Plan:
    """The plan of ``network``, which must fit the board with its link."""
    board = boards.find(bench.BOARD)
    plan_ = plan(network, Target(bench.BOARD, fps=fps))
    whole = plan_.resources + planned_link(board, Design(network, plan_))
    for cell in bench.CELLS:
        assert getattr(whole, cell) <= getattr(board.budget, cell)
    return plan_


def test_the_full_example_is_refused_before_synthesis(bench: ModuleType, tmp_path: Path) -> None:
    line = bench.refusal(tmp_path / "full")["line"]
    found = re.fullmatch(r"network fashion_mnist: it needs (\d+) [\w -]+?( \(\d+ of them for the "
                         r"serial link\))? on icebreaker, where it may have (\d+); take [^\n]+",
                         line)
    assert found
    assert int(found[1]) > int(found[3])
    assert not (tmp_path / "full").exists()

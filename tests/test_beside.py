"""What a design of others takes: how it is read, and what the stored comparison holds."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import penjing
import pytest
from amaranth.back import rtlil
from penjing.boards.measure import Harness
from penjing.sim import golden

ROOT = Path(penjing.__file__).parent


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for package in ("rich", "cocotb"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(ROOT / "bench")
    return importlib.import_module("beside_nngen")


@pytest.fixture(scope="module")
def rows() -> dict[str, Any]:
    path = ROOT / "bench" / "results" / "beside_nngen.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return found


def test_what_a_simulation_prints(bench: ModuleType) -> None:
    said = "# start\ncycles:       3713\nwrong:          0\n- test.v:9: $finish\n"
    assert (bench.told("cycles", said), bench.told("wrong", said)) == (3713, 0)
    with pytest.raises(penjing.PenjingError, match="says nothing of cycles"):
        bench.told("cycles", "cycles: x\n")


def test_instances_of_a_numbered_module_are_counted(bench: ModuleType) -> None:
    text = "  madd_0\n  madd_12\n  wire madd_3\nmodule madd_0\n  madd_core_4\n  multiplier_1\n"
    assert (bench.instances("madd", text), bench.instances("multiplier", text)) == (2, 1)


def test_what_became_of_a_design_is_told(bench: ModuleType) -> None:
    assert bench.speed({"fmax_mhz": 131.5}) == "131.5 MHz"
    assert (bench.speed({"given_up_minutes": 20.0, "aim_mhz": 150.0})
            == "no end within 20 minutes for 150 MHz")
    assert bench.speed({"refused": "no room"}) == "does not fit"
    assert bench.speed({}) == "not routed"


def test_a_module_of_others_has_the_ports_of_its_verilog(bench: ModuleType, tmp_path: Path
                                                         ) -> None:
    pytest.importorskip("pyosys")
    source = tmp_path / "part.v"
    source.write_text("module inner(input c, input [3:0] a, output reg [4:0] s);\n"
                      "always @(posedge c) s <= a + 1;\nendmodule\n"
                      "module part(input CLK, input RESETN, input go, input [3:0] a,\n"
                      "output [4:0] s);\ninner one(.c(CLK), .a(go ? a : 4'd0), .s(s));\n"
                      "endmodule\n", encoding="utf-8")
    text = bench.read_verilog([source], "part", tmp_path)
    made = bench.Foreign("part", text, "CLK", "RESETN")
    assert {name: (member.flow.name, len(getattr(made, name)))
            for name, member in made.signature.members.items()} == {
        "go": ("In", 1), "a": ("In", 4), "s": ("Out", 5)}
    harness = Harness(made)
    assert harness.ffs == 5 + 5 + 2 + 1
    assert "cell \\part \\foreign" in rtlil.convert(harness, name="top", emit_src=False)
    source.write_text("module part(;\n", encoding="utf-8")
    with pytest.raises(penjing.PenjingError, match="part: Yosys does not read it"):
        bench.read_verilog([source], "part", tmp_path)


@pytest.mark.parametrize("name", ["conv", "lenet"])
def test_what_nngen_is_told_is_the_network(name: str, bench: ModuleType) -> None:
    case = bench.CASES[name]
    job, arrays = case.job()
    assert [layer["name"] for layer in job["layers"] if layer["kind"] != "pool"] == [
        layer.name for layer in case.layers]
    assert np.array_equal(arrays["expected"], golden.run(case.network, case.image[None]))
    values = arrays["expected"].reshape(-1)
    assert len(set(values.tolist())) > len(values) ** 0.5  # neither zeros nor all clipped


def test_without_a_python_for_nngen_its_name_is_asked_for(bench: ModuleType, tmp_path: Path
                                                          ) -> None:
    side = bench.Theirs(bench.CASES["conv"], tmp_path / "x", None)
    with pytest.raises(penjing.PenjingError, match="--nngen: NNgen runs in a Python of its own"):
        side.generated()


def test_both_compute_what_the_golden_model_says(rows: dict[str, Any]) -> None:
    for row in rows.values():
        assert {"command", "date", "versions"} <= row.keys()
        assert row.get("mismatches", 0) == 0
        assert row.get("model_equal", True)
    for name in ("conv/penjing", "conv/nngen", "lenet/penjing"):
        assert rows[f"{name}/simulated"]["values_compared"] > 0


def test_the_convolution_takes_less_here(rows: dict[str, Any]) -> None:
    ours, theirs = ({step: rows[f"conv/{tool}/{step}"] for step in ("generated", "simulated")}
                    for tool in ("penjing", "nngen"))
    assert ours["generated"]["multipliers"] == theirs["generated"]["multipliers"] == 144
    assert ours["generated"]["lines"] <= theirs["generated"]["lines"] / 20
    assert ours["simulated"]["cycles_per_frame"] == 2048 < theirs["simulated"]["cycles"]

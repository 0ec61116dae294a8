"""What the stored results of the sparse engines say holds what was asked of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import penjing
import pytest

RESULTS = Path(penjing.__file__).parent / "bench" / "results"
WIDE = ("conv64", "conv128", "stride2")
"""The layers whose maps are at least 8 wide."""


def stored(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return result


@pytest.fixture(scope="module")
def engines() -> dict[str, Any]:
    return stored("sparse_engines.json")


def empty(row: dict[str, Any]) -> bool:
    """Whether the layer has what its encoding spends cycles on: words or outputs of zeros only."""
    return row["zeros"] == 98 and row["encoding"] in ("bitmap+codebook", "kernels+codebook")


def test_cycles_are_those_predicted_and_all_values_the_golden_models(engines: dict[str, Any]
                                                                     ) -> None:
    rows = [*engines["layers"], *(row[engine] for row in engines["networks"]
                                  for engine in ("dense", "sparse"))]
    assert len(rows) == 24 + 2 * 10
    assert not [row for row in rows if row["mismatches"] or row["faults"]
                or row["cycles"] != row["predicted_cycles"]]


def test_a_cycle_is_spent_on_each_weight_that_is_no_zero(engines: dict[str, Any]) -> None:
    rows = [row for row in engines["layers"] if not empty(row)]
    assert {(row["layer"], row["zeros"]) for row in rows} == {
        (layer, zeros) for layer in ("conv64", "conv128", "conv256", "stride2", "dense")
        for zeros in (80, 90, 98)}
    for row in rows:
        most = 1.05 if row["layer"] in WIDE else 1.15
        assert row["cycles"] <= most * row["ideal_cycles"], row


def test_memory_holds_what_the_encoding_counts(engines: dict[str, Any]) -> None:
    for row in engines["layers"]:
        assert abs(row["memory_bits"] - row["weight_bits"]) <= 0.02 * row["weight_bits"], row


def test_trained_layers_beside_the_dense_engine(engines: dict[str, Any]) -> None:
    for row in engines["networks"]:
        dense, sparse = row["dense"], row["sparse"]
        assert dense["multipliers"] == sparse["multipliers"]
        assert 6 * sparse["cycles"] <= dense["cycles"], row
        assert 3 * sparse["weight_bits"] <= dense["weight_bits"], row


def test_engines_are_fast_enough_after_routing(engines: dict[str, Any]) -> None:
    rows = {row["engine"]: row for row in engines["routed"]}
    assert [*rows] == ["relative+codebook", "bitmap+codebook", "kernels+codebook",
                       "dense_multipliers", "dense_cycles"]
    assert min(row["fmax_mhz"] for row in rows.values()) >= 100
    assert all(row["dsps"] == row["multipliers"] for row in rows.values())
    # Ten times as many multipliers without the engine, or as many cycles.
    sparse = rows["relative+codebook"]
    assert rows["dense_multipliers"]["predicted_cycles"] > 9 * sparse["predicted_cycles"]
    assert rows["dense_cycles"]["multipliers"] > 9 * sparse["multipliers"]


def test_vgg16() -> None:
    result = stored("sparse_vgg16.json")
    plan, rtl = result["plan"], result["rtl"]
    assert plan["multipliers"] <= 156
    assert plan["nonzeros"] == 294_314
    assert plan["cycles_per_frame"] == max(row["cycles"] for row in plan["layers"]) <= 200_000
    assert rtl["images"] >= 2
    assert rtl["stalls"] == ["none", "input", "output", "both"]
    assert rtl["mismatches"] == 0 < rtl["values_compared"]
    assert rtl["passed"]
    assert (rtl["cycles_per_frame"], rtl["latency_cycles"]) == (
        plan["cycles_per_frame"], plan["latency_cycles"])


def test_sums_of_equal_codes() -> None:
    """In as many cycles they take no multiplier, and fewer LUTs than multipliers of logic."""
    rows = stored("equal_codes.json")["engines"]
    routed = [row for row in rows.values() if "luts" in row]
    assert {(row["codes"], row["engine"]) for row in routed} >= {
        (4, "table, DSP blocks"), (4, "sums"), (16, "sums")}
    for row in routed:
        assert row["cycles"] == row["predicted_cycles"] == 7200
        assert row["mismatches"] == row["faults"] == 0
        assert row["fmax_mhz"] >= 100
        for cell in ("luts", "ffs"):
            assert abs(row["predicted"][cell] - row[cell]) <= 0.2 * row[cell], row
        assert all(row["predicted"][cell] == row[cell] for cell in ("dsps", "brams"))
        assert (row["dsps"] == row["products"]) is (row["engine"] == "table, DSP blocks")
        if row["engine"] == "sums":
            soft = rows[f"{row['codes']}_table, LUTs"]
            assert row["luts"] < soft.get("luts", soft["predicted"]["luts"]), row


def test_vgg16_in_one_chip() -> None:
    """All weights lie in the chip, 60 times smaller than 32-bit floats at least."""
    result, network = stored("sparse_vgg16.json")["fitted"], stored("vgg16_fitted.json")
    plan, rtl = result["plan"], result["rtl"]
    assert plan["multipliers"] <= 156
    assert plan["cycles_per_frame"] == max(row["cycles"] for row in plan["layers"])
    assert plan["frames_per_second"] >= 400
    # Channels that nobody reads are gone, with the weights of theirs.
    assert plan["nonzeros"] <= network["nonzeros"]
    assert network["weights"] * 32 >= 60 * plan["weight_bits"]
    assert plan["brams"] <= plan["device_brams"]
    assert rtl["images"] >= 3
    assert rtl["stalls"] == ["none", "input", "output", "both"]
    assert rtl["passed"] and rtl["mismatches"] == 0 < rtl["values_compared"]
    assert (rtl["cycles_per_frame"], rtl["latency_cycles"]) == (
        plan["cycles_per_frame"], plan["latency_cycles"])
    place = result["routed"]
    assert place["clock_mhz"] >= 80 and place["fmax_mhz"] >= 80
    assert place["clock_met"] is (place["fmax_mhz"] >= place["clock_mhz"])
    assert place["fmax_mhz"] * 1e6 / plan["cycles_per_frame"] >= 400
    assert place["brams"] == place["predicted"]["brams"] <= plan["device_brams"]
    assert place["dsps"] == plan["multipliers"]

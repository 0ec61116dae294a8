"""What the stored results of the pruning studies hold, and that their pictures are there."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import penjing
import pytest

ROOT = Path(penjing.__file__).parent
LAYERS = ("conv1", "conv2", "conv3", "conv4", "dense")
SERIES = {"criteria": {"l1", "obd_each", "deviations", "layer_adaptive", "obd", "surgeon"},
          "granularities": {"weight", "n_of_8", "2_of_4", "vector", "kernel", "channel"},
          "channels": {"l1", "l2", "batch-norm", "activity", "optimal-brain-damage", "slimming",
                       "inputs"},
          "timings": {"one_shot", "iterative", "gradual", "adaptive"}}
PICTURES = ("sensitivity", "pruning_criteria", "pruning_granularities", "pruning_timings",
            "pruning_channels",
            "sparse_or_small_bits", "sparse_or_small_cycles", "integer_pruning_bits",
            "integer_pruning_cycles")


def rows(name: str) -> list[dict[str, Any]]:
    """Those of a file, of each of which it is told how it was made."""
    path = ROOT / "bench" / "results" / name
    found: list[dict[str, Any]] = [*json.loads(path.read_text(encoding="utf-8"))["rows"].values()]
    for row in found:
        assert {"command", "date", "versions", "cpu_seconds"} <= row.keys()
    return found


@pytest.fixture(scope="module")
def pruned() -> list[dict[str, Any]]:
    return rows("pruning.json")


def test_the_sensitivity_of_each_layer(pruned: list[dict[str, Any]]) -> None:
    found = {(row["criterion"], row["layer"]): row for row in pruned
             if row["study"] == "sensitivity"}
    assert tuple(found) == tuple((criterion, layer) for criterion in ("l1", "obd")
                                 for layer in LAYERS)
    for row in found.values():
        assert row["samples"] > 0
        ratios = [ratio for ratio, _ in row["points"]]
        assert ratios[0] == 0.1
        assert ratios == sorted(ratios)
        assert ratios[-1] >= 0.9


@pytest.mark.parametrize("study", SERIES)
def test_a_study_of_the_fashion_network(study: str, pruned: list[dict[str, Any]]) -> None:
    found = [row for row in pruned if row["study"] == study]
    assert {row["series"] for row in found} == SERIES[study]
    for row in found:
        assert 0 < row["zeros"] < 1
        assert 0 < row["accuracy"] < 1
        assert row["samples"] > 0
        assert (row["settings"] is None) == (row["epochs"] == 0) == (row["images"] == 0)


def test_zeros_are_those_that_were_asked_for(pruned: list[dict[str, Any]]) -> None:
    for row in pruned:
        if row["study"] in ("criteria", "timings"):
            assert row["share"] <= row["zeros"] + 1e-4
            assert row["zeros"] == pytest.approx(row["share"], abs=2e-3), row


def test_training_brings_back_what_pruning_takes(pruned: list[dict[str, Any]]) -> None:
    found = {(row["series"], row["share"], row["epochs"]): row["accuracy"] for row in pruned
             if row["study"] == "criteria"}
    both = [(found[series, share, 0], found[series, share, epochs])
            for series, share, epochs in found if epochs and (series, share, 0) in found]
    lost = [one for one in both if one[0] < 0.9]
    assert lost
    assert not [one for one in lost if one[0] > one[1]]
    # The curves are flat first, and then they fall.
    (whole,) = (row["before"] for row in pruned if row["study"] == "dense")
    for series in ("layer_adaptive", "obd"):
        assert found[series, 0.5, 0] > whole - 0.01
        assert found[series, 0.9, 0] < 0.5 < 0.7 < found[series, 0.9, 1]


def test_sparse_or_small() -> None:
    found = rows("sparse_or_small.json")
    for series in ("small, dense", "large, sparse", "large, sparse, layer-adaptive"):
        some = [row for row in found if row["series"] == series]
        assert len(some) >= 4
        for wide, narrow in pairwise(some):
            assert narrow["nonzeros"] < wide["nonzeros"]
            assert narrow["weight_bits"] < wide["weight_bits"]
            assert narrow["cycles"] <= wide["cycles"]
    assert len({row["multipliers_asked"] for row in found}) == 1
    assert all(0 < row["multipliers"] <= row["multipliers_asked"] for row in found)
    assert len({(row["epochs"], row["images"], row["samples"]) for row in found}) == 1


@pytest.mark.parametrize(("network", "whole"), [("ds_cnn", 0.901), ("resnet8", 0.86)])
def test_networks_of_others(network: str, whole: float) -> None:
    found = [row for row in rows("integer_pruning.json") if row["network"] == network]
    assert {row["series"] for row in found} == {"pruned", "inner pruned", "shared",
                                                "inner pruned, shared"}
    dense = found[0]
    assert dense["zeros_asked"] == 0
    assert dense["accuracy"] >= whole
    for row in found:
        assert row["samples"] == 1000
        assert 0 < row["multipliers"] <= row["multipliers_asked"] == 64
        assert row["weight_bits"] <= dense["weight_bits"]
        if row["series"] == "pruned":
            assert row["zeros"] >= row["zeros_asked"]


def test_resnet20() -> None:
    found = rows("resnet20_pruning.json")
    networks = {row["network"]: row for row in found if row["study"] == "networks"}
    assert tuple(networks) == ("dense", "unstructured", "2:4")
    assert networks["dense"]["density"] == 1
    assert networks["unstructured"]["density"] <= 0.2
    whole = ("conv1", "linear")
    for layer, density in networks["2:4"]["densities"].items():
        assert density == (1 if layer in whole else 0.5)
    for row in networks.values():
        assert row["samples"] == 10_000
        assert abs(row["float"] - row["accuracy"]) < 0.005
    assert networks["dense"]["accuracy"] - networks["2:4"]["accuracy"] <= 0.01
    recipes = {row["recipe"]: row for row in found if row["study"] == "recipes"}
    assert min(recipes, key=lambda name: recipes[name]["divergence"]) == (
        "by the surgeon, allotted, more of maps")
    designs = {row["network"]: row for row in found if row["study"] == "hardware"}
    kept = [count for name, count in designs["2:4"]["encodings"].items() if name.startswith("2:4")]
    assert sum(kept) == len(networks["2:4"]["densities"]) - len(whole)
    for name, row in designs.items():
        assert row["cycles"] == row["simulated_cycles"]
        assert row["patterns"] == ["none", "input", "output", "both"]
        assert row["mismatches"] == 0 < row["values_compared"]
        assert name == "dense" or row["cycles"] < designs["dense"]["cycles"]


def test_sparse_forms_in_hardware() -> None:
    found = rows("sparse_hardware.json")
    networks = {row["network"]: row for row in found if row["study"] == "networks"}
    whole = networks["dense"]
    for row in networks.values():
        assert row["samples"] == 10_000
        assert row["weights"] <= whole["weights"]
        assert row["nonzeros"] <= whole["nonzeros"]
    for row in found:
        if row["study"] != "networks":
            assert 0 < row["multipliers"] <= row["multipliers_asked"]
    # As good as the dense one by half a point, each as floats and as integers, and by how much
    # faster for each block RAM.
    dense, sparse = (next(row for row in found if row["study"] == "routed" and row["form"] == form)
                     for form in ("dense", "2:4, 1:4"))
    for what in ("float", "accuracy"):
        assert whole[what] - networks["2:4, 1:4"][what] <= 0.005
    assert dense["multipliers_asked"] == sparse["multipliers_asked"]
    least, most = (row["fmax_mhz"] / row["cycles"] / row["brams"] for row in (dense, sparse))
    assert most >= 4 * least


def test_low_rank_in_hardware() -> None:
    found = rows("low_rank_hardware.json")
    of = {study: {row["network"]: row for row in found if row["study"] == study}
          for study in ("networks", "simulated", "routed")}
    assert of["networks"].keys() == {"whole", "cp", "tucker", "asymmetric"}
    for row in of["networks"].values():
        assert row["samples"] == 10_000
    # Equal multipliers, exact, routed: fewer cycles and weights.
    whole = of["routed"]["whole"]
    assert {"whole", "asymmetric"} <= of["routed"].keys()
    for name, row in of["routed"].items():
        assert whole["multipliers_asked"] == row["multipliers_asked"] >= row["multipliers"]
        assert name == "whole" or row["cycles"] < whole["cycles"]
        assert name == "whole" or row["weight_bits"] < whole["weight_bits"]
        made = of["simulated"][name]
        assert made["patterns"] == ["none", "input", "output", "both"]
        assert (made["frames"], made["mismatches"], made["faults"]) == (5, 0, [])
        assert made["values_compared"] == 4 * 5 * 10
        assert made["cycles_per_frame"] == made["predicted_cycles_per_frame"] == row["cycles"]
        assert made["latency_cycles"] == made["predicted_latency_cycles"]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture(name: str) -> None:
    path = ROOT / "docs" / "pictures" / f"{name}.svg"
    assert path.stat().st_size < 100_000
    assert ElementTree.parse(path).getroot().tag.endswith("svg")

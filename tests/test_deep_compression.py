"""What the stored results of Deep Compression say holds what was asked of them; recipes are read.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

import penjing
import pytest
from penjing.compiler.compress import recipe
from penjing.compiler.compress.steps import Prune, Share, Timing

ROOT = Path(penjing.__file__).parent
RECIPES = ROOT / "examples" / "deep_compression"
NETWORKS = {"lenet_300_100": (266_200, 410, 45), "lenet5": (430_500, 580, 60)}
"""Weights, biases, and how many times smaller each must be."""


@pytest.fixture(scope="module", params=[*NETWORKS])
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def result(name: str) -> dict[str, Any]:
    path = ROOT / "bench" / "results" / "deep_compression.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))[name]
    return found


def test_it_is_small_and_as_good(name: str, result: dict[str, Any]) -> None:
    *_, least = NETWORKS[name]
    assert result["size_ratio"] >= least
    assert result["weights_ratio"] >= least / 4
    assert result["accuracy_before"] - result["accuracy_after"] <= 0.001
    assert result["accuracy_before"] >= 0.98


def test_numbers_are_means_of_three_seeds(result: dict[str, Any]) -> None:
    rows = result["seeds"]
    assert len({row["seed"] for row in rows}) == 3
    for key in ("weights_ratio", "size_ratio", "accuracy_before", "accuracy_after"):
        assert result[key] == pytest.approx(mean(row[key] for row in rows))


def test_all_bits_of_the_image_count(name: str, result: dict[str, Any]) -> None:
    weights, biases, _ = NETWORKS[name]
    for row in result["seeds"]:
        assert row["weights"] == sum(layer["weights"] for layer in row["layers"]) == weights
        assert row["nonzeros"] == sum(layer["nonzeros"] for layer in row["layers"])
        assert row["float_bits"] == 32 * (weights + biases)
        assert row["size_ratio"] == pytest.approx(row["float_bits"] / row["image_bytes"] / 8)
        sections = sum(sum(layer["section_bytes"]) for layer in row["layers"])
        # Magic, version, digest, length and checksum are the rest.
        assert 0 < row["image_bytes"] - sections < 64


def test_hardware_is_exact(result: dict[str, Any]) -> None:
    rtl = result["rtl"]
    assert result["rtl_mismatches"] == rtl["faults"] == 0
    assert rtl["patterns"] == ["none", "input", "output", "both"]
    assert rtl["digits"] >= 20
    assert rtl["frames_compared"] == 4 * rtl["digits"]
    assert rtl["values_compared"] == 10 * rtl["frames_compared"]


def test_recipes_prune_gradually_then_share(name: str) -> None:
    prune, share = recipe.read(RECIPES / f"{name}.toml").steps
    assert isinstance(prune, Prune)
    assert isinstance(share, Share)
    assert prune.timing is Timing.GRADUAL
    assert prune.distil > 0
    assert {*prune.layers} >= {"dense1", "dense2"}
    assert 8 <= share.codes <= 16
    assert not share.layers

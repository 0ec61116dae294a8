"""The committed networks with 90 % zeros: their zeros, their codes, and how good they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import penjing
import pytest
from others import shared
from penjing.compiler import file, ir
from penjing.sim import golden

ROOT = Path(penjing.__file__).resolve().parent
ROWS = {row["network"]: row for row in json.loads(
    (ROOT / "bench" / "results" / "sparse_networks.json").read_text(encoding="utf-8"))["rows"]}
IMAGES = 256


def committed(name: str) -> ir.Network:
    return file.load(ROOT / "examples" / "sparse" / f"{name}.penjing")


def weighted(network: ir.Network) -> list[ir.MultiplyAccumulate]:
    return [layer for layer in network.layers if isinstance(layer, ir.MultiplyAccumulate)]


def right(network: ir.Network, images: np.ndarray, labels: np.ndarray) -> float:
    """The golden model's accuracy."""
    outputs = golden.run(network, images.astype(np.int64).reshape(
        len(images), *network.input_type.shape))
    return float((outputs.reshape(len(images), -1).argmax(1) == labels).mean())


def test_all_are_there() -> None:
    assert [*ROWS] == ["lenet_300_100_a", "lenet_300_100_b", "lenet5", "fashion"]
    found = {path.stem for path in (ROOT / "examples" / "sparse").glob("*.penjing")}
    assert found == ROWS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_zeros_are_those_of_the_table(name: str) -> None:
    layers = weighted(committed(name))
    assert [layer.name for layer in layers] == [row["layer"] for row in ROWS[name]["layers"]]
    for layer, row in zip(layers, ROWS[name]["layers"], strict=True):
        values = layer.weights.values
        assert row["weights"] == values.size
        assert row["nonzeros"] == np.count_nonzero(values) <= values.size / 10
        assert row["codes"] == len(layer.weights.codebook)
        assert layer.weights.bits == 8


def test_files_are_small() -> None:
    for name, row in ROWS.items():
        size = (ROOT / "examples" / "sparse" / f"{name}.penjing").stat().st_size
        assert size == row["file_bytes"] < 100_000


def test_two_networks_of_one_shape_share_few_codes() -> None:
    pair = [weighted(committed(f"lenet_300_100_{which}")) for which in "ab"]
    for one, other in zip(*pair, strict=True):
        assert one.weights.values.shape == other.weights.values.shape
        assert not np.array_equal(one.weights.values, other.weights.values)
        assert max(len(layer.weights.codebook) for layer in (one, other)) <= 16


def test_fashion_is_as_good_as_the_table_says() -> None:
    with np.load(ROOT / "examples" / "fashion_mnist" / "test_images.npz") as data:
        images, labels = data["x"][:IMAGES], data["y"][:IMAGES]
    assert right(committed("fashion"), images, labels) > ROWS["fashion"]["accuracy"] - 0.05


@pytest.mark.parametrize("name", [name for name in ROWS if name.startswith("lenet")])
def test_digits_are_as_good_as_the_table_says(name: str) -> None:
    with np.load(shared("data", "mnist.npz"), allow_pickle=False) as data:
        images, labels = data["x_test"][:IMAGES], data["y_test"][:IMAGES]
    assert right(committed(name), images, labels) > ROWS[name]["accuracy"] - 0.05

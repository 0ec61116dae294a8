"""The example that trains with few bits: each of its networks, untrained, as integers."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import penjing
import pytest
from penjing.compiler import file
from penjing.compiler.compress.lowering import lower
from penjing.sim import golden

torch = pytest.importorskip("torch")
ROOT = Path(penjing.__file__).resolve().parent
KINDS = ("bnn", "small", "xnor", "reactnet", "ttq", "w2a2", "w3a3", "w4a4")


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = ROOT / "examples" / "binary" / "train.py"
    spec = importlib.util.spec_from_file_location("binary_train", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "binary_train", module)
    monkeypatch.setattr(sys, "path", [*sys.path])  # it appends the folder of the benches
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", KINDS)
def test_integers_are_what_pytorch_computes(train: ModuleType, name: str) -> None:
    assert {*train.KINDS} == {"float", *KINDS}
    torch.manual_seed(1)
    model = train.build(train.KINDS[name])
    # Statistics other than 0: as many +alpha as -alpha need not add up to 0 in float32.
    model.train()(torch.rand(16, 1, 28, 28))
    model.eval()
    images = np.random.default_rng(1).integers(0, 256, (4, 28, 28), np.uint8)
    with torch.no_grad():
        wanted = model(train.as_input(torch.from_numpy(images), None)).numpy()
    network = lower(model, train.INPUT, name)
    mine = golden.run(network, images[..., None].astype(np.int64)).reshape(4, 10)
    assert np.array_equal(mine * network.output_type.step, wanted)
    assert train.weight_bits(network) <= 54544 * 8


def test_the_committed_networks_are_those_of_the_table() -> None:
    results = json.loads((ROOT / "bench" / "results" / "binary.json").read_text(encoding="utf-8"))
    rows = {row["kind"]: row for row in results["rows"]}
    assert rows.keys() == {"float", *KINDS}
    with np.load(ROOT / "examples" / "fashion_mnist" / "test_images.npz") as data:
        images, labels = data["x"][:128].astype(np.int64), data["y"][:128]
    for kind, row in rows.items():
        network = file.load(ROOT / "examples" / "binary" / f"{kind}.penjing")
        assert network.macs == row["macs"], kind
        guesses = golden.run(network, images).reshape(128, -1).argmax(1)
        assert (guesses == labels).mean() > 0.75, kind
    # What was wanted of them.
    assert rows["ttq"]["accuracy"] > rows["float"]["pytorch_accuracy"] - 0.01
    assert rows["reactnet"]["accuracy"] > rows["bnn"]["accuracy"] + 0.02
    assert rows["small"]["accuracy"] > 0.8

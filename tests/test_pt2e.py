"""Programs that PT2E quantized: the golden model against PyTorch on the same program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_files
import pt2_files
import pytest
from penjing.compiler.load import pt2e as importer
from penjing.sim import golden

pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")

from penjing.sim.oracles import pt2e as oracle

NETWORKS = (pt2_files.residual_network, pt2_files.line_network)


def steps(folder: Path, data: bytes, seed: int = 0, count: int = 20) -> np.ndarray:
    """How far the golden model is from PyTorch, value by value."""
    path = folder / "net.pt2"
    path.write_bytes(data)
    network = importer.load(path, "net")
    x = onnx_files.images(network.input_type, count, seed)
    mine, other = golden.run(network, x), oracle.run(path, x)
    assert mine.shape == other.shape and len(np.unique(mine)) > 3
    return np.abs(mine - other)


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("seed", range(4))
def test_powers_of_two_are_exact(network, unsigned, seed, tmp_path) -> None:
    rng = np.random.default_rng(seed)
    data = network(rng, powers=True, unsigned=unsigned).bytes()
    assert not steps(tmp_path, data, seed).any()


@pytest.mark.parametrize("network", NETWORKS)
def test_other_scales_differ_by_halves(network, tmp_path) -> None:
    found = [steps(tmp_path, network(np.random.default_rng(seed), unsigned=bool(seed % 2)).bytes(),
                   seed) for seed in range(8)]
    assert max(f.max() for f in found) <= 1
    print(sum(np.count_nonzero(f) for f in found), sum(f.size for f in found))

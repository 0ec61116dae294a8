"""Networks from ``.onnx`` files against ONNX Runtime, for several test modules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_files
from penjing.compiler import ir
from penjing.compiler.load import onnx as importer
from penjing.sim import golden
from penjing.sim.oracles import onnxruntime as oracle


def steps(folder: Path, data: bytes, seed: int = 0, *, count: int = 8,
          rounding: ir.ScaleRounding = ir.ScaleRounding.EVEN) -> np.ndarray:
    """How far the golden model is from ONNX Runtime, value by value."""
    path = folder / "model.onnx"
    path.write_bytes(data)
    network = importer.load(path, "net", rounding)
    x = onnx_files.images(network.input_type, count, seed)
    mine, other = golden.run(network, x), oracle.run(path, x)
    assert mine.shape == other.shape and mine.size
    return np.abs(mine - other)

"""Mutants of QONNX files: bytes changed at random, and models that lie in their structure."""

from __future__ import annotations

from pathlib import Path

import fuzzing
import numpy as np
import onnx
import onnx_mutants
import qonnx_files

OPERATORS = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold", "BatchNormalization",
             "Mul", "Div", "Add", "Sub", "Pow", "Sqrt", "Relu", "Clip", "AveragePool",
             "GlobalAveragePool", "ReduceMean", "Sigmoid", "Elu", "PRelu", "HardSwish", "Gelu")


def mutant(index: int) -> bytes:
    """The mutant of this number."""
    rng = np.random.default_rng(index)
    data = qonnx_files.random_model(rng)
    if index % 2:
        return fuzzing.damage(rng, data)
    model = onnx.load_model_from_string(data)
    for _ in range(int(rng.integers(1, 4))):
        if rng.integers(4):
            change = onnx_mutants.CHANGES[rng.integers(len(onnx_mutants.CHANGES))]
            change(rng, model.graph)
        else:
            node = model.graph.node[rng.integers(len(model.graph.node))]
            node.op_type = str(rng.choice(OPERATORS))
    return model.SerializeToString()


def read(path: Path) -> None:
    """What is fuzzed."""
    onnx_mutants.read(path)

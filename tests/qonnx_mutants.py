"""Mutants of QONNX files: bytes changed at random, and models that lie in their structure."""

from __future__ import annotations

from pathlib import Path

import fuzzing
import onnx
import onnx_mutants
import qonnx_files

OPERATORS = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold", "BatchNormalization",
             "Mul", "Div", "Add", "Sub", "Pow", "Sqrt", "Relu", "Clip", "AveragePool",
             "GlobalAveragePool", "ReduceMean", "Sigmoid", "Elu", "PRelu", "HardSwish", "Gelu")


def _original(rng: fuzzing.Generator) -> onnx.ModelProto:
    return onnx.load_model_from_string(qonnx_files.random_model(rng))


def _change(rng: fuzzing.Generator, model: onnx.ModelProto) -> None:
    if rng.integers(4):
        change = onnx_mutants.CHANGES[rng.integers(len(onnx_mutants.CHANGES))]
        change(rng, model.graph)
    else:
        node = model.graph.node[rng.integers(len(model.graph.node))]
        node.op_type = str(rng.choice(OPERATORS))


def read(path: Path) -> None:
    """What is fuzzed."""
    onnx_mutants.read(path)


mutant = fuzzing.Mutations(_original, onnx.ModelProto.SerializeToString, _change).mutant

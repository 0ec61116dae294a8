"""Write small ``.tflite`` files with the schema's object API; no TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

TYPES = {"INT8": np.int8, "UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64,
         "FLOAT32": np.float32, "INT4": np.int8, "INT16": np.int16}
SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6 = 0, 1, 2, 3


def packed(values: NDArray[Any]) -> bytes:
    """int4 ``values``, two to a byte, the low half first."""
    flat = values.astype(np.int8).reshape(-1).view(np.uint8) & 15
    flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
    return (flat[::2] | flat[1::2] << 4).tobytes()


class File:
    """A file in the making: add tensors and operators, then `write` it."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = "test"
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.model.subgraphs, self.model.operatorCodes = [self.graph], []
        empty = schema.BufferT()
        self.model.buffers = [empty]

    def tensor(self, shape: Sequence[int], kind: str = "INT8", scale: object = None,
               zero_point: object = 0, data: NDArray[Any] | None = None, axis: int = 0,
               name: str | None = None) -> int:
        """Add a tensor; its index."""
        tensor = schema.TensorT()
        tensor.name = name or f"t{len(self.graph.tensors)}"
        tensor.shape = list(shape)
        tensor.type = getattr(schema.TensorType, kind)
        tensor.hasRank = True
        if scale is not None:
            quantization = schema.QuantizationParametersT()
            quantization.scale = np.atleast_1d(np.array(scale, np.float32)).tolist()
            points = np.broadcast_to(np.array(zero_point, np.int64), len(quantization.scale))
            quantization.zeroPoint = points.tolist()
            quantization.quantizedDimension = axis
            tensor.quantization = quantization
        tensor.buffer = 0
        if data is not None:
            assert data.shape == tuple(shape), (data.shape, shape)
            buffer = schema.BufferT()
            raw = packed(data) if kind == "INT4" else data.astype(TYPES[kind]).tobytes()
            buffer.data = np.frombuffer(raw, np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, kind: str, inputs: Sequence[int], outputs: Sequence[int],
                 table: str | None = None, **options: object) -> None:
        """Add an operator; ``table`` names its options in the schema."""
        number = getattr(schema.BuiltinOperator, kind)
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes)
        self.model.operatorCodes.append(code)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if table is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            operator.builtinOptions = getattr(schema, f"{table}T")()
            for name, value in options.items():
                assert hasattr(operator.builtinOptions, name), name
                setattr(operator.builtinOptions, name, value)
        self.graph.operators.append(operator)

    def bytes(self) -> bytes:
        """The file's content."""
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def write(self, path: Path) -> Path:
        """Write the file."""
        path.write_bytes(self.bytes())
        return path


def windows(size: int, kernel: int, stride: int, padding: int) -> int:
    """How many windows fit along an axis."""
    return math.ceil(size / stride) if padding == SAME else (size - kernel) // stride + 1

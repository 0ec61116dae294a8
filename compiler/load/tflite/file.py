"""Read a ``.tflite`` file, which may be damaged or hostile, into plain checked data.

The accessors of a flatbuffer follow whatever offsets the file holds. Here, and nowhere else, they
are called: every length is bounded before anything is set aside or walked, and what they raise on
wild offsets becomes one `PenjingError`. What leaves this module holds no flatbuffer any more.
"""

from __future__ import annotations

import math
import os
import stat
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from ...ir import MAX_ELEMENTS, PenjingError

MAX_FILE_BYTES = 256 << 20
"""The largest file that is read."""
MAX_TENSORS = 1 << 14
MAX_OPERATORS = 1 << 12
MAX_NAME = 1000
"""The longest part of a tensor's name that is kept."""
MAX_DIMENSIONS = 8

_MAX_OPERANDS = 64
_MAX_SCALES = 1 << 16
_NAME_FIELD, _CUSTOM_CODE_FIELD = 10, 6  # of Tensor and OperatorCode, in their tables of fields
_VERSION = 3
_MAGIC = b"TFL3"
_WAY_OUT = "convert the network again"

DYNAMIC = "its shape is dynamic, and only the batch may be"
"""What is odd of a tensor whose shape is not known before its operands are."""

Number = int | float | bool


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of the file: an activation, or a constant where it has ``data``.

    ``kind`` is the name of its type, such as ``INT8``; ``scales`` and ``zero_points`` are empty for
    what is not quantized, and hold one entry, or one for each index along ``axis``. ``odd`` says
    what of it cannot be understood, if anything.
    """

    index: int
    name: str
    kind: str
    shape: tuple[int, ...]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    axis: int
    data: NDArray[np.uint8] | None
    odd: str | None

    @property
    def elements(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Operator:
    """One operator, such as ``CONV_2D``, with those of its options that matter.

    A tensor of -1 among ``inputs`` is one that was left out.
    """

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Number] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"operator {self.index} ({self.kind})"


@dataclass(frozen=True)
class Model:
    """The first graph of the file, its operators in order of execution."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


_POOL = {"padding": "Padding", "stride_y": "StrideH", "stride_x": "StrideW",
         "kernel_y": "FilterHeight", "kernel_x": "FilterWidth",
         "activation": "FusedActivationFunction"}
_CONVOLUTION = {"padding": "Padding", "stride_y": "StrideH", "stride_x": "StrideW",
                "dilation_y": "DilationHFactor", "dilation_x": "DilationWFactor",
                "activation": "FusedActivationFunction"}
_SUM = {"activation": "FusedActivationFunction", "powers_of_two": "PotScaleInt16"}

_OPTIONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "CONV_2D": ("Conv2DOptions", _CONVOLUTION),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", _CONVOLUTION),
    "TRANSPOSE_CONV": ("TransposeConvOptions", {
        "padding": "Padding", "stride_y": "StrideH", "stride_x": "StrideW",
        "activation": "FusedActivationFunction"}),
    "FULLY_CONNECTED": ("FullyConnectedOptions", {
        "activation": "FusedActivationFunction", "format": "WeightsFormat",
        "keep_dimensions": "KeepNumDims"}),
    "ADD": ("AddOptions", _SUM),
    "SUB": ("SubOptions", _SUM),
    "MUL": ("MulOptions", {"activation": "FusedActivationFunction"}),
    "AVERAGE_POOL_2D": ("Pool2DOptions", _POOL),
    "MAX_POOL_2D": ("Pool2DOptions", _POOL),
    **{kind: ("ReducerOptions", {"keep_dimensions": "KeepDims"})
       for kind in ("MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN")},
    "SOFTMAX": ("SoftmaxOptions", {"beta": "Beta"}),
    "LEAKY_RELU": ("LeakyReluOptions", {"alpha": "Alpha"}),
    "GELU": ("GeluOptions", {"approximate": "Approximate"}),
    "CONCATENATION": ("ConcatenationOptions", {
        "axis": "Axis", "activation": "FusedActivationFunction"}),
    "PACK": ("PackOptions", {"axis": "Axis"}),
    "RESIZE_NEAREST_NEIGHBOR": ("ResizeNearestNeighborOptions", {
        "align_corners": "AlignCorners", "half_pixel_centers": "HalfPixelCenters"}),
    "GATHER": ("GatherOptions", {"axis": "Axis", "batch_dimensions": "BatchDims"}),
    "STRIDED_SLICE": ("StridedSliceOptions", {
        "begin": "BeginMask", "end": "EndMask", "ellipsis": "EllipsisMask",
        "new_axis": "NewAxisMask", "shrink_axis": "ShrinkAxisMask", "offset": "Offset"}),
}
"""The options that are read of an operator: their table in the schema, and its accessors."""

ITEM_BYTES = {"FLOAT32": 4, "INT32": 4, "INT64": 8, "INT8": 1, "UINT8": 1, "INT16": 2,
              "FLOAT16": 2, "BOOL": 1}
PACKED_BITS = {"INT4": 4, "INT2": 2}
"""Bits of those that share a byte, the first one in its lowest."""
_KINDS = {value: name for name, value in vars(schema.TensorType).items() if type(value) is int}
_OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items()
              if type(value) is int}
_TABLES = {value: name for name, value in vars(schema.BuiltinOptions).items()
           if type(value) is int}


def read(path: str | Path) -> Model:
    """The graph in the file ``path``; `PenjingError` where it is damaged or something else."""
    try:
        with open(path, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PenjingError(f"{path}: not a regular file; give a .tflite file")
            if status.st_size > MAX_FILE_BYTES:
                raise PenjingError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; no network of "
                                   f"that size fits an FPGA, so check the path")
            data = stream.read(MAX_FILE_BYTES)
    except OSError as error:
        raise PenjingError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    try:
        return parse(data)
    except PenjingError as error:
        raise PenjingError(f"{path}: {error}") from None


def parse(data: bytes) -> Model:
    """The graph in the bytes of a file."""
    if data[4:8] != _MAGIC:
        raise PenjingError("no TensorFlow Lite network; give a file that tf.lite.TFLiteConverter "
                           "wrote")
    try:
        return _model(schema.Model.GetRootAs(data, 0))
    except (struct.error, IndexError, KeyError, TypeError, ValueError, AttributeError,
            OverflowError) as error:
        if isinstance(error, PenjingError):
            raise
        raise PenjingError(f"damaged: its tables or offsets lead nowhere; {_WAY_OUT}") from None


def _model(model: Any) -> Model:
    if model.Version() != _VERSION:
        raise PenjingError(f"its schema version is {model.Version()}, not {_VERSION}; {_WAY_OUT}")
    if model.SubgraphsLength() == 0:
        raise PenjingError(f"it holds no graph; {_WAY_OUT}")
    if model.SignatureDefsLength() > 1:
        raise PenjingError(f"it holds {model.SignatureDefsLength()} signatures, each a network; "
                           f"convert one of them alone")
    graph = model.Subgraphs(0)
    tensors = _count("tensors", graph.TensorsLength(), MAX_TENSORS)
    operators = _count("operators", graph.OperatorsLength(), MAX_OPERATORS)
    codes = _count("kinds of operators", model.OperatorCodesLength(), MAX_OPERATORS)
    kinds = [_kind(model.OperatorCodes(i)) for i in range(codes)]
    return Model(
        tuple(_tensor(model, graph.Tensors(i), i) for i in range(tensors)),
        tuple(_operator(graph.Operators(i), i, kinds, tensors) for i in range(operators)),
        _indices(graph.InputsAsNumpy, tensors), _indices(graph.OutputsAsNumpy, tensors))


def _count(what: str, count: int, most: int) -> int:
    if count > most:
        raise PenjingError(f"it claims {count} {what}, more than {most}; {_WAY_OUT}")
    return count


def _kind(code: Any) -> str:
    # Small numbers are in the old field, which has one byte; the new one may then be 0.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if number == schema.BuiltinOperator.CUSTOM:
        return f"CUSTOM {_text(code, _CUSTOM_CODE_FIELD):.40}"
    return _OPERATORS.get(number, f"unknown operator {number}")


def _text(record: Any, offset: int) -> str:
    """A text field in printable ASCII.

    No more of it is copied than is kept; the accessor would copy all.
    """
    table = record._tab
    place = table.Offset(offset)
    if place == 0:
        return ""
    start, length = table.Vector(place), min(table.VectorLen(place), MAX_NAME)
    text = bytes(table.Bytes[start:start + length]).decode("ascii", "backslashreplace")
    return "".join(character if character.isprintable() else "?" for character in text)


def _vector(read_vector: Callable[[], Any], most: int) -> NDArray[Any]:
    """A vector of numbers, empty where the file leaves it away.

    The accessor checks its length against the file, since it makes a view.
    """
    values = read_vector()
    if not isinstance(values, np.ndarray):  # 0 stands for a vector that was left away
        return np.zeros(0, np.int64)
    if len(values) > most:
        raise PenjingError(f"it claims a list of {len(values)} entries, more than {most}; "
                           f"{_WAY_OUT}")
    return values


def _indices(read_vector: Callable[[], Any], tensors: int) -> tuple[int, ...]:
    indices = tuple(int(index) for index in _vector(read_vector, _MAX_OPERANDS))
    if any(not -1 <= index < tensors for index in indices):
        raise PenjingError(f"damaged: it names tensors that it does not hold; {_WAY_OUT}")
    return indices


def _tensor(model: Any, record: Any, index: int) -> Tensor:
    shape = tuple(int(n) for n in _vector(record.ShapeAsNumpy, MAX_DIMENSIONS))
    name = _text(record, _NAME_FIELD)
    if any(n < 0 for n in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise PenjingError(f"tensor {index} ({name:.60}): its shape {shape} has a negative size or "
                           f"more than {MAX_ELEMENTS} elements; {_WAY_OUT}")
    scales, zero_points = np.zeros(0, np.float32), np.zeros(0, np.int64)
    axis, odd = 0, None
    quantization = record.Quantization()
    if quantization is not None:
        scales = _vector(quantization.ScaleAsNumpy, _MAX_SCALES)
        zero_points = _vector(quantization.ZeroPointAsNumpy, _MAX_SCALES)
        axis = int(quantization.QuantizedDimension())
        if quantization.DetailsType() != 0:
            odd = "its quantization is of a kind of its own (custom or by blocks)"
    if record.Sparsity() is not None:
        odd = "its values are stored sparsely"
    if (_vector(record.ShapeSignatureAsNumpy, MAX_DIMENSIONS)[1:] < 0).any():
        odd = odd or DYNAMIC
    kind = _KINDS.get(record.Type(), f"type {record.Type()}")
    data, trouble = _data(model, record.Buffer(), kind, math.prod(shape))
    return Tensor(index, name, kind, shape, scales, zero_points, axis, data, odd or trouble)


def _data(model: Any, index: int, kind: str,
          elements: int) -> tuple[NDArray[np.uint8] | None, str | None]:
    """The bytes of a constant, and what is wrong with them."""
    if not 0 <= index < model.BuffersLength():
        raise PenjingError(f"damaged: it names a buffer that it does not hold; {_WAY_OUT}")
    buffer = model.Buffers(index)
    if buffer.Offset() > 1:
        return None, "its values lie outside the flatbuffer"
    values = buffer.DataAsNumpy()
    if not isinstance(values, np.ndarray) or not len(values):
        return None, None
    bits = PACKED_BITS.get(kind, 8 * ITEM_BYTES.get(kind, 0))
    wanted = (elements * bits + 7) // 8
    if len(values) != wanted:
        return None, f"its shape needs {wanted} bytes of {kind}, its buffer holds {len(values)}"
    return values, None


def _operator(record: Any, index: int, kinds: list[str], tensors: int) -> Operator:
    code = record.OpcodeIndex()
    if code >= len(kinds):
        raise PenjingError(f"operator {index}: it is of kind {code}, the file holds {len(kinds)}; "
                           f"{_WAY_OUT}")
    inputs = _indices(record.InputsAsNumpy, tensors)
    outputs = _indices(record.OutputsAsNumpy, tensors)
    return Operator(index, kinds[code], inputs, outputs, _options(record, index, kinds[code]))


def _options(record: Any, index: int, kind: str) -> dict[str, Number]:
    if kind not in _OPTIONS:
        return {}
    name, accessors = _OPTIONS[kind]
    table = record.BuiltinOptions()
    held = _TABLES.get(record.BuiltinOptionsType(), "?")
    if table is None or held != name:
        raise PenjingError(f"operator {index} ({kind}): its options are {held}, not {name}; "
                           f"{_WAY_OUT}")
    options = getattr(schema, name)()
    options.Init(table.Bytes, table.Pos)
    return {key: getattr(options, accessor)() for key, accessor in accessors.items()}

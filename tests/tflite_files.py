"""Write small ``.tflite`` files with the schema's object API; no TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

TYPES = {"INT8": np.int8, "UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64,
         "FLOAT32": np.float32, "INT16": np.int16}
SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6 = 0, 1, 2, 3
ACTIVATIONS = (NONE, RELU, RELU_N1_TO_1, RELU6)


PACKED = {"INT4": 4, "INT2": 2}
"""Bits of those that share a byte."""


def packed(values: NDArray[Any], bits: int) -> bytes:
    """``values`` of 2 or 4 ``bits``, several to a byte, the lowest first."""
    flat = values.astype(np.int64).reshape(-1) & (1 << bits) - 1
    flat = np.append(flat, np.zeros(-len(flat) % (8 // bits), np.int64)).reshape(-1, 8 // bits)
    return (flat << np.arange(0, 8, bits)).sum(1).astype(np.uint8).tobytes()


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
            raw = (packed(data, PACKED[kind]) if kind in PACKED
                   else data.astype(TYPES[kind]).tobytes())
            buffer.data = np.frombuffer(raw, np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, kind: str, inputs: Sequence[int], outputs: Sequence[int],
                 table: str | None = None, *, version: int = 1, **options: object) -> None:
        """Add an operator of that ``version``; ``table`` names its options in the schema."""
        number = getattr(schema.BuiltinOperator, kind)
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
        code.version = version
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


MAGNITUDE = {"INT8": 74, "INT4": 5, "INT2": 1}
"""Of a typical weight."""


class Drawn(File):
    """A file of one operator or a few, its numbers drawn from ``rng``, activations of ``kind``."""

    def __init__(self, rng: np.random.Generator, kind: str = "INT8") -> None:
        super().__init__()
        self.rng = rng
        self.kind = kind

    def integer(self, low: int, high: int) -> int:
        """From ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, high + 1))

    def choice(self, *values: Any) -> Any:
        """One of ``values``."""
        return values[self.integer(0, len(values) - 1)]

    def scale(self, low: float = -4, high: float = 1) -> float:
        """A float32 from 10**low to 10**high, a power of two now and then."""
        exponent = self.rng.uniform(low, high)
        return float(np.float32(2.0 ** round(exponent * 3) if self.integer(0, 3) == 0
                                else 10 ** exponent))

    def zero_point(self) -> int:
        """An int8, the extremes often; int16 has none."""
        if self.kind == "INT16":
            return 0
        return int(self.choice(-128, 127, 0, self.integer(-128, 127)))

    def activation(self, shape: Sequence[int], kind: str | None = None, scale: float | None = None,
                   zero_point: int | None = None) -> int:
        """Add a tensor with one scale and zero point."""
        point = self.zero_point() + 128 * (kind == "UINT8") if zero_point is None else zero_point
        return self.tensor(shape, kind or self.kind, self.scale() if scale is None else scale,
                           point)

    def weights(self, shape: Sequence[int], axis: int, kind: str, scales: object) -> int:
        """Add weights, symmetric, of the whole range."""
        low = {"INT4": -8, "INT2": -2}.get(kind, -128)
        values = self.rng.integers(low, -low, tuple(shape))
        return self.tensor(shape, kind, scales, 0, values, axis)

    def operands(self, x: int, weights: int, outputs: int, bias: bool = False) -> list[int]:
        """``x``, ``weights`` and a bias, which may be left out unless there must be a ``bias``."""
        if self.integer(0, 4) == 0 and not bias:
            return [x, weights]
        source, factors = (np.array(self.graph.tensors[n].quantization.scale, np.float32)
                           for n in (x, weights))
        values = self.rng.integers(-5000, 5000, outputs)
        wide = "INT64" if self.kind == "INT16" else "INT32"
        return [x, weights, self.tensor((outputs,), wide, source * factors, 0, values)]

    def numbers(self, *values: int) -> int:
        """Add a constant list."""
        return self.tensor((len(values),), "INT32", data=np.array(values, np.int64))

    def ends(self, first: int, last: int) -> None:
        """Let these be input and output."""
        self.graph.inputs, self.graph.outputs = [first], [last]

    def ratios(self, outputs: int, typical: float) -> NDArray[np.float32]:
        """Weight scales that bring sums of magnitude ``typical`` about to int8, one or many."""
        count = self.choice(1, outputs)
        spread = self.choice(0.0, 0.5, 2.0)
        return (10 ** self.rng.uniform(-spread, spread, count) * 60 / typical).astype(np.float32)


def windowed(file: Drawn, dilation: tuple[int, int]) -> tuple[int, int, int, int, int, int, int]:
    """Drawn (height, width, kernel y, x, stride y, x, padding) that fit."""
    kernel = file.integer(1, 4), file.integer(1, 4)
    sizes = [max(file.integer(1, 9), (taps - 1) * step + 1)
             for taps, step in zip(kernel, dilation, strict=True)]
    return (*sizes, *kernel, file.integer(1, 3), file.integer(1, 3),
            file.choice(SAME, VALID))  # type: ignore[return-value]


def sizes(height: int, width: int, kernel: tuple[int, int], stride: tuple[int, int],
          padding: int) -> tuple[int, int]:
    """Height and width of what windows make."""
    return (windows(height, kernel[0], stride[0], padding),
            windows(width, kernel[1], stride[1], padding))


def convolution(file: Drawn, kind: str = "INT8") -> None:
    groups = file.choice(1, 1, 2, 3)
    inputs, outputs = groups * file.integer(1, 4), groups * file.integer(1, 4)
    dilation = file.choice((1, 1), (2, 1), (1, 3), (2, 2))
    height, width, ky, kx, sy, sx, padding = windowed(file, dilation)
    taps = (ky - 1) * dilation[0] + 1, (kx - 1) * dilation[1] + 1
    shape = sizes(height, width, taps, (sy, sx), padding)
    source, target = file.scale(), file.scale()
    typical = 74 * MAGNITUDE[kind] * math.sqrt(ky * kx * inputs / groups)
    x = file.activation((1, height, width, inputs), scale=source)
    scales = file.ratios(outputs, typical) * np.float32(target / source)
    w = file.weights((outputs, ky, kx, inputs // groups), 0, kind, scales)
    y = file.activation((1, *shape, outputs), scale=target)
    file.operator("CONV_2D", file.operands(x, w, outputs, bias=True), [y], "Conv2DOptions",
                  padding=padding, strideH=sy, strideW=sx, dilationHFactor=dilation[0],
                  dilationWFactor=dilation[1], fusedActivationFunction=file.choice(*ACTIVATIONS))
    file.ends(x, y)


def depthwise(file: Drawn, kind: str = "INT8") -> None:
    inputs, multiplier = file.integer(1, 5), file.choice(1, 1, 2, 3)
    outputs = inputs * multiplier
    dilation = file.choice((1, 1), (2, 1), (1, 3), (2, 2))
    height, width, ky, kx, sy, sx, padding = windowed(file, dilation)
    taps = (ky - 1) * dilation[0] + 1, (kx - 1) * dilation[1] + 1
    shape = sizes(height, width, taps, (sy, sx), padding)
    source, target = file.scale(), file.scale()
    typical = 74 * MAGNITUDE[kind] * math.sqrt(ky * kx)
    x = file.activation((1, height, width, inputs), scale=source)
    scales = file.ratios(outputs, typical) * np.float32(target / source)
    w = file.weights((1, ky, kx, outputs), 3, kind, scales)
    y = file.activation((1, *shape, outputs), scale=target)
    file.operator("DEPTHWISE_CONV_2D", file.operands(x, w, outputs), [y],
                  "DepthwiseConv2DOptions", padding=padding, strideH=sy, strideW=sx,
                  depthMultiplier=multiplier, dilationHFactor=dilation[0],
                  dilationWFactor=dilation[1], fusedActivationFunction=file.choice(*ACTIVATIONS))
    file.ends(x, y)


def transposed(file: Drawn, kind: str = "INT8") -> None:
    inputs, outputs = file.integer(1, 5), file.integer(1, 5)
    height, width, ky, kx, sy, sx, padding = windowed(file, (1, 1))
    # Several sizes are convolved to the input's size; with SAME, the largest is the usual one.
    tall, wide = (step * (size - 1) + (step if padding == SAME else taps) for size, taps, step in
                  ((height, ky, sy), (width, kx, sx)))
    spare = -1 if padding == SAME else 1
    shape = (1, tall + spare * file.integer(0, sy - 1), wide + spare * file.integer(0, sx - 1),
             outputs)
    source, target = file.scale(), file.scale()
    typical = 74 * (5 if kind == "INT4" else 74) * math.sqrt(ky * kx * inputs / (sy * sx))
    x = file.activation((1, height, width, inputs), scale=source)
    scales = file.ratios(outputs, typical) * np.float32(target / source)
    w = file.weights((outputs, ky, kx, inputs), 0, kind, scales)
    y = file.activation(shape, scale=target)
    _, _, *bias = file.operands(x, w, outputs)
    activation = file.choice(*ACTIVATIONS)
    file.operator("TRANSPOSE_CONV", [file.numbers(*shape), w, x, *bias], [y],
                  "TransposeConvOptions", version=3 if bias else 2, padding=padding, strideH=sy,
                  strideW=sx, fusedActivationFunction=activation)
    file.ends(x, y)


def dense(file: Drawn, kind: str = "INT8") -> None:
    form = file.choice("vector", "vector", "map", "positions")
    inputs, outputs = file.integer(1, 60), file.integer(1, 20)
    shape: tuple[int, ...] = (1, inputs)
    result: tuple[int, ...] = (1, outputs)
    if form == "map":
        shape = (1, 2, 3, inputs)
    if form == "positions":
        shape, result = file.choice(((1, 2, 3, inputs), (1, 2, 3, outputs)),
                                    ((1, 5, inputs), (1, 5, outputs)))
    taken = math.prod(shape) if form == "map" else inputs
    source, target = file.scale(), file.scale()
    typical = 74 * MAGNITUDE[kind] * math.sqrt(taken)
    scales = file.ratios(outputs, typical) * np.float32(target / source)
    x = file.activation(shape, scale=source)
    w = file.weights((outputs, taken), 0, kind, scales)
    y = file.activation(result, scale=target)
    file.operator("FULLY_CONNECTED", file.operands(x, w, outputs), [y],
                  "FullyConnectedOptions", keepNumDims=form == "positions",
                  fusedActivationFunction=file.choice(*ACTIVATIONS))
    file.ends(x, y)


def add(file: Drawn) -> None:
    of_two_maps(file, "ADD", "AddOptions")


def sub(file: Drawn) -> None:
    of_two_maps(file, "SUB", "SubOptions")


def of_two_maps(file: Drawn, kind: str, table: str) -> None:
    """An operator of a map and another one, or of the map twice."""
    shape = (1, file.integer(1, 4), file.integer(1, 4), file.integer(1, 4))
    # Twice the same tensor, the other one a requantized copy of it.
    x = file.activation(shape)
    other = file.activation(shape)
    file.operator("QUANTIZE", [x], [other], "QuantizeOptions")
    y = file.activation(shape, scale=file.scale(-2, 1.5))
    pair = file.choice([x, other], [other, x], [x, x])
    file.operator(kind, pair, [y], table, potScaleInt16=False,
                  fusedActivationFunction=file.choice(*ACTIVATIONS))
    file.ends(x, y)


def average_pool(file: Drawn) -> None:
    height, width, ky, kx, sy, sx, padding = windowed(file, (1, 1))
    channels, scale, point = file.integer(1, 3), file.scale(), file.zero_point()
    x = file.activation((1, height, width, channels), scale=scale, zero_point=point)
    shape = sizes(height, width, (ky, kx), (sy, sx), padding)
    y = file.activation((1, *shape, channels), scale=scale, zero_point=point)
    file.operator("AVERAGE_POOL_2D", [x], [y], "Pool2DOptions", padding=padding, strideH=sy,
                  strideW=sx, filterHeight=ky, filterWidth=kx,
                  fusedActivationFunction=file.choice(*ACTIVATIONS))
    file.ends(x, y)


def max_pool(file: Drawn) -> None:
    height, width, ky, kx, sy, sx, padding = windowed(file, (1, 1))
    channels, scale, point = file.integer(1, 3), file.scale(), file.zero_point()
    x = file.activation((1, height, width, channels), scale=scale, zero_point=point)
    shape = sizes(height, width, (ky, kx), (sy, sx), padding)
    y = file.activation((1, *shape, channels), scale=scale, zero_point=point)
    file.operator("MAX_POOL_2D", [x], [y], "Pool2DOptions", padding=padding, strideH=sy,
                  strideW=sx, filterHeight=ky, filterWidth=kx,
                  fusedActivationFunction=file.choice(*ACTIVATIONS))
    file.ends(x, y)


def mean(file: Drawn) -> None:
    height, width, channels = file.integer(1, 9), file.integer(1, 9), file.integer(1, 4)
    axes = file.choice([1, 2], [2, 1], [1], [2], [-2, -3])
    keep = file.choice(True, False)
    full = (1, height, width, channels)
    over = {axis % 4 for axis in axes}
    shape = [1 if axis in over else size for axis, size in enumerate(full) if
             keep or axis not in over]
    scale, point = file.scale(), file.zero_point()
    x = file.activation(full, scale=scale, zero_point=point)
    # The reference has a way of its own where nothing changes.
    if file.choice(True, False):
        scale, point = scale * file.rng.uniform(0.1, 3), file.zero_point()
    y = file.activation(shape, scale=scale, zero_point=point)
    table = file.tensor((len(axes),), "INT32", data=np.array(axes))
    file.operator("MEAN", [x, table], [y], "ReducerOptions", keepDims=keep)
    file.ends(x, y)


def relu(file: Drawn) -> None:
    shape = (1, file.integer(1, 4), file.integer(1, 4), file.integer(1, 4))
    scale, point = file.scale(-3, 1), file.zero_point()
    x = file.activation(shape, scale=scale, zero_point=point)
    if file.choice(True, False):
        scale, point = scale * file.rng.uniform(0.2, 3), file.zero_point()
    y = file.activation(shape, scale=scale, zero_point=point)
    kinds = ("RELU", "RELU6") if file.kind == "INT16" else ("RELU", "RELU6", "RELU_N1_TO_1")
    file.operator(file.choice(*kinds), [x], [y])
    file.ends(x, y)


def quantize(file: Drawn) -> None:
    kinds = file.choice(("INT8", "INT8"), ("UINT8", "INT8"), ("INT8", "UINT8"))
    shape = (1, file.integer(1, 9))
    scale = file.scale()
    x = file.activation(shape, kinds[0], scale)
    scale = file.choice(scale, scale * file.rng.uniform(0.1, 10))
    y = file.activation(shape, kinds[1], scale)
    file.operator("QUANTIZE", [x], [y], "QuantizeOptions")
    file.ends(x, y)


def reshape(file: Drawn) -> None:
    """A map or a vector, of other shape before a pool and at the end."""
    height, width, channels = (file.choice(2, 4, 6) for _ in range(3))
    scale, point = file.scale(), file.zero_point()
    first = file.choice((1, height, width, channels), (1, height * width * channels))
    last = x = file.activation(first, scale=scale, zero_point=point)
    shapes = [(1, width, channels, height), (1, height // 2, width * channels * 2),
              (1, 2, height // 2, width * channels), (1, height * width, channels)]
    for n in range(file.integer(1, 3)):
        shape = file.choice(*shapes) if n else file.choice(shapes[0], shapes[2])
        new = file.tensor((len(shape),), "INT32", data=np.array(shape))
        y = file.activation(shape, scale=scale, zero_point=point)
        file.operator("RESHAPE", [last, new], [y])
        last = y
        if n == 0:
            y = file.activation(shape, scale=scale, zero_point=point)
            file.operator("MAX_POOL_2D", [last], [y], "Pool2DOptions", padding=SAME, strideH=1,
                          strideW=1, filterHeight=2, filterWidth=2)
            last = y
    file.ends(x, last)


def padded(file: Drawn, reader: str) -> None:
    """PAD or PADV2 before a convolution, a pool, or nothing."""
    height, width, channels = file.integer(2, 6), file.integer(2, 6), file.integer(1, 3)
    scale, point = file.scale(), file.zero_point()
    top, bottom, left, right = (file.integer(0, 3) for _ in range(4))
    table = np.array([[0, 0], [top, bottom], [left, right], [0, 0]])
    big = (height + top + bottom, width + left + right)
    x = file.activation((1, height, width, channels), scale=scale, zero_point=point)
    middle = file.activation((1, *big, channels), scale=scale, zero_point=point)
    pads = file.tensor((4, 2), "INT32", data=table)
    if file.choice(True, False):
        file.operator("PAD", [x, pads], [middle], "PadOptions")
    else:
        value = file.tensor((1,), file.kind, scale, point,
                            np.array([file.choice(point, -128, 0, file.integer(-128, 127))]))
        file.operator("PADV2", [x, pads, value], [middle], "PadV2Options")
    file.ends(x, middle)
    kernel, stride, padding = (2, 2), (file.integer(1, 2), file.integer(1, 2)), VALID
    if reader in ("CONV_2D", "MAX_POOL_2D"):
        padding = file.choice(SAME, VALID)
    shape = (1, *sizes(*big, kernel, stride, padding))
    if reader == "CONV_2D":
        w = file.weights((3, 2, 2, channels), 0, "INT8", 0.01)
        y = file.activation((*shape, 3), scale=scale)
        file.operator("CONV_2D", file.operands(middle, w, 3, bias=True), [y], "Conv2DOptions",
                      padding=padding, strideH=stride[0], strideW=stride[1])
        file.ends(x, y)
    elif reader:
        y = file.activation((*shape, channels), scale=scale, zero_point=point)
        file.operator(reader, [middle], [y], "Pool2DOptions", padding=padding, strideH=stride[0],
                      strideW=stride[1], filterHeight=2, filterWidth=2)
        file.ends(x, y)


def residual(file: Drawn) -> None:
    """Two branches, reals at the ends, and a softmax."""
    shape = (1, 5, 4, 3)
    real = file.tensor(shape, "FLOAT32")
    x = file.activation(shape, scale=0.02, zero_point=file.zero_point())
    file.operator("QUANTIZE", [real], [x], "QuantizeOptions")
    w = file.weights((3, 3, 3, 3), 0, "INT8", file.rng.uniform(0.002, 0.01, 3))
    left, total = file.activation(shape, scale=0.05), file.activation(shape, scale=0.06)
    file.operator("CONV_2D", file.operands(x, w, 3, bias=True), [left], "Conv2DOptions",
                  padding=SAME, strideH=1, strideW=1, fusedActivationFunction=RELU)
    file.operator("ADD", [left, x], [total], "AddOptions", fusedActivationFunction=RELU)
    scale, point = 0.06, file.graph.tensors[total].quantization.zeroPoint[0]
    pooled = file.activation((1, 1, 1, 3), scale=scale, zero_point=point)
    file.operator("AVERAGE_POOL_2D", [total], [pooled], "Pool2DOptions", padding=VALID, strideH=1,
                  strideW=1, filterHeight=5, filterWidth=4)
    flat = file.activation((1, 3), scale=scale, zero_point=point)
    new = file.tensor((2,), "INT32", data=np.array([1, 3]))
    file.operator("RESHAPE", [pooled, new], [flat])
    logits = file.activation((1, 4), scale=file.scale(-2, 0))
    w = file.weights((4, 3), 0, "INT8", 0.05)
    file.operator("FULLY_CONNECTED", file.operands(flat, w, 4), [logits],
                  "FullyConnectedOptions")
    ends = file.tensor((1, 4), "INT8", 1 / 256, -128)
    file.operator("SOFTMAX", [logits], [ends], "SoftmaxOptions", beta=1.0)
    reals = file.tensor((1, 4), "FLOAT32")
    file.operator("DEQUANTIZE", [ends], [reals], "DequantizeOptions")
    file.ends(real, reals)


def all_values(file: Drawn, scale: float | None = None) -> int:
    """An input of a few channels in which frames of any values meet each."""
    return file.activation((1, 16, 16, file.integer(1, 3)),
                           scale=file.scale(-3, 0) if scale is None else scale)


def like(file: Drawn, x: int, **meaning: Any) -> int:
    """A tensor of the shape of ``x``."""
    return file.activation(file.graph.tensors[x].shape, **meaning)


def logistic_of(file: Drawn, x: int) -> int:
    """The LOGISTIC of ``x``."""
    y = like(file, x, scale=1 / 256, zero_point=-128)
    file.operator("LOGISTIC", [x], [y])
    return y


def logistic(file: Drawn) -> None:
    x = all_values(file)
    file.ends(x, logistic_of(file, x))


def silu(file: Drawn) -> None:
    """As Keras writes it, in one order or the other."""
    x = all_values(file)
    y = like(file, x, scale=file.scale(-3, 0))
    pair = [x, logistic_of(file, x)]
    file.operator("MUL", file.choice(pair, pair[::-1]), [y], "MulOptions",
                  fusedActivationFunction=file.choice(*ACTIVATIONS))
    file.ends(x, y)


def unary(file: Drawn) -> None:
    """A function of one operator, or two of them one behind the other."""
    last = x = all_values(file)
    for _ in range(file.choice(1, 1, 2)):
        # HARD_SWISH knows no output much finer than its input.
        y = like(file, x, scale=file.scale(-1.5, 0))
        kind = file.choice("TANH", "HARD_SWISH", "GELU", "LEAKY_RELU", "PRELU")
        if kind == "GELU":
            file.operator(kind, [last], [y], "GeluOptions", approximate=file.choice(True, False))
        elif kind == "LEAKY_RELU":
            file.operator(kind, [last], [y], "LeakyReluOptions", alpha=file.rng.uniform(-1, 2))
        elif kind == "PRELU":
            file.operator(kind, [last, channels(file, x)], [y])
        else:
            file.operator(kind, [last], [y])
        last = y
    file.ends(x, last)


def channels(file: Drawn, x: int, kind: str = "INT8") -> int:
    """Constants: one, or one for each channel of ``x``."""
    count = file.choice(1, file.graph.tensors[x].shape[3])
    shape = file.choice((count,), (1, 1, count))
    most = 128 if kind == "INT8" else 1 << 15
    return file.tensor(shape, kind, file.scale(-3, 0), file.zero_point(),
                       file.rng.integers(-most, most, shape))


def elu(file: Drawn) -> None:
    """As Keras writes it: on reals, between DEQUANTIZE and QUANTIZE."""
    x = all_values(file)
    shape = file.graph.tensors[x].shape
    before, after = file.tensor(shape, "FLOAT32"), file.tensor(shape, "FLOAT32")
    y = like(file, x, scale=file.scale(-3, 0))
    file.operator("DEQUANTIZE", [x], [before], "DequantizeOptions")
    file.operator("ELU", [before], [after])
    file.operator("QUANTIZE", [after], [y], "QuantizeOptions")
    file.ends(x, y)


def with_constants(file: Drawn) -> None:
    """Sum, difference or product of a map and a constant, or of a map and a function of it."""
    x = all_values(file)
    y = like(file, x, scale=file.scale(-1, 1))
    kind, table = file.choice(("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions"))
    other = file.choice(channels(file, x), logistic_of(file, x), x)
    file.operator(kind, file.choice([x, other], [other, x]), [y], table,
                  fusedActivationFunction=file.choice(*ACTIVATIONS))
    file.ends(x, y)


def two_maps(file: Drawn) -> None:
    """Sum, difference or product of a map and what another operator makes of it.

    That is a map, too, a row, a column or a vector, or one without the batch; it is repeated.
    """
    height, width, count = file.integer(2, 6), file.integer(2, 6), file.integer(1, 4)
    x = file.activation((1, height, width, count), scale=file.scale(-2, 0))
    meaning = file.graph.tensors[x].quantization
    meaning = {"scale": meaning.scale[0], "zero_point": meaning.zeroPoint[0]}
    shape = file.choice((1, height, width, count), (1, height, width, 1), (1, 1, width, count),
                        (1, height, 1, count), (1, 1, 1, count), (count,))
    if shape[-1] != count:
        other = file.activation(shape, scale=file.scale(-1, 1))
        w = file.weights((1, 1, 1, count), 0, "INT8", 0.05)
        file.operator("CONV_2D", file.operands(x, w, 1, bias=True), [other], "Conv2DOptions",
                      padding=VALID, strideH=1, strideW=1)
    elif shape == (1, height, width, count):
        other = file.activation(shape, **meaning)
        file.operator("MAX_POOL_2D", [x], [other], "Pool2DOptions", padding=SAME, strideH=1,
                      strideW=1, filterHeight=2, filterWidth=2)
    else:
        axes = [axis for axis in (1, 2) if len(shape) == 1 or shape[axis] == 1]
        size = [1 if axis in axes else n for axis, n in enumerate((1, height, width, count))]
        other = file.activation(size, **meaning)
        file.operator("REDUCE_MAX", [x, file.numbers(*axes)], [other], "ReducerOptions",
                      keepDims=True)
        if len(shape) == 1:
            flat = file.activation(shape, **meaning)
            file.operator("RESHAPE", [other, file.numbers(count)], [flat])
            other = flat
    y = like(file, x, scale=file.scale(-1, 1))
    kind = file.choice("ADD", "SUB", "MUL")
    options = {} if kind == "MUL" else {"potScaleInt16": False}
    file.operator(kind, file.choice([x, other], [other, x]), [y], f"{kind.title()}Options",
                  fusedActivationFunction=file.choice(*ACTIVATIONS), **options)
    file.ends(x, y)


def flatten(file: Drawn) -> None:
    """As Keras writes it: a shape that the batch is taken from, before a dense layer."""
    height, width, inputs = file.integer(1, 4), file.integer(1, 4), file.integer(1, 4)
    elements = height * width * inputs
    x = file.activation((1, height, width, inputs), scale=0.1)
    shape = file.tensor((4,), "INT32")
    file.operator("SHAPE", [x], [shape], "ShapeOptions", outType=schema.TensorType.INT32)
    places = [file.tensor((1,), "INT32", data=np.array([n])) for n in (0, 1, 1)]
    batch = file.tensor((), "INT32")
    file.operator("STRIDED_SLICE", [shape, *places], [batch], "StridedSliceOptions",
                  shrinkAxisMask=1)
    size = file.tensor((), "INT32", data=np.array(file.choice(-1, elements)))
    wanted = file.tensor((2,), "INT32")
    file.operator("PACK", [batch, size], [wanted], "PackOptions", valuesCount=2, axis=0)
    flat = file.activation((1, elements), scale=0.1,
                           zero_point=file.graph.tensors[x].quantization.zeroPoint[0])
    file.operator("RESHAPE", [x, wanted], [flat])
    y = file.activation((1, 5), scale=0.2)
    w = file.weights((5, elements), 0, "INT8", 0.01)
    file.operator("FULLY_CONNECTED", file.operands(flat, w, 5), [y], "FullyConnectedOptions")
    file.ends(x, y)


def channel_ranges(file: Drawn) -> None:
    """Ranges of a map's channels by SLICE, STRIDED_SLICE or SPLIT, concatenated anew."""
    height, width, count = file.integer(1, 4), file.integer(1, 4), 2 * file.integer(1, 3)
    scale, point = file.scale(), file.zero_point()
    x = file.activation((1, height, width, count), scale=scale, zero_point=point)

    def part(channels: int) -> int:
        return file.activation((1, height, width, channels), scale=scale, zero_point=point)

    parts = [x, part(count // 2), part(count // 2)]
    axis = file.tensor((), "INT32", data=np.array(file.choice(3, -1)))
    file.operator("SPLIT", [axis, x], parts[1:], "SplitOptions", numSplits=2)
    first = file.integer(0, count - 1)
    last = file.integer(first + 1, count)
    parts.append(part(last - first))
    if file.choice(True, False):
        size = -1 if last == count else last - first
        file.operator("SLICE", [x, file.numbers(0, 0, 0, first),
                                file.numbers(1, -1, width, size)], parts[-1:], "SliceOptions")
    else:
        file.operator("STRIDED_SLICE", [x, file.numbers(0, 0, 0, first - count),
                                        file.numbers(1, height, 0, last),
                                        file.numbers(1, 1, 1, 1)],
                      parts[-1:], "StridedSliceOptions", endMask=4)
    taken = [file.choice(*parts) for _ in range(file.integer(1, 4))]
    total = sum(file.graph.tensors[n].shape[3] for n in taken)
    y = part(total)
    file.operator("CONCATENATION", taken, [y], "ConcatenationOptions", axis=file.choice(3, -1))
    file.operator("RELU", [y], [z := part(total)])
    file.ends(x, z)


def crop(file: Drawn) -> None:
    """Rows, columns and channels at once, by a SLICE, or by a STRIDED_SLICE with steps."""
    shape = (1, *(file.integer(1, 9) for _ in range(file.integer(1, 3))))
    begin = [file.integer(0, size - 1) for size in shape]
    end = [file.integer(first + 1, size) for first, size in zip(begin, shape, strict=True)]
    steps = [1] * len(shape)
    if file.choice(True, False):
        size = [-1 if last == total and file.choice(True, False) else last - first
                for first, last, total in zip(begin, end, shape, strict=True)]
        operands, kind, table, masks = [begin, size], "SLICE", "SliceOptions", {}
    else:
        steps[1:-1] = [file.choice(1, 2, 3) for _ in shape[1:-1]]
        operands, kind, table = [begin, end, steps], "STRIDED_SLICE", "StridedSliceOptions"
        masks = {"beginMask": some_bits(file, [first == 0 for first in begin]),
                 "endMask": some_bits(file, [a == b for a, b in zip(end, shape, strict=True)])}
        # Some are counted from the end.
        operands[0] = [first - file.choice(0, total)
                       for first, total in zip(begin, shape, strict=True)]
    scale, point = file.scale(), file.zero_point()
    x = file.activation(shape, scale=scale, zero_point=point)
    taken = [len(range(*each)) for each in zip(begin, end, steps, strict=True)]
    y = file.activation(taken, scale=scale, zero_point=point)
    file.operator(kind, [x, *(file.numbers(*values) for values in operands)], [y], table, **masks)
    file.operator("RELU", [y], [z := like(file, y, scale=scale, zero_point=point)])
    file.ends(x, z)


def some_bits(file: Drawn, possible: Sequence[bool]) -> int:
    """Any of the bits that are ``possible``."""
    return sum(file.integer(0, 1) << n for n, one in enumerate(possible) if one)


def extreme(file: Drawn) -> None:
    """A map and a constant, of one meaning."""
    scale, point = file.scale(-3, 0), file.zero_point()
    x = file.activation((1, 16, 16, 2), scale=scale, zero_point=point)
    shape = file.choice((), (2,))
    bound = file.tensor(shape, "INT8", scale, point, file.rng.integers(-128, 128, shape))
    y = like(file, x, scale=scale, zero_point=point)
    file.operator(file.choice("MINIMUM", "MAXIMUM"), [x, bound], [y], "MaximumMinimumOptions")
    file.ends(x, y)


def reduce_max(file: Drawn) -> None:
    shape = [1, file.integer(1, 6), file.integer(1, 6), file.integer(1, 4)]
    axes, keep = file.choice([1, 2], [1], [-2]), file.choice(True, False)
    scale, point = file.scale(), file.zero_point()
    x = file.activation(shape, scale=scale, zero_point=point)
    over = {axis % 4 for axis in axes}
    left = [1 if n in over else size for n, size in enumerate(shape) if keep or n not in over]
    y = file.activation(left, scale=scale, zero_point=point)
    file.operator("REDUCE_MAX", [x, file.tensor((len(axes),), "INT32", data=np.array(axes))], [y],
                  "ReducerOptions", keepDims=keep)
    file.ends(x, y)


def arg_max(file: Drawn) -> None:
    shape = file.choice((1, file.integer(2, 20)), (1, 3, 2, file.integer(2, 9)))
    x = file.activation(shape)
    kind = file.choice("INT32", "INT64")
    y = file.tensor(shape[:-1], kind)
    axis = file.tensor((), "INT32", data=np.array(file.choice(-1, len(shape) - 1)))
    file.operator("ARG_MAX", [x, axis], [y], "ArgMaxOptions",
                  outputType=getattr(schema.TensorType, kind))
    file.ends(x, y)


def transpose(file: Drawn) -> None:
    """Axes of one element go elsewhere, as between channels first and last."""
    length, count = file.integer(1, 6), file.integer(1, 4)
    scale, point = file.scale(), file.zero_point()
    x = file.activation((1, 1, length, count), scale=scale, zero_point=point)
    order = np.array(file.choice([0, 2, 1, 3], [1, 0, 2, 3], [0, 2, 3, 1]))
    shape = [(1, 1, length, count)[axis] for axis in order]
    y = file.activation(shape, scale=scale, zero_point=point)
    file.operator("TRANSPOSE", [x, file.tensor((4,), "INT32", data=order)], [y],
                  "TransposeOptions")
    file.operator("RELU", [y], [z := like(file, y, scale=scale, zero_point=point)])
    file.ends(x, z)


def moved(file: Drawn, x: int, order: Sequence[int], shape: Sequence[int] | None = None) -> int:
    """Add a TRANSPOSE of ``x`` and, if a ``shape`` is given, a RESHAPE to that behind it."""
    def numbers(values: Sequence[int]) -> int:
        return file.tensor((len(values),), "INT32", data=np.array(values))

    before = file.graph.tensors[x]
    same = {"scale": before.quantization.scale[0], "zero_point": before.quantization.zeroPoint[0]}
    y = file.activation([before.shape[axis] for axis in order], **same)
    file.operator("TRANSPOSE", [x, numbers(order)], [y], "TransposeOptions")
    if shape is None:
        return y
    z = file.activation(shape, **same)
    file.operator("RESHAPE", [y, numbers(shape)], [z])
    return z


def turned(file: Drawn) -> None:
    """Maps as PyTorch has them: turned at the input, before a flatten or a mean, or at the end."""
    sizes = (file.integer(1, 5), file.integer(1, 5), file.integer(1, 5))
    x = file.activation((1, *sizes))
    order = file.choice((0, 2, 3, 1), (0, 3, 1, 2), (0, 1, 3, 2), (0, 1, 2, 3))
    y = with_relu(file, moved(file, x, order))
    shape = [1, *(sizes[axis - 1] for axis in order[1:])]
    order = file.choice((0, 3, 1, 2), (0, 2, 1, 3), (0, 3, 2, 1))
    form = file.choice("end", "flatten", "mean", "back")
    if form == "end":
        file.ends(x, moved(file, y, order))
    elif form == "flatten":
        flat = moved(file, y, order, (1, math.prod(sizes)))
        scale = file.graph.tensors[x].quantization.scale[0] * file.rng.uniform(0.3, 3)
        weights = file.weights((3, math.prod(sizes)), 0, "INT8", 0.01)
        z = file.activation((1, 3), scale=scale)
        file.operator("FULLY_CONNECTED", [flat, weights], [z], "FullyConnectedOptions")
        file.ends(x, z)
    elif form == "mean":
        z = moved(file, y, order)
        # Height, width or both, where the TRANSPOSE has left them.
        over = file.choice((1, 2), (1,), (2,))
        axes = [order.index(axis) for axis in over]
        left = [1 if n in axes else shape[axis] for n, axis in enumerate(order)]
        scale = file.graph.tensors[y].quantization
        end = file.activation(left, scale=scale.scale[0], zero_point=scale.zeroPoint[0])
        file.operator(file.choice("MEAN", "REDUCE_MAX"), [z, file.numbers(*axes)], [end],
                      "ReducerOptions", keepDims=True)
        file.ends(x, end)
    else:
        back = [order.index(axis) for axis in range(4)]
        file.ends(x, with_relu(file, moved(file, moved(file, y, order), back)))


def shuffle(file: Drawn) -> None:
    """Channels of two groups by turns, or the other way round."""
    height, width, count = file.integer(1, 3), file.integer(1, 3), file.integer(2, 4)
    x = file.activation((1, height, width, 2 * count))
    same = file.graph.tensors[x].quantization
    apart = file.activation((1, height, width, *file.choice((2, count), (count, 2))),
                            scale=same.scale[0], zero_point=same.zeroPoint[0])
    shape = file.graph.tensors[apart].shape
    file.operator("RESHAPE", [x, file.numbers(*shape)], [apart])
    mixed = moved(file, apart, (0, 1, 2, 4, 3), (1, height, width, 2 * count))
    file.ends(x, with_relu(file, mixed))


def resize(file: Drawn) -> None:
    """RESIZE_NEAREST_NEIGHBOR to a whole multiple, whose float32 of sizes up to 8 is even."""
    height, width, count = (file.integer(1, 8) for _ in range(3))
    scale, point = file.scale(), file.zero_point()
    x = file.activation((1, height, width, count), scale=scale, zero_point=point)
    down, across = file.integer(1, 8), file.integer(1, 8)
    size = file.tensor((2,), "INT32", data=np.array([height * down, width * across]))
    y = file.activation((1, height * down, width * across, count), scale=scale, zero_point=point)
    file.operator("RESIZE_NEAREST_NEIGHBOR", [x, size], [y], "ResizeNearestNeighborOptions",
                  halfPixelCenters=file.choice(True, False))
    file.ends(x, with_relu(file, y))


def with_relu(file: Drawn, x: int) -> int:
    """A RELU behind ``x``, of its scale, so that there is a layer in any case."""
    kind = file.graph.tensors[x].quantization
    y = like(file, x, scale=kind.scale[0], zero_point=kind.zeroPoint[0])
    file.operator("RELU", [x], [y])
    return y


def upsampling(file: Drawn) -> None:
    """As Keras writes it: an axis more behind rows, columns or both, copies, and a map again.

    The shape of that may be left open, and declared as if it were of one row.
    """
    height, width, count = (file.integer(1, 5) for _ in range(3))
    scale, point = file.scale(), file.zero_point()
    times = [file.integer(1, 4), file.integer(1, 4)]
    x = file.activation((1, height, width, count), scale=scale, zero_point=point)

    def numbers(*values: int) -> int:
        return file.tensor((len(values),), "INT32", data=np.array(values))

    def activation(*shape: int) -> int:
        return file.activation(shape, scale=scale, zero_point=point)

    def copied(source: int, sizes: list[int], copies: list[int]) -> int:
        """TILE or BROADCAST_TO of axes of one element, as many ``copies`` of each axis."""
        whole = [size * n for size, n in zip(sizes, copies, strict=True)]
        y = activation(*whole)
        if file.choice(True, False):
            file.operator("TILE", [source, numbers(*copies)], [y], version=3)
        else:
            file.operator("BROADCAST_TO", [source, numbers(*whole)], [y], version=2)
        return y

    def mapped(source: int, *shape: int) -> int:
        is_open = file.choice(True, False)
        y = activation(1, 1, *shape[1:]) if is_open else activation(1, *shape)
        if is_open:
            file.graph.tensors[y].shapeSignature = [-1, -1, *shape[1:]]
        file.operator("RESHAPE", [source, numbers(1, file.choice(-1, shape[0]), *shape[1:])], [y],
                      "ReshapeOptions")
        return y

    if file.choice(True, False):
        apart = activation(1, height, 1, width, 1, count)
        file.operator("RESHAPE", [x, numbers(1, height, 1, width, 1, count)], [apart])
        last = copied(apart, [1, height, 1, width, 1, count], [1, 1, times[0], 1, times[1], 1])
    else:
        apart = activation(1, height, 1, width, count)
        file.operator("EXPAND_DIMS", [x, file.tensor((), "INT32", data=np.array(2))], [apart])
        rows = mapped(copied(apart, [1, height, 1, width, count], [1, 1, times[0], 1, 1]),
                      height * times[0], width, count)
        apart = activation(1, height * times[0], width, 1, count)
        file.operator("EXPAND_DIMS", [rows, file.tensor((), "INT32", data=np.array(-2))], [apart])
        last = copied(apart, [1, height * times[0], width, 1, count], [1, 1, 1, times[1], 1])
    y = mapped(last, height * times[0], width * times[1], count)
    z = activation(1, height * times[0], width * times[1], count)
    file.operator("RELU", [y], [z])
    file.ends(x, z)


def spread(file: Drawn) -> None:
    """A vector that becomes a map, as behind a global pool."""
    count, scale, point = file.integer(1, 6), file.scale(), file.zero_point()
    height, width = file.integer(1, 9), file.integer(2, 9)
    x = file.activation((1, 1, 1, count), scale=scale, zero_point=point)
    y = file.activation((1, height, width, count), scale=scale, zero_point=point)
    kind = file.choice("TILE", "BROADCAST_TO")
    shape = 1, height, width, 1 if kind == "TILE" else count
    file.operator(kind, [x, file.tensor((4,), "INT32", data=np.array(shape))], [y], version=2)
    file.ends(x, with_relu(file, y))


def sigmoids(file: Drawn) -> None:
    """LOGISTIC or TANH of int16, whose steps often are powers of two, or nearly."""
    scale = file.choice(2.0 ** -file.integer(9, 14), 2 ** -12 * 1.0006, file.scale(-5, 0.3))
    x = all_values(file, scale)
    y = like(file, x, scale=2.0 ** -15)
    file.operator(file.choice("LOGISTIC", "TANH"), [x], [y])
    file.ends(x, y)


def bent(file: Drawn) -> None:
    """LEAKY_RELU or PRELU of int16, whose slopes may be below zero."""
    x = all_values(file)
    scale = file.graph.tensors[x].quantization.scale[0]
    y = like(file, x, scale=file.choice(scale, scale * file.rng.uniform(0.2, 3)))
    if file.choice(True, False):
        alpha = file.choice(0.0, 0.1, file.rng.uniform(-1, 2))
        file.operator("LEAKY_RELU", [x], [y], "LeakyReluOptions", alpha=alpha)
    else:
        file.operator("PRELU", [x, channels(file, x)], [y])
    file.ends(x, y)


def with_constants_of_16_bits(file: Drawn) -> None:
    """Sum, difference or product of a map and a constant, or the larger or smaller of both."""
    x, kind = all_values(file), file.choice("ADD", "SUB", "MUL", "MINIMUM", "MAXIMUM")
    scale = file.graph.tensors[x].quantization.scale[0]
    if kind in ("MINIMUM", "MAXIMUM"):
        other = file.tensor((), "INT16", scale, 0, np.array(file.integer(-1 << 15, (1 << 15) - 1)))
        y, table = like(file, x, scale=scale), "MaximumMinimumOptions"
    else:
        other = channels(file, x, "INT16")
        second = file.graph.tensors[other].quantization.scale[0]
        typical = scale * second * 1e4 if kind == "MUL" else max(scale, second)
        y, table = like(file, x, scale=typical * file.rng.uniform(0.5, 3)), f"{kind.title()}Options"
    options = {"potScaleInt16": False} if kind in ("ADD", "SUB") else {}
    pair = file.choice([x, other], [other, x])
    if kind in ("ADD", "SUB", "MUL"):
        options["fusedActivationFunction"] = file.choice(*ACTIVATIONS)
    file.operator(kind, pair, [y], table, **options)
    file.ends(x, y)


def by_shifts(file: Drawn) -> None:
    """ADD or SUB of int16 of which each scale is a power of two, and the file tells so."""
    x = all_values(file, 2.0 ** -10)
    other = like(file, x, scale=2.0 ** -file.integer(10, 16))
    file.operator("QUANTIZE", [x], [other], "QuantizeOptions")
    y = like(file, x, scale=2.0 ** -10)
    kind = file.choice("ADD", "SUB")
    file.operator(kind, file.choice([x, other], [other, x]), [y], f"{kind.title()}Options",
                  potScaleInt16=True, fusedActivationFunction=file.choice(*ACTIVATIONS))
    file.ends(x, y)


Draw = Callable[[Drawn], None]

OPERATORS: tuple[Draw, ...] = (convolution, depthwise, transposed, dense, add, sub, average_pool,
                               max_pool, mean, relu, quantize, reshape, residual, logistic, silu,
                               unary, with_constants, two_maps, flatten, channel_ranges, crop,
                               transpose, extreme, reduce_max, arg_max, resize, upsampling, spread,
                               turned, shuffle)
OF_16_BITS: tuple[Draw, ...] = (convolution, depthwise, transposed, dense, average_pool,
                                max_pool, mean, reshape, flatten, channel_ranges, crop, transpose,
                                reduce_max, upsampling, add, sub, two_maps, relu, resize, spread,
                                turned, shuffle, sigmoids, bent, with_constants_of_16_bits,
                                by_shifts)
"""Those that the reference has of int16 too, and the importer takes."""
WEIGHTED: tuple[Callable[[Drawn, str], None], ...] = (convolution, depthwise, dense)
READERS_OF_PADDING = ("CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D", "")

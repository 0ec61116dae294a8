"""Mutants of ``.tflite`` files: bytes changed at random, and models that lie in their structure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import fuzzing
import numpy as np
import tflite_files
from ai_edge_litert import schema_py_generated as schema
from penjing.compiler.load import tflite as importer
from tflite_files import SAME, VALID, Drawn, File

Generator = np.random.Generator
Change = Callable[[Generator, File], None]

_EXTREMES = (-2**31, -4097, -2, -1, 0, 1, 2, 3, 7, 255, 4096, 4097, 65537, 2**24, 2**31 - 1)
_FLOATS = (0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e38, 3e-39, 1e-30, 1e30)
_BYTES = ("padding", "fusedActivationFunction", "weightsFormat")
"""The options that are stored in one byte."""


def read(path: Path) -> None:
    """What is fuzzed."""
    importer.load(path, "net")


def original(rng: Generator) -> File:
    """A good model."""
    file = Drawn(rng)
    way = rng.integers(5)
    if way == 0:
        tflite_files.WEIGHTED[rng.integers(len(tflite_files.WEIGHTED))](file, "INT4")
    elif way == 1:
        tflite_files.padded(file, str(rng.choice(tflite_files.READERS_OF_PADDING)))
    elif way == 2:
        tflite_files.residual(file)
    elif way == 3:
        file.kind = "INT16"
        tflite_files.OF_16_BITS[rng.integers(len(tflite_files.OF_16_BITS))](file)
    else:
        tflite_files.OPERATORS[rng.integers(len(tflite_files.OPERATORS))](file)
    return file


def _one_byte(rng: Generator, file: File) -> bytes:
    """One byte changed; more of them seldom leave anything that can be read."""
    data = file.bytes()
    place = rng.integers(len(data))
    return data[:place] + bytes([rng.integers(256)]) + data[place + 1:]


# --- lies in the structure of a model
def _extreme(rng: Generator) -> int:
    return _EXTREMES[rng.integers(len(_EXTREMES))]


def _one(rng: Generator, records: list[Any]) -> Any:
    return records[rng.integers(len(records))]


def rewire(rng: Generator, file: File) -> None:
    """Read or write another tensor, a later one, too, or itself, or none."""
    operator = _one(rng, file.graph.operators)
    ends = operator.inputs if rng.integers(3) else operator.outputs
    if ends:
        count = len(file.graph.tensors)
        ends[rng.integers(len(ends))] = int(rng.choice([*range(-1, count + 1), _extreme(rng)]))


def more_ends(rng: Generator, file: File) -> None:
    operator = _one(rng, file.graph.operators)
    ends = operator.inputs if rng.integers(2) else operator.outputs
    way = rng.integers(3)
    if way == 0:
        ends.extend([0] * int(rng.choice([1, 2, 65, 1000])))
    elif way == 1:
        del ends[rng.integers(len(ends) + 1):]
    else:
        ends.reverse()


def shuffle(rng: Generator, file: File) -> None:
    rng.shuffle(file.graph.operators)


def drop(rng: Generator, file: File) -> None:
    records = (file.graph.operators, file.graph.tensors, file.model.buffers,
               file.model.operatorCodes)[rng.integers(4)]
    if len(records) > 1:
        del records[rng.integers(len(records))]


def repeat(rng: Generator, file: File) -> None:
    file.graph.operators.extend([_one(rng, file.graph.operators)]
                                * int(rng.choice([1, 2, 500, 5000], p=[0.4, 0.3, 0.2, 0.1])))


def other_operator(rng: Generator, file: File) -> None:
    code = _one(rng, file.model.operatorCodes)
    kinds = [getattr(schema.BuiltinOperator, kind) for kind in importer.SUPPORTED.split(", ")]
    code.builtinCode = int(rng.choice([*kinds, schema.BuiltinOperator.CUSTOM, 127, 200, 9999]))
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    if rng.integers(4) == 0:
        code.customCode = str(rng.choice(["", "a\nb", "x" * 5000, "网络"]))


def retable(rng: Generator, file: File) -> None:
    """Options of another operator, or none."""
    operator, other = (_one(rng, file.graph.operators) for _ in range(2))
    if rng.integers(2):
        operator.builtinOptions, operator.builtinOptionsType = None, 0
    else:
        operator.builtinOptions = other.builtinOptions
        operator.builtinOptionsType = other.builtinOptionsType


def reoption(rng: Generator, file: File) -> None:
    options = _one(rng, file.graph.operators).builtinOptions
    names = [] if options is None else sorted(vars(options))
    if not names:
        return
    name = str(rng.choice(names))
    old = getattr(options, name)
    if isinstance(old, float):
        setattr(options, name, _FLOATS[rng.integers(len(_FLOATS))])
    elif name in _BYTES:
        setattr(options, name, int(rng.integers(-128, 128)))
    elif isinstance(old, bool):
        setattr(options, name, not old)
    elif isinstance(old, int):
        limit = 127 if name.endswith("Type") else 2**31 - 1
        setattr(options, name, max(-limit, min(limit, _extreme(rng))))


def misshape(rng: Generator, file: File) -> None:
    shape = _one(rng, file.graph.tensors).shape
    way = rng.integers(4)
    if way == 0 and shape:
        shape[rng.integers(len(shape))] = _extreme(rng)
    elif way == 1:
        shape.insert(int(rng.integers(len(shape) + 1)), _extreme(rng))
    elif way == 2:
        shape.extend([1] * int(rng.choice([1, 9, 1000])))
    else:
        rng.shuffle(shape)


def retype(rng: Generator, file: File) -> None:
    _one(rng, file.graph.tensors).type = int(rng.integers(-1, 24))


def requantize(rng: Generator, file: File) -> None:
    """Other scales and zero points, more or fewer of them, along another axis."""
    tensor = _one(rng, file.graph.tensors)
    if tensor.quantization is None or rng.integers(8) == 0:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.1], [0]
    quantization = tensor.quantization
    count = int(rng.choice([0, 1, 2, len(quantization.scale), 70_000]))
    way = rng.integers(4)
    if way == 0:
        quantization.scale = [_FLOATS[n] for n in rng.integers(0, len(_FLOATS), count)]
    elif way == 1:
        quantization.zeroPoint = [_extreme(rng) for _ in range(min(count, 99))]
    elif way == 2:
        quantization.quantizedDimension = _extreme(rng)
    elif rng.integers(2):
        tensor.quantization = None
    else:
        quantization.scale = [float(10 ** rng.uniform(-45, 38)) for _ in quantization.scale]


def refill(rng: Generator, file: File) -> None:
    """Other bytes, or more or fewer of them, in a constant."""
    buffer = _one(rng, file.model.buffers)
    size = 1 if buffer.data is None else len(buffer.data)
    size = int(rng.choice([0, 1, size, size, size + 1, size * 4]))
    value = int(rng.choice([0, 1, 127, 128, 255]))
    buffer.data = (np.full(size, value, np.uint8) if rng.integers(2)
                   else rng.integers(0, 256, size).astype(np.uint8))
    if rng.integers(8) == 0:
        buffer.offset = (1, 2, 2**40, 2**64 - 1)[rng.integers(4)]
        buffer.size = 2**40


def rebuffer(rng: Generator, file: File) -> None:
    """Share a constant, let an activation have one, or name none that exists."""
    tensor = _one(rng, file.graph.tensors)
    tensor.buffer = int(rng.choice([*range(len(file.model.buffers) + 1), 2**31]))


def rename(rng: Generator, file: File) -> None:
    tensor = _one(rng, file.graph.tensors)
    tensor.name = str(rng.choice(["", "a\nb", "x" * 5000, "\x00", "网络", "\u202e", "input",
                                  ";" * 900, "/" * 900, "a/b;" * 200]))


def ends(rng: Generator, file: File) -> None:
    ports = file.graph.inputs if rng.integers(2) else file.graph.outputs
    if rng.integers(2):
        ports.append(int(rng.integers(len(file.graph.tensors))))
    else:
        ports[:] = [int(rng.choice([-1, 0, len(file.graph.tensors) - 1, _extreme(rng)]))]


def oddities(rng: Generator, file: File) -> None:
    """What converters write seldom."""
    tensor = _one(rng, file.graph.tensors)
    way = rng.integers(5)
    if way == 0:
        tensor.sparsity = schema.SparsityParametersT()
    elif way == 1:
        tensor.shapeSignature = [-1, *tensor.shape[1:]]
    elif way == 2:
        file.model.version = int(rng.choice([0, 2, 4]))
    elif way == 3:
        file.model.subgraphs = [] if rng.integers(2) else [file.graph] * 2
    elif tensor.quantization is not None:
        tensor.quantization.detailsType = schema.QuantizationDetails.CustomQuantization
        tensor.quantization.details = schema.CustomQuantizationT()


CHANGES: tuple[Change, ...] = (
    rewire, rewire, more_ends, shuffle, drop, repeat, other_operator, retable, reoption, reoption,
    misshape, misshape, retype, requantize, requantize, refill, rebuffer, rename, ends, oddities)


# --- models that a program could drown in
def _map(size: tuple[int, ...], kind: str = "INT8") -> tuple[File, int]:
    file = File()
    x = file.tensor((1, *size), kind, 0.1, 0)
    file.graph.inputs = file.graph.outputs = [x]
    return file, x


def claimed(rng: Generator) -> bytes:
    """Weights that claim to be huge."""
    file, x = _map((4,))
    w = file.tensor((4, 4), "INT8", 0.1, 0, np.ones((4, 4)))
    file.graph.tensors[w].shape = [1 << 20, 1 << 20]
    y = file.tensor((1, 1 << 20), "INT8", 0.1, 0)
    file.operator("FULLY_CONNECTED", [x, w], [y], "FullyConnectedOptions")
    return file.bytes()


def wide_dilation(rng: Generator) -> bytes:
    """A small kernel that zeros make huge."""
    file, x = _map((4000, 4000, 1))
    w = file.tensor((1, 2, 2, 64), "INT8", 0.1, 0, np.ones((1, 2, 2, 64)))
    y = file.tensor((1, 100, 100, 64), "INT8", 0.1, 0)
    file.operator("DEPTHWISE_CONV_2D", [x, w], [y], "DepthwiseConv2DOptions", padding=VALID,
                  strideH=1, strideW=1, depthMultiplier=64, dilationHFactor=3900,
                  dilationWFactor=3900)
    file.graph.outputs = [y]
    return file.bytes()


def wide_padding(rng: Generator) -> bytes:
    """Padding that makes a small map huge, over and over."""
    file, x = _map((4, 4, 1))
    pads = file.tensor((4, 2), "INT32", data=np.array([[0, 0], [4096] * 2, [4096] * 2, [0, 0]]))
    for _ in range(8):
        y = file.tensor((1, 1, 1, 1), "INT8", 0.1, 0)
        file.operator("PAD", [x, pads], [y], "PadOptions")
        x = y
    return file.bytes()


def large_weights(rng: Generator) -> bytes:
    """Real weights of many values, read by many operators."""
    file, x = _map((4096,))
    w = file.tensor((4096, 2048), "INT8", 0.1, 0, np.zeros((4096, 2048)))
    file.graph.tensors[w].shape = [2048, 4096]
    last = x
    for _ in range(int(rng.choice([1, 4, 40]))):
        last = file.tensor((1, 2048), "INT8", 0.1, 0)
        file.operator("FULLY_CONNECTED", [x, w], [last], "FullyConnectedOptions")
    file.graph.outputs = [last]
    return file.bytes()


def largest_weights(rng: Generator) -> bytes:
    """As many weights as one tensor may have, once or twice."""
    file, x = _map((4096,))
    w = file.tensor((4096, 4096), "INT8", 0.1, 0, np.zeros((4096, 4096)))
    for _ in range(int(rng.choice([1, 2, 3]))):
        last = file.tensor((1, 4096), "INT8", 0.1, 0)
        file.operator("FULLY_CONNECTED", [x, w], [last], "FullyConnectedOptions")
        x = last
    file.graph.outputs = [x]
    return file.bytes()


def many_operators(rng: Generator) -> bytes:
    """A long chain whose layers all want one name."""
    file, x = _map((1, 1, 1))
    for n in range(int(rng.choice([4000, 4096, 5000]))):
        y = file.tensor((1, 1, 1, 1), "INT8", 0.1 + n % 2, 0, name="same")
        file.operator("QUANTIZE", [x], [y], "QuantizeOptions")
        x = y
    file.graph.outputs = [x]
    return file.bytes()


def many_operands(rng: Generator) -> bytes:
    """An operator that claims to read a tensor a million times."""
    file, x = _map((2, 2, 1))
    y = file.tensor((1, 2, 2, 1), "INT8", 0.1, 0)
    file.operator("ADD", [x] * 1_000_000, [y], "AddOptions")
    return file.bytes()


def many_scales(rng: Generator) -> bytes:
    """A scale for each of very many outputs, at many tensors that share them."""
    file, x = _map((1,))
    w = file.tensor((60_000, 1), "INT8", np.full(60_000, 0.1), 0, np.ones((60_000, 1)))
    last = x
    for _ in range(20):
        last = file.tensor((1, 60_000), "INT8", 0.1, 0)
        file.operator("FULLY_CONNECTED", [x, w], [last], "FullyConnectedOptions")
    file.graph.outputs = [last]
    return file.bytes()


def shared_tables(rng: Generator) -> bytes:
    """A list of very many tensors, each of which is the same one in the file."""
    builder = flatbuffers.Builder(1024)
    name = builder.CreateString("n" * 100_000)
    schema.TensorStart(builder)
    schema.TensorAddName(builder, name)
    tensor = schema.TensorEnd(builder)
    count = int(rng.choice([1 << 14, 1 << 20]))
    schema.SubGraphStartTensorsVector(builder, count)
    for _ in range(count):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, 1)
    builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.BufferStart(builder)
    buffer = schema.BufferEnd(builder)
    schema.ModelStartBuffersVector(builder, 1)
    builder.PrependUOffsetTRelative(buffer)
    buffers = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, graphs)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def deep_sums(rng: Generator) -> bytes:
    """Sums of sums of sums, each term of which is read twice."""
    file, x = _map((2, 2, 1))
    for _ in range(int(rng.choice([40, 1000]))):
        y = file.tensor((1, 2, 2, 1), "INT8", 0.2, 0)
        file.operator("ADD", [x, x], [y], "AddOptions")
        x = y
    file.graph.outputs = [x]
    return file.bytes()


def large_window(rng: Generator) -> bytes:
    """A pool whose window and padding are as large as can be."""
    file, x = _map((4000, 4000, 1))
    y = file.tensor((1, 1000, 1000, 1), "INT8", 0.1, 0)
    file.operator("MAX_POOL_2D", [x], [y], "Pool2DOptions", padding=SAME, strideH=4, strideW=4,
                  filterHeight=4096, filterWidth=4096)
    file.graph.outputs = [y]
    return file.bytes()


HOSTILE = (claimed, wide_dilation, wide_padding, large_weights, largest_weights, many_operators,
           many_operands, many_scales, shared_tables, deep_sums, large_window)


def _damaged(rng: Generator, file: File) -> bytes:
    return fuzzing.damage(rng, file.bytes())


def _change(rng: Generator, file: File) -> None:
    CHANGES[rng.integers(len(CHANGES))](rng, file)


mutant = fuzzing.Mutations(original, File.bytes, _change, (_one_byte, _damaged), HOSTILE).mutant

"""Quantized ONNX models, drawn at random: each layer and whole networks, in every style."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

FLOAT, UINT8, INT8 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8
INT32, INT64 = TensorProto.INT32, TensorProto.INT64
DTYPES = {FLOAT: np.float32, UINT8: np.uint8, INT8: np.int8, INT32: np.int32, INT64: np.int64}
MICROSOFT = "com.microsoft"
Array = NDArray[np.generic]


class Model:
    """A graph that grows node by node; names are made up."""

    def __init__(self, dims: Sequence[int | str | None], kind: int = FLOAT,
                 opset: int = 21) -> None:
        self.input = helper.make_tensor_value_info("x", kind, dims)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: object, kind: int) -> str:
        array = np.asarray(values, DTYPES[kind])
        name = f"c{len(self.constants)}"
        self.constants.append(helper.make_tensor(name, kind, array.shape, array.tobytes(),
                                                 raw=True))
        return name

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        domain = MICROSOFT if operator in (
            "QLinearAdd", "QLinearMul", "QLinearAveragePool", "QLinearGlobalAveragePool",
            "QGemm", "QLinearConcat", "QLinearSigmoid", "QLinearLeakyRelu",
            "QLinearSoftmax") else ""
        names = [f"t{len(self.nodes)}_{n}" for n in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, domain=domain,
                                           name=f"{operator.lower()}{len(self.nodes)}",
                                           **attributes))
        return names[0]

    def proto(self, output: str, kind: int = FLOAT) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "g", [self.input], [helper.make_tensor_value_info(output, kind, None)],
            self.constants)
        return helper.make_model(graph, ir_version=10, opset_imports=[
            helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)])

    def bytes(self, output: str, kind: int = FLOAT) -> bytes:
        return self.proto(output, kind).SerializeToString()


@dataclass(frozen=True)
class Style:
    """How a network is written down: operators, element types, scales."""

    qlinear: bool = False
    activation: int = INT8
    weight: int = INT8
    per_channel: bool = True
    powers: bool = False
    float_input: bool = True

    @property
    def safe(self) -> int:
        """The largest weight that no kernel of ONNX Runtime saturates with."""
        # Products of int8 activations and uint8 weights saturate on AVX2 in pairs.
        return 63 if self.activation == INT8 and self.weight == UINT8 else 127


STYLES = tuple(Style(qlinear, activation, weight, per_channel, False, float_input)
               for qlinear, activation, weight, per_channel, float_input in (
                   (False, INT8, INT8, True, True), (False, UINT8, INT8, True, True),
                   (False, UINT8, UINT8, False, False), (True, INT8, INT8, True, False),
                   (True, UINT8, INT8, False, True), (True, UINT8, UINT8, True, False)))


@dataclass(frozen=True)
class Tensor:
    """A quantized activation: its name, its shape (C, H, W) or (C,), its scale and zero point."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero: int


class Grow:
    """A quantized network that grows layer by layer in one `Style`."""

    def __init__(self, rng: np.random.Generator, style: Style, shape: tuple[int, ...],
                 batch: int | str = "n") -> None:
        self.rng, self.style = rng, style
        kind = FLOAT if style.float_input else style.activation
        self.model = Model((batch, *shape), kind)
        scale, zero = self.draw_scale(), self.draw_zero()
        name = "x"
        if style.float_input:
            name = self.model.node("QuantizeLinear", "x", *self._affine(scale, zero))
        self.start = Tensor(name, shape, scale, zero)

    def draw_scale(self) -> float:
        if self.style.powers:
            return 2.0 ** -int(self.rng.integers(2, 7))
        return float(np.float32(math.exp(self.rng.uniform(-5, 0))))

    def draw_zero(self) -> int:
        return int(self.rng.integers(0, 256)) - 128 * (self.style.activation == INT8)

    def _affine(self, scale: float, zero: int) -> tuple[str, str]:
        return (self.model.constant(np.float32(scale), FLOAT),
                self.model.constant(zero, self.style.activation))

    def scale_for(self, spread: float) -> float:
        """A scale by which values that spread so far use most of 8 bits."""
        scale = float(np.float32(spread / 50 * math.exp(self.rng.uniform(-0.5, 0.5))))
        return 2.0 ** round(math.log2(scale)) if self.style.powers else scale

    def quantize(self, real: str, shape: tuple[int, ...], spread: float) -> Tensor:
        scale, zero = self.scale_for(spread), self.draw_zero()
        name = self.model.node("QuantizeLinear", real, *self._affine(scale, zero))
        return Tensor(name, shape, scale, zero)

    def real(self, tensor: Tensor) -> str:
        return self.model.node("DequantizeLinear", tensor.name,
                               *self._affine(tensor.scale, tensor.zero))

    def weights(self, shape: tuple[int, ...], axis: int) -> tuple[Array, Array, Array]:
        """Integers with the extremes among them, scales and zero points."""
        channels = shape[axis] if self.style.per_channel else 1
        unsigned = self.style.weight == UINT8
        most = self.style.safe
        values = self.rng.integers(-most - 1, most + 1, shape)
        values.flat[0], values.flat[-1] = most, -most - 1
        zeros = np.full(channels, 128 if unsigned else 0)
        scales = np.float32(np.exp(self.rng.uniform(-7, -4, channels)))
        if self.style.powers:
            scales = 2.0 ** np.rint(np.log2(scales))
        one = not self.style.per_channel
        return (values + (128 if unsigned else 0), scales[0] if one else scales,
                zeros[0] if one else zeros)

    def _product(self, operator: str, source: Tensor, shape: tuple[int, ...], axis: int,
                 out: Callable[[int], tuple[int, ...]], relu: str | None, biased: bool,
                 **attributes: object) -> Tensor:
        """A layer with weights, in the style; ``out`` gives its shape."""
        model, style = self.model, self.style
        values, scales, zeros = self.weights(shape, axis)
        outputs = shape[axis] if operator != "QLinearMatMul" else shape[1]
        steps = source.scale * np.broadcast_to(scales, (outputs,))
        inner = values.size // outputs
        spread = float(steps.max()) * 75 * 75 * math.sqrt(inner)
        bias = self.rng.integers(-9999, 9999, outputs)
        parts = [model.constant(values, style.weight), model.constant(scales, FLOAT),
                 model.constant(zeros, style.weight)]
        if style.qlinear:
            scale, zero = self.scale_for(spread), self.draw_zero()
            extra = [model.constant(bias, INT32)] if biased else []
            affine = self._affine(scale, zero)
            name = model.node(operator, source.name, *self._affine(source.scale, source.zero),
                              *parts, *(affine if operator != "QGemm" else ()),
                              *(extra or [""] if operator == "QGemm" else extra),
                              *(affine if operator == "QGemm" else ()), **attributes)
            return Tensor(name, out(outputs), scale, zero)
        weights = model.node("DequantizeLinear", *parts, axis=axis)
        inputs = [self.real(source), weights]
        if biased and operator != "MatMul":
            inputs.append(model.node(
                "DequantizeLinear", model.constant(bias, INT32),
                model.constant(steps.astype(np.float32) if np.ndim(scales) else
                               np.float32(steps[0]), FLOAT), axis=0))
        real = model.node(operator, *inputs, **attributes)
        if relu == "Relu":
            real = model.node("Relu", real)
        elif relu == "Clip":
            real = model.node("Clip", real, model.constant(np.float32(0), FLOAT),
                              model.constant(np.float32(spread / 2), FLOAT))
        return self.quantize(real, out(outputs), spread)

    def conv(self, source: Tensor, outputs: int, kernel: tuple[int, ...], *, groups: int = 1,
             stride: tuple[int, ...] | None = None, pads: tuple[int, ...] | None = None,
             dilations: tuple[int, ...] | None = None, auto_pad: str = "NOTSET",
             relu: str | None = None, biased: bool = True) -> Tensor:
        axes = len(kernel)
        stride, dilations = stride or (1,) * axes, dilations or (1,) * axes
        pads = pads or (0,) * (2 * axes)
        sizes = []
        for n in range(axes):
            reach = (kernel[n] - 1) * dilations[n] + 1
            room = source.shape[n + 1] + pads[n] + pads[n + axes] - reach
            sizes.append(-(-source.shape[n + 1] // stride[n]) if auto_pad.startswith("SAME")
                         else room // stride[n] + 1)
        attributes: dict[str, object] = {"group": groups, "strides": stride, "dilations": dilations}
        if auto_pad == "NOTSET":
            attributes["pads"] = pads
        else:
            attributes["auto_pad"] = auto_pad
        operator = "QLinearConv" if self.style.qlinear else "Conv"
        return self._product(operator, source, (outputs, source.shape[0] // groups, *kernel), 0,
                             lambda count: (count, *sizes), relu, biased, **attributes)

    def dense(self, source: Tensor, outputs: int, *, gemm: bool = False,
              relu: str | None = None) -> Tensor:
        inputs = math.prod(source.shape)
        if len(source.shape) > 1:
            source = self.flatten(source)
        operator = ("QGemm" if gemm else "QLinearMatMul") if self.style.qlinear else (
            "Gemm" if gemm else "MatMul")
        transposed = gemm and bool(self.rng.integers(2))
        shape = (outputs, inputs) if transposed else (inputs, outputs)
        axis = 0 if transposed else 1
        attributes = {"transB": int(transposed)} if gemm else {}
        if operator == "QGemm":
            attributes["transB"] = int(transposed)
        return self._product(operator, source, shape, axis, lambda count: (count,), relu, gemm,
                             **attributes)

    def flatten(self, source: Tensor) -> Tensor:
        count = math.prod(source.shape)
        how = self.rng.integers(3)
        if how == 0:
            name = self.model.node("Flatten", source.name)
        else:
            target = [0, -1] if how == 1 else [-1, count]
            name = self.model.node("Reshape", source.name, self.model.constant(target, INT64))
        return replace(source, name=name, shape=(count,))

    def add(self, a: Tensor, b: Tensor, relu: bool = False, operator: str = "Add") -> Tensor:
        shape = tuple(map(max, a.shape, b.shape))
        spread = 75 * (75 * a.scale * b.scale if operator == "Mul"
                       else math.hypot(a.scale, b.scale))
        if self.style.qlinear and operator != "Sub":
            scale, zero = self.scale_for(spread), self.draw_zero()
            name = self.model.node(f"QLinear{operator}", a.name, *self._affine(a.scale, a.zero),
                                   b.name, *self._affine(b.scale, b.zero),
                                   *self._affine(scale, zero))
            return Tensor(name, shape, scale, zero)
        real = self.model.node(operator, self.real(a), self.real(b))
        if relu:
            real = self.model.node("Relu", real)
        return self.quantize(real, shape, spread)

    def slice(self, source: Tensor) -> Tensor:
        """Ranges of any axes, of rows and columns with steps, of integers or of reals."""
        count = len(source.shape)
        axes = [axis for axis in range(count) if self.rng.integers(3)] or [0]
        shape, starts, ends, steps = list(source.shape), [], [], []
        for axis in axes:
            size = source.shape[axis]
            start = int(self.rng.integers(size))
            stop = int(self.rng.integers(start, size)) + 1
            steps.append(int(self.rng.integers(1, 4)) if axis else 1)
            shape[axis] = len(range(start, stop, steps[-1]))
            starts.append(start - size * int(self.rng.integers(2)))
            ends.append(1 << 40 if stop == size else stop)
        axes = [axis + 1 - (count + 1) * int(self.rng.integers(2)) for axis in axes]
        inputs = [self.model.constant(values, INT64) for values in (starts, ends, axes, steps)]
        real = source.name if self.style.qlinear else self.real(source)
        name = self.model.node("Slice", real, *inputs)
        if not self.style.qlinear:
            name = self.model.node("QuantizeLinear", name,
                                   *self._affine(source.scale, source.zero))
        return replace(source, name=name, shape=tuple(shape))

    def max_pool(self, source: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...],
                 pads: tuple[int, ...], ceil_mode: int = 0) -> Tensor:
        name = self.model.node("MaxPool", source.name, kernel_shape=kernel, strides=stride,
                               pads=pads, ceil_mode=ceil_mode)
        axes = len(kernel)
        sizes = []
        for n in range(axes):
            room = source.shape[n + 1] + pads[n] + pads[n + axes] - kernel[n]
            size = (-(-room // stride[n]) if ceil_mode else room // stride[n]) + 1
            if ceil_mode and (size - 1) * stride[n] >= source.shape[n + 1] + pads[n]:
                size -= 1
            sizes.append(size)
        return replace(source, name=name, shape=(source.shape[0], *sizes))

    def average_pool(self, source: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...],
                     pads: tuple[int, ...] = (0, 0, 0, 0)) -> Tensor:
        attributes = {"kernel_shape": kernel, "strides": stride, "pads": pads,
                      "count_include_pad": 1}
        sizes = [(source.shape[n + 1] + pads[n] + pads[n + 2] - kernel[n]) // stride[n] + 1
                 for n in range(2)]
        shape = (source.shape[0], *sizes)
        if self.style.qlinear:
            return self._pooled("QLinearAveragePool", source, shape, **attributes)
        real = self.model.node("AveragePool", self.real(source), **attributes)
        return self.quantize(real, shape, source.scale * 40)

    def global_average_pool(self, source: Tensor, mean: bool = False) -> Tensor:
        shape = (source.shape[0], 1, 1)
        if self.style.qlinear:
            return self._pooled("QLinearGlobalAveragePool", source, shape)
        if mean:
            real = self.model.node("ReduceMean", self.real(source),
                                   self.model.constant([2, 3], INT64), keepdims=1)
        else:
            real = self.model.node("GlobalAveragePool", self.real(source))
        return self.quantize(real, shape, source.scale * 30)

    def _pooled(self, operator: str, source: Tensor, shape: tuple[int, ...],
                **attributes: object) -> Tensor:
        scale, zero = self.scale_for(source.scale * 40), self.draw_zero()
        name = self.model.node(operator, source.name, *self._affine(source.scale, source.zero),
                               *self._affine(scale, zero), **attributes)
        return Tensor(name, shape, scale, zero)

    def finish(self, last: Tensor, *, softmax: bool = False) -> bytes:
        """The model that ends in ``last``, dequantized in QDQ style."""
        if self.style.qlinear and not softmax:
            return self.model.bytes(last.name, self.style.activation)
        real = self.real(last)
        return self.model.bytes(self.model.node("Softmax", real, axis=1) if softmax else real)


def random_layer(rng: np.random.Generator, style: Style, kind: str) -> bytes:
    """A model of one layer of the ``kind`` in `LAYERS`."""
    channels = int(rng.choice([1, 2, 3, 4, 6]))
    height, width = (int(n) for n in rng.integers(5, 11, 2))
    one = kind == "conv1d"
    grow = Grow(rng, style, (channels, width) if one else (channels, height, width))
    source = grow.start
    axes = 1 if one else 2
    kernel = tuple(int(n) for n in rng.integers(1, 4, axes))
    stride = tuple(int(n) for n in rng.integers(1, 3, axes))
    pads = tuple(int(n) for n in rng.integers(0, 3, 2 * axes))
    relu = [None, "Relu", "Clip"][int(rng.integers(3))]
    if kind in ("conv", "conv1d"):
        last = grow.conv(source, int(rng.integers(1, 9)), kernel, stride=stride, pads=pads,
                         relu=relu, biased=bool(rng.integers(2)))
    elif kind == "grouped":
        groups = int(rng.choice([g for g in (1, 2, 3) if channels % g == 0]))
        last = grow.conv(source, groups * int(rng.integers(1, 4)), kernel, groups=groups,
                         stride=stride, pads=pads, relu=relu)
    elif kind == "depthwise":
        last = grow.conv(source, channels * int(rng.integers(1, 3)), kernel, groups=channels,
                         stride=stride, pads=pads, relu=relu)
    elif kind == "dilated":
        last = grow.conv(source, 4, (2, 3), dilations=(int(rng.integers(1, 4)), 2), pads=pads,
                         stride=stride, relu=relu)
    elif kind == "same":
        last = grow.conv(source, 4, kernel, stride=stride, relu=relu,
                         auto_pad=str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"])))
    elif kind == "row":
        last = grow.conv(source, 4, (1, int(rng.integers(2, 5))), stride=stride,
                         pads=(0, pads[1], 0, pads[3]), relu=relu)
    elif kind in ("matmul", "gemm"):
        last = grow.dense(source, int(rng.integers(1, 12)), gemm=kind == "gemm", relu=relu)
    elif kind == "slice":
        last = grow.conv(grow.slice(source), 3, (1, 1))
    elif kind in ("broadcast_add", "broadcast_sub", "broadcast_mul"):
        other = grow.global_average_pool(source)
        if rng.integers(2):
            other = grow.conv(source, 1, (1, 1))
        pair = [source, other] if rng.integers(2) else [other, source]
        last = grow.add(*pair, operator=kind.removeprefix("broadcast_").title())
    elif kind in ("add", "sub", "mul"):
        # What dequantizes integers need not agree with what quantized them.
        other = replace(grow.max_pool(source, (3, 3), (1, 1), (1, 1, 1, 1)),
                        scale=grow.draw_scale(), zero=grow.draw_zero())
        pair = [source, other] if rng.integers(2) else [other, source]
        last = grow.add(*pair, relu=bool(rng.integers(2)), operator=kind.title())
    elif kind == "max_pool":
        last = grow.max_pool(source, (2, 3), stride, (1, 0, 0, 2), int(rng.integers(2)))
    elif kind == "average_pool":
        last = grow.average_pool(source, (2, 3), stride,
                                 (1, 2, 0, 1) if rng.integers(2) else (0, 0, 0, 0))
    else:
        last = grow.global_average_pool(source, mean=kind == "mean")
    return grow.finish(last)


LAYERS = ("conv", "conv1d", "grouped", "depthwise", "dilated", "same", "row", "matmul", "gemm",
          "add", "max_pool", "average_pool", "global_average_pool", "mean", "sub", "slice", "mul",
          "broadcast_add", "broadcast_sub", "broadcast_mul")


def integer_model(rng: np.random.Generator, kind: str, activation: int, weight: int) -> bytes:
    """One ConvInteger or MatMulInteger with zero points, whose accumulators are the output."""
    most = 63 if activation != weight else 127
    channels, outputs = int(rng.integers(1, 6)), int(rng.integers(1, 7))
    shape = (channels,) if kind == "MatMulInteger" else (channels, 7, 8)
    model = Model(("n", *shape), activation)
    zero = int(rng.integers(0, 256)) - 128 * (activation == INT8)
    groups = 1
    if kind == "MatMulInteger":
        weights = rng.integers(-most - 1, most + 1, (channels, outputs))
    else:
        groups = channels if rng.integers(2) and channels > 1 else 1
        outputs *= groups
        weights = rng.integers(-most - 1, most + 1, (outputs, channels // groups, 3, 2))
    weights.flat[0], weights.flat[-1] = most, -most - 1
    shift = 128 if weight == UINT8 else 0
    inputs = ("x", model.constant(weights + shift, weight), model.constant(zero, activation),
              model.constant(shift, weight))
    attributes = {} if kind == "MatMulInteger" else {
        "pads": tuple(int(n) for n in rng.integers(0, 3, 4)), "group": groups,
        "strides": tuple(int(n) for n in rng.integers(1, 3, 2)),
        "dilations": (int(rng.integers(1, 3)), 1)}
    return model.bytes(model.node(kind, *inputs, **attributes), INT32)


def residual_network(rng: np.random.Generator, style: Style, blocks: int = 2,
                     softmax: bool = True) -> bytes:
    """A small residual network with a depthwise layer, as those of the MLPerf Tiny suite."""
    grow = Grow(rng, style, (3, 12, 10))
    relu = "Relu"
    x = grow.conv(grow.start, 8, (3, 3), pads=(1, 1, 1, 1), relu=relu)
    for block in range(blocks):
        stride = (1, 1) if block == 0 else (2, 2)
        outputs = x.shape[0] if block == 0 else 12
        y = grow.conv(x, outputs, (3, 3), stride=stride, pads=(1, 1, 1, 1), relu=relu)
        y = grow.conv(y, outputs, (3, 3), groups=outputs, pads=(1, 1, 1, 1))
        shortcut = x if outputs == x.shape[0] and stride == (1, 1) else grow.conv(
            x, outputs, (1, 1), stride=stride)
        x = grow.add(shortcut, y, relu=True)
    x = grow.max_pool(x, (2, 2), (2, 2), (0, 0, 0, 0))
    x = grow.dense(x, 16, gemm=True, relu=relu) if rng.integers(2) else grow.global_average_pool(x)
    x = grow.dense(x, 10)
    return grow.finish(x, softmax=softmax)


def images(kind: object, count: int, seed: int) -> NDArray[np.int64]:
    """Images for a network whose input has the type ``kind``: the extremes, then random ones."""
    rng = np.random.default_rng(seed)
    low, high, zero = kind.low, kind.high, kind.zero_point  # type: ignore[attr-defined]
    drawn = rng.integers(low, high + 1, (count, *kind.shape))  # type: ignore[attr-defined]
    for n, value in enumerate((low, high, zero)):
        drawn[n % count] = value
    drawn[3 % count] = np.where(drawn[3 % count] > zero, high, low)
    return drawn

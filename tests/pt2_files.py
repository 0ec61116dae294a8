"""Programs as ``torch.export.save`` writes them, made without torch, by hand or at random."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from penjing.compiler.load.pt2 import ElementKind, Reference

Array = NDArray[Any]
KINDS = {"uint8": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5, "float32": 7}
DECOMPOSED = "quantized_decomposed"
KEYWORDS = ("alpha", "approximate", "out_dtype")
"""The arguments that operators take by their names only."""


def _argument(value: object) -> dict[str, Any]:
    if value is None:
        return {"as_none": True}
    if isinstance(value, Reference):
        return {"as_tensor": {"name": value.name}}
    if isinstance(value, ElementKind):
        return {"as_scalar_type": KINDS[value.name]}
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], Reference):
            return {"as_tensors": [{"name": item.name} for item in value]}
        return {"as_floats" if float in map(type, value) else "as_ints": list(value)}
    names = {bool: "as_bool", int: "as_int", float: "as_float", str: "as_string"}
    return {names[type(value)]: value}


def _sizes(dims: Sequence[int]) -> list[dict[str, int]]:
    return [{"as_int": int(size)} for size in dims]


class File:
    """A program that grows node by node; ``dims`` are those of its input, without the batch."""

    def __init__(self, dims: Sequence[int]) -> None:
        self.dims: dict[str, tuple[int, ...]] = {"x": tuple(dims)}
        self.nodes: list[dict[str, Any]] = []
        self.specs: list[dict[str, Any]] = []
        self.config: dict[str, dict[str, Any]] = {}
        self.entries: dict[str, bytes] = {}
        self.output = "x"

    def weight(self, values: Array) -> Reference:
        """A new buffer."""
        count = len(self.config)
        path, entry, name = f"part{count}.weight", f"weight_{count}", f"b_part{count}_weight"
        contiguous = np.ascontiguousarray(values).reshape(values.shape)
        strides = [step // contiguous.itemsize for step in contiguous.strides]
        self.config[path] = {"path_name": entry, "is_param": True, "use_pickle": False,
                             "tensor_meta": {
                                 "dtype": KINDS[contiguous.dtype.name],
                                 "sizes": _sizes(contiguous.shape), "strides": _sizes(strides),
                                 "storage_offset": {"as_int": 0}, "layout": 7}}
        self.entries[entry] = contiguous.tobytes()
        self.specs.append({"buffer": {"arg": {"name": name}, "buffer_name": path,
                                      "persistent": True}})
        self.dims[name] = contiguous.shape[1:]
        return Reference(name)

    def node(self, target: str, dims: Sequence[int], /, **arguments: object) -> Reference:
        """A call whose output has the shape ``dims``; its arguments are positional, in order."""
        name = f"{target.split('.')[-2]}_{len(self.nodes)}"
        namespace = "" if target.count(".") == 2 else "aten."
        self.nodes.append({
            "target": f"torch.ops.{namespace}{target}", "metadata": {}, "name": name,
            "inputs": [{"name": key, "arg": _argument(value), "kind": 1 + (key in KEYWORDS)}
                       for key, value in arguments.items()],
            "outputs": [{"as_tensor": {"name": name}}]})
        self.dims[name] = tuple(dims)
        self.output = name
        return Reference(name)

    def model(self) -> dict[str, Any]:
        """What stands in the archive as JSON."""
        values = {name: {"dtype": 7, "sizes": _sizes((1, *dims))}
                  for name, dims in self.dims.items()}
        specs = [*self.specs, {"user_input": {"arg": {"as_tensor": {"name": "x"}}}}]
        output = {"user_output": {"arg": {"as_tensor": {"name": self.output}}}}
        return {"schema_version": {"major": 8, "minor": 1}, "graph_module": {
            "graph": {"nodes": self.nodes, "tensor_values": values},
            "signature": {"input_specs": specs, "output_specs": [output]}}}

    def bytes(self) -> bytes:
        """The archive."""
        return packed(self.model(), self.config, self.entries)


def packed(model: object, config: object, entries: dict[str, bytes]) -> bytes:
    """The archive of a program."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(f"net/data/weights/{name}", data)
        archive.writestr("net/data/weights/model_weights_config.json",
                         json.dumps({"config": config}))
        archive.writestr("net/models/model.json", json.dumps(model))
        archive.writestr("net/archive_format", "pt2")
    return buffer.getvalue()


@dataclass(frozen=True)
class Tensor:
    """A quantized activation: its integers, its shape, its scale and zero point."""

    integers: Reference
    dims: tuple[int, ...]
    scale: float
    zero: int


class Quantized(File):
    """A program as PT2E leaves it, drawn at random.

    Activations are uint8 if it is ``unsigned``, else int8; scales are powers of two if it is of
    ``powers``, so that every float is exact.
    """

    def __init__(self, rng: np.random.Generator, dims: Sequence[int], *, powers: bool = False,
                 unsigned: bool = False) -> None:
        super().__init__(dims)
        self.rng, self.powers = rng, powers
        self.kind, self.range = ("uint8", (0, 255)) if unsigned else ("int8", (-128, 127))
        self.start = self.quantize(Reference("x"), 2.0)

    def scale(self, spread: float) -> float:
        """A scale by which values that spread so far use most of 8 bits."""
        scale = spread / 50 * math.exp(self.rng.uniform(-0.5, 0.5))
        return 2.0 ** round(math.log2(scale)) if self.powers else scale

    def quantize(self, real: Reference, spread: float, scale: float | None = None,
                 zero: int | None = None, bounds: tuple[int, int] | None = None) -> Tensor:
        """A quantize_per_tensor."""
        low, high = bounds or self.range
        scale = self.scale(spread) if scale is None else scale
        zero = int(self.rng.integers(low, high + 1)) if zero is None else zero
        dims = self.dims[real.name]
        made = self.node(f"{DECOMPOSED}.quantize_per_tensor.default", dims, input=real, scale=scale,
                         zero_point=zero, quant_min=low, quant_max=high,
                         dtype=ElementKind(self.kind))
        return Tensor(made, dims, scale, zero)

    def real(self, x: Tensor, bounds: tuple[int, int] | None = None) -> Reference:
        """A dequantize_per_tensor."""
        low, high = bounds or self.range
        return self.node(f"{DECOMPOSED}.dequantize_per_tensor.default", x.dims, input=x.integers,
                         scale=x.scale, zero_point=x.zero, quant_min=low, quant_max=high,
                         dtype=ElementKind(self.kind))

    def weights(self, shape: tuple[int, ...]) -> tuple[Reference, float]:
        """Dequantized int8 weights with a scale each output, and about what they are worth."""
        values = self.rng.integers(-127, 128, shape).astype(np.int8)
        scales = np.exp(self.rng.uniform(-6, -5, shape[0])).astype(np.float32)
        if self.powers:
            scales = np.exp2(np.rint(np.log2(scales)))
        made = self.node(
            f"{DECOMPOSED}.dequantize_per_channel.default", shape[1:], input=self.weight(values),
            scales=self.weight(scales), zero_points=self.weight(np.zeros(shape[0], np.int64)),
            axis=0, quant_min=-127, quant_max=127, dtype=ElementKind("int8"))
        return made, float(scales.mean()) * 73

    def bias(self, outputs: int, spread: float) -> Reference:
        """A bias of floats; a whole number of every accumulator's steps if scales are powers."""
        values = self.rng.normal(0, spread / 4, outputs)
        if self.powers:
            values = np.rint(values * 2.0 ** 9) / 2.0 ** 9
        return self.weight(values.astype(np.float32))

    def convolution(self, x: Tensor, outputs: int, kernel: int, *, stride: int = 1,
                    padding: int | str = 0, groups: int = 1, dilation: int = 1
                    ) -> tuple[Reference, float]:
        """A convolution along all axes of ``x``, and how far its values spread."""
        channels, *sizes = x.dims
        axes = len(sizes)
        shape = (outputs, channels // groups, *(kernel,) * axes)
        real, (w, worth) = self.real(x), self.weights(shape)
        spread = x.scale * 75 * worth * math.sqrt(math.prod(shape[1:]))
        reach = (kernel - 1) * dilation
        both = reach if padding == "same" else 0 if isinstance(padding, str) else 2 * padding
        dims = (outputs, *((size + both - reach - 1) // stride + 1 for size in sizes))
        overload = "padding" if isinstance(padding, str) else "default"
        return self.node(
            f"conv{axes}d.{overload}", dims, input=real, weight=w, bias=self.bias(outputs, spread),
            stride=[stride] * axes,
            padding=padding if isinstance(padding, str) else [padding] * axes,
            dilation=[dilation] * axes, groups=groups), spread

    def linear(self, x: Tensor, outputs: int) -> tuple[Reference, float]:
        """A linear layer, and how far its values spread."""
        real, (w, worth) = self.real(x), self.weights((outputs, *x.dims))
        spread = x.scale * 75 * worth * math.sqrt(x.dims[0])
        return self.node("linear.default", (outputs,), input=real, weight=w,
                         bias=self.bias(outputs, spread)), spread

    def pooled(self, x: Tensor, operator: str, kernel: int = 2) -> Reference:
        """A pool without padding, of dequantized ``x``."""
        channels, *sizes = x.dims
        return self.node(operator, (channels, *(size // kernel for size in sizes)),
                         self=self.real(x), kernel_size=[kernel] * len(sizes), stride=[])

    def flattened(self, x: Tensor) -> Tensor:
        """``x`` as a vector, quantized as it was."""
        flat = self.node("flatten.using_ints", (math.prod(x.dims),), self=self.real(x), start_dim=1)
        return self.quantize(flat, 0, x.scale, x.zero)

    def end(self, x: Tensor) -> None:
        """Let ``x`` in reals be the output."""
        self.output = self.real(x).name


def residual_network(rng: np.random.Generator, **style: bool) -> Quantized:
    """Convolutions of all kinds, a residual sum, pools and a linear layer."""
    net = Quantized(rng, (3, 8, 8), **style)
    real, spread = net.convolution(net.start, 4, 3, padding=1)
    x = net.quantize(net.node("relu.default", net.dims[real.name], self=real), spread)
    real, spread = net.convolution(x, 4, 3, padding="same", groups=4)
    inner = net.quantize(net.node("hardtanh_.default", net.dims[real.name], self=real,
                                  min_val=0.0, max_val=6.0), spread)
    # What an inductor fuses: accumulators, and a shortcut that was quantized.
    real, spread = net.convolution(inner, 4, 1)
    total = net.node("add.Tensor", net.dims[real.name], self=real, other=net.real(x))
    x = net.quantize(net.node("relu_.default", net.dims[total.name], self=total), spread)
    x = net.quantize(net.pooled(x, "max_pool2d.default"), 0, x.scale, x.zero)
    real, spread = net.convolution(x, 6, 2, stride=2, dilation=2, groups=2, padding=1)
    x = net.quantize(real, spread)
    mean = net.node("adaptive_avg_pool2d.default", (6, 1, 1), self=net.real(x), output_size=[1, 1])
    x = net.flattened(net.quantize(mean, x.scale * 40))
    net.end(net.quantize(*net.linear(x, 5)))
    return net


def line_network(rng: np.random.Generator, **style: bool) -> Quantized:
    """Along one axis, with a mean over the length and a narrow range of activations."""
    net = Quantized(rng, (4, 16), **style)
    real, spread = net.convolution(net.start, 6, 3, padding=1, stride=2)
    low, high = (0, 127) if style.get("unsigned") else (-127, 127)
    x = net.quantize(net.node("clamp.default", net.dims[real.name], self=real, min=-spread),
                     spread, bounds=(low, high))
    pooled = net.pooled(x, "avg_pool1d.default")
    x = net.quantize(pooled, x.scale * 50)
    mean = net.node("mean.dim", (6,), self=net.real(x), dim=[-1])
    net.end(net.quantize(*net.linear(net.quantize(mean, x.scale * 40), 3)))
    return net


def float_network(rng: np.random.Generator) -> File:
    """A program of floats, as it is before any quantizer."""
    net = File((2, 6, 6))

    def weight(*shape: int) -> Reference:
        return net.weight(rng.normal(0, 0.3, shape).astype(np.float32))

    x = net.node("conv2d.default", (4, 6, 6), input=Reference("x"), weight=weight(4, 2, 3, 3),
                 bias=weight(4), stride=[1, 1], padding=[1, 1])
    first = net.node("relu.default", (4, 6, 6), self=x)
    x = net.node("conv2d.padding", (4, 6, 6), input=first, weight=weight(4, 1, 3, 3), bias=None,
                 stride=[1, 1], padding="same", dilation=[1, 1], groups=4)
    x = net.node("add.Tensor", (4, 6, 6), self=x, other=first)
    x = net.node("max_pool2d.default", (4, 3, 3), self=x, kernel_size=[2, 2], stride=[2, 2])
    x = net.node("flatten.using_ints", (36,), self=x, start_dim=1)
    net.node("linear.default", (3,), input=x, weight=weight(3, 36), bias=weight(3))
    return net

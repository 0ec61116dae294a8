"""QONNX models, drawn at random: quantizers of 1 to 8 bits, batch norms of both signs, branches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx_files import FLOAT, INT64, Model

MODES = ("ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")
MONOTONE = (("Relu", {}), ("LeakyRelu", {"alpha": 0.125}), ("HardSigmoid", {"alpha": 0.25}),
            ("ThresholdedRelu", {"alpha": 0.5}), ("Neg", {}))
"""Functions without a last bit that depends on the processor, as that of exp does."""


@dataclass(frozen=True)
class Tensor:
    """A quantized activation: its name, its shape (C, H, W) or (C,), and its scale."""

    name: str
    shape: tuple[int, ...]
    scale: float


class Grow:
    """A network that grows layer by layer.

    What is multiplied has scales that are powers of two, so that sums of float32 are exact in any
    order, whatever runs the model; batch norms have no such scales, nor has the ``last`` quantizer.
    """

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], *, pixels: bool = False,
                 opset: int = 13) -> None:
        self.rng = rng
        self.model = Model((1, *shape), FLOAT, opset)
        name = "x"
        if pixels:
            name = self.model.node("Mul", name, self.number(2))
            name = self.model.node("Sub", name, self.number(1))
        self.tensor = self.quantize(name, shape, bits=int(rng.integers(2, 9)))

    def number(self, value: object) -> str:
        return self.model.constant(value, FLOAT)

    def quantize(self, name: str, shape: tuple[int, ...], *, bits: int | None = None,
                 scale: float | None = None, signed: bool | None = None) -> Tensor:
        rng = self.rng
        bits = int(rng.integers(1, 9)) if bits is None else bits
        scale = 2.0 ** -int(rng.integers(0, 5)) if scale is None else scale
        if bits == 1 and rng.integers(2):
            return Tensor(self.model.node("BipolarQuant", name, self.number(scale)), shape, scale)
        signed = bool(rng.integers(2)) if signed is None else signed
        narrow = int(rng.integers(2)) if bits > 1 else 0
        quantized = self.model.node(
            str(rng.choice(["Quant", "IntQuant"])), name, self.number(scale), self.number(0),
            self.number(bits),
            signed=int(signed), narrow=narrow, rounding_mode=str(rng.choice(MODES)))
        return Tensor(quantized, shape, scale)

    def weights(self, shape: tuple[int, ...]) -> str:
        """Quantized weights, with a scale for each output or for all."""
        rng = self.rng
        values = self.number(rng.normal(size=shape))
        by_output = (shape[0], *(1,) * (len(shape) - 1)) if rng.integers(2) else ()
        scale = self.number(2.0 ** -rng.integers(1, 4, by_output).astype(np.float64))
        if rng.integers(3) == 0:
            return self.model.node("BipolarQuant", values, scale)
        return self.model.node("Quant", values, scale, self.number(0),
                               self.number(int(rng.integers(2, 7))), signed=1,
                               narrow=int(rng.integers(2)), rounding_mode="ROUND")

    def conv(self) -> tuple[str, tuple[int, ...]]:
        rng, (channels, height, width) = self.rng, self.tensor.shape
        kernel = [int(rng.integers(1, min(4, size) + 1)) for size in (height, width)]
        groups = int(rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
        outputs = int(rng.integers(1, 4)) * groups
        pads = [int(rng.integers(0, kernel[n % 2])) for n in range(4)]
        inputs = [self.tensor.name, self.weights((outputs, channels // groups, *kernel))]
        if rng.integers(2):
            inputs.append(self.number(rng.normal(size=outputs)))
        stride = int(rng.integers(1, 3))
        name = self.model.node("Conv", *inputs, group=groups, pads=pads, strides=[stride, stride])
        size = [(whole + pads[n] + pads[n + 2] - kernel[n]) // stride + 1
                for n, whole in enumerate((height, width))]
        return name, (outputs, *size)

    def batch_norm(self, name: str, channels: int) -> str:
        rng = self.rng
        gamma = rng.normal(size=channels)
        gamma[rng.integers(channels)] *= rng.integers(2)
        return self.model.node(
            "BatchNormalization", name, self.number(gamma), self.number(rng.normal(size=channels)),
            self.number(rng.normal(size=channels) * 3), self.number(rng.random(channels) * 20),
            epsilon=1e-5)

    def layer(self, *, last: bool = False) -> None:
        """A convolution, or a matrix product at the end, and its activation."""
        rng, model = self.rng, self.model
        if last:
            size = int(np.prod(self.tensor.shape))
            flat = model.node("Flatten", self.tensor.name)
            outputs = int(rng.integers(2, 7))
            turned = model.node("Transpose", self.weights((outputs, size)), perm=[1, 0])
            name, shape = model.node("MatMul", flat, turned), (outputs,)
        else:
            name, shape = self.conv()
        if rng.integers(4):
            name = self.batch_norm(name, shape[0])
        if rng.integers(2):
            operator, attributes = MONOTONE[rng.integers(len(MONOTONE)) * rng.integers(2)]
            name = model.node(operator, name, **attributes)
        scale = float(np.exp(rng.uniform(-3, 0))) if last else None
        self.tensor = self.quantize(name, shape, scale=scale)

    def pool(self) -> None:
        """A pool of 2×2, of which an average is truncated or quantized again."""
        rng, model, (channels, height, width) = self.rng, self.model, self.tensor.shape
        if min(height, width) < 2:
            return
        shape = (channels, height // 2, width // 2)
        if rng.integers(2):
            name = model.node("MaxPool", self.tensor.name, kernel_shape=[2, 2], strides=[2, 2])
            self.tensor = Tensor(name, shape, self.tensor.scale)
            return
        name = model.node("AveragePool", self.tensor.name, kernel_shape=[2, 2], strides=[2, 2])
        form, scale = int(rng.integers(3)), self.tensor.scale
        if form == 0:
            self.tensor = self.quantize(name, shape)
            return
        few, mode = self.number(int(rng.integers(5, 8))), str(rng.choice(MODES))
        if form == 1:
            name = model.node("Mul", name, self.number(4))
            name = model.node("Trunc", name, self.number(scale), self.number(0), self.number(10),
                              few, rounding_mode=mode)
        else:
            name = model.node("Trunc", name, self.number(scale / 4), self.number(0),
                              self.number(10), self.number(scale), few, rounding_mode=mode,
                              signed=int(rng.integers(2)), narrow=int(rng.integers(2)))
        self.tensor = Tensor(name, shape, scale)

    def residual(self) -> None:
        """A convolution of one channel each beside which its input goes on."""
        before = self.tensor
        channels = before.shape[0]
        name = self.model.node("Conv", before.name, self.weights((channels, 1, 1, 1)),
                               group=channels)
        branch = self.quantize(self.batch_norm(name, channels), before.shape)
        total = self.model.node("Add", before.name, branch.name)
        self.tensor = self.quantize(total, before.shape)

    def bytes(self) -> bytes:
        return self.model.bytes(self.tensor.name)


def random_model(rng: np.random.Generator) -> bytes:
    """A small convolutional network with everything that QONNX has."""
    shape = tuple(int(n) for n in rng.integers((1, 3, 3), (5, 9, 9)))
    grow = Grow(rng, shape, pixels=bool(rng.integers(2)))
    for _ in range(int(rng.integers(1, 4))):
        grow.layer()
        if rng.integers(2):
            grow.pool()
        if rng.integers(2):
            grow.residual()
    if rng.integers(2):
        grow.layer(last=True)
    return grow.bytes()


def flat(dims: tuple[int, ...], scale: float = 1, opset: int = 13) -> Model:
    """A model of one quantized vector, "t0_0", of 8 bits at ``scale``."""
    model = Model((1, *dims), FLOAT, opset)
    model.node("Quant", "x", *(model.constant(n, FLOAT) for n in (scale, 0, 8)), signed=1,
               narrow=0, rounding_mode="ROUND")
    return model


def shape_of(model: Model, *sizes: int) -> str:
    return model.constant(sizes, INT64)

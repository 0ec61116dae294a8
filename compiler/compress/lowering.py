"""A network trained through quantizers becomes the integer network that computes the same.

Whatever lies between a multiplication by weights and the next quantizer (batch norm, ReLU, the
scale of the weights) is a function of exact accumulators. Where it is monotone, it and the
quantizer together are integer thresholds. They are found by running these very modules at the
accumulators where they may switch, so ties fall as in PyTorch. So alpha of XNOR-Net takes no
hardware where a sign follows. Behind few accumulators, more levels than a few are a line instead,
or two of them, if there is one in fixed point that passes every level.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, singledispatchmethod
from typing import NamedTuple, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .. import ir
from ..ir import Integers, Network, PenjingError, TensorType
from ..load.stairs import Stairs
from .blocks import Repeat, Residual
from .quantizers import ApproximateSign, FixedPoint, RPReLU, RSign, Sign, quantizer_of
from .reals import applied, reals, stored
from .slopes import MOST_POINTS, Levels

__all__ = ["lower"]

_BY_CHANNEL = (nn.BatchNorm1d, nn.BatchNorm2d, RSign, RPReLU)
"""What may be another function for each channel."""
_FEW_BITS = 4
"""Levels of so many bits take less hardware by thresholds than by a multiplication."""


def lower(model: nn.Sequential, input: TensorType, name: str = "network") -> Network:  # noqa: A002
    """The integer network of ``model``, in eval mode, for integers of the type ``input``.

    The model takes ``input.step * q``, of (N, C, H, W) or (N, F). It is a sequence (or one of
    sequences) of convolutions and linear layers without bias, their weights with a quantizer; batch
    norms, ReLUs, `RPReLU`; `Sign`, `RSign` and `FixedPoint`; pools, constant padding, flatten,
    dropout; `Residual` and `Repeat`. The last layer with weights gives the output, integers worth
    one scale. `PenjingError` names a module that does not fit.
    """
    if model.training:
        raise PenjingError("model: it is in training mode; call model.eval() first")
    chain = _Chain(input)
    with torch.no_grad():
        chain.follow(model, "")
    return chain.network(name)


class _Branch(NamedTuple):
    """Where a branch begins or ends: a layer, the scale of its integers, and the shape that was
    flattened to it."""

    tail: str
    scale: NDArray[np.float64]
    flattened: tuple[int, int, int] | None


class _Chain:
    """The integer network so far, and what of the model waits for a quantizer.

    The tensor in PyTorch is ``functions`` of ``scale * q``, then ``pools`` of that; q are the
    integers of the layer ``tail``. ``scale`` is (1,) or one a channel. The functions fall in the
    channels ``falls``, unless they are not ``monotone``. If the integers are sums of signs,
    ``signs`` tells of how many.
    """

    def __init__(self, kind: TensorType) -> None:
        self.path = ""
        self._net = ir.Builder(kind)
        self._tail, self._scale = self._net.tail, np.array([kind.step])
        self._functions: list[nn.Module] = []
        self._falls, self._monotone = np.zeros(1, np.bool_), True
        self._signs = 0
        self._pools: list[Callable[[], None]] = []
        self._border: tuple[tuple[int, int, int, int], float] | None = None
        self._flattened: tuple[int, int, int] | None = None

    def follow(self, module: nn.Module, path: str) -> None:
        """Take ``module``, called ``path``; of a sequence its modules, one after the other."""
        if isinstance(module, nn.Sequential):
            for name, child in module.named_children():
                self.follow(child, f"{path}_{name}".lstrip("_"))
        else:
            self.path = path
            self.take(module)

    def network(self, name: str) -> Network:
        """The network, whose output nothing may wait for."""
        if self._functions or self._pools or self._border or self._flattened:
            self._refuse("nothing behind it takes what it gives", "end with a layer that has "
                         "weights, or a quantizer")
        if self._scale.size > 1:
            raise PenjingError("model: its outputs have a scale each; use weights with one scale "
                               "in the last layer")
        return self._net.network(name)

    def _refuse(self, reason: str, way_out: str) -> NoReturn:
        raise PenjingError(f"layer {self.path}: {reason}; {way_out}")

    @property
    def _type(self) -> TensorType:
        """The type of the layer ``tail``."""
        return self._net.types[self._tail]

    def _name(self) -> str:
        return self._net.unique(self.path)

    def _append(self, layer: ir.Layer) -> None:
        if self._border is not None:
            self._refuse("a padding comes before it", "pad in front of a convolution")
        self._tail, self._signs = self._net.add(layer), 0

    def _multiply(self, layer: ir.MultiplyAccumulate, scale: NDArray[np.float64]) -> None:
        """Append ``layer``, whose weights are worth ``scale``."""
        signs = isinstance(self._type, ir.Bipolar) and layer.weights.bipolar and not (
            isinstance(layer, ir.SlidingLayer) and any(layer.padding) and layer.pad_value == 0)
        self._append(layer)
        self._scale = self._scale * scale
        self._signs = layer.weights.values[0].size if signs else 0

    def _require_quantized(self) -> None:
        if self._functions or self._pools:
            self._refuse("its input is not quantized", "put a Sign or a FixedPoint before it")
        if self._scale.size > 1:
            self._refuse("its input has a scale for each channel", "put a Sign or a FixedPoint "
                         "before it")

    # --- what the modules do
    @singledispatchmethod
    def take(self, module: nn.Module) -> None:
        """Let ``module`` continue the network."""
        self._refuse(f"{type(module).__name__} is not known here", "use the modules that "
                     "penjing.compiler.compress.lowering.lower lists")

    @take.register
    def _(self, module: nn.Identity | nn.Dropout | nn.Dropout2d) -> None:
        pass

    @take.register
    def _(self, module: Residual) -> None:
        path, start = self.path, self._branch()
        self.follow(module.body, path)
        self.path = path
        body = self._branch()
        self._tail, self._scale, self._flattened = start
        self.follow(module.shortcut, f"{path}_shortcut")
        self.path = path
        shortcut = self._branch()
        if body.scale != shortcut.scale or body.flattened != shortcut.flattened:
            self._refuse(f"one step is {body.scale[0]:g} in its body and {shortcut.scale[0]:g} in "
                         "its shortcut, or one is flattened", "end both in a FixedPoint of one "
                         "fraction length")
        self._append(ir.Add(self._name(), body.tail, shortcut.tail))

    def _branch(self) -> _Branch:
        """What a branch begins with or ends in; nothing may wait for a quantizer there."""
        self._require_quantized()
        if self._border is not None:
            self._refuse("a padding comes before it", "pad in front of a convolution")
        return _Branch(self._tail, self._scale, self._flattened)

    @take.register
    def _(self, module: Repeat) -> None:
        self._require_quantized()
        if self._flattened is not None:
            self._refuse("it comes behind a Flatten", "put it before")
        self._append(ir.Repeat(self._name(), self._tail, module.times))

    @take.register
    def _(self, module: nn.ConstantPad2d) -> None:
        if self._border is not None:
            self._refuse("a padding comes before it", "join the two")
        left, right, top, bottom = module.padding
        self._border = (top, bottom, left, right), float(module.value)

    @take.register
    def _(self, module: nn.Conv2d) -> None:
        self._require_quantized()
        if module.padding_mode != "zeros" or isinstance(module.padding, str) or (
                module.dilation != (1, 1)):
            self._refuse("its padding is no number, or it is dilated", "use numbers, and no "
                         "dilation")
        values, scale = self._weights(module)
        kernel = np.ascontiguousarray(values.transpose(0, 2, 3, 1))
        border, pad_value = self._padding(module.padding)
        stride = (module.stride[0], module.stride[1])
        bias = np.zeros(len(kernel), np.int64)
        if 1 < module.groups == self._type.shape[2]:
            self._multiply(ir.Depthwise(self._name(), self._tail, stored(kernel[..., 0], scale),
                                        bias, stride, border, pad_value), scale)
        else:
            self._multiply(ir.Convolution(self._name(), self._tail, stored(kernel, scale), bias,
                                          stride, border, pad_value, module.groups), scale)

    def _padding(self, own: tuple[int, ...]) -> tuple[tuple[int, int, int, int], int]:
        """The padding before and in a convolution, and the integer that it is made of."""
        border, value = self._border or ((0, 0, 0, 0), 0.0)
        self._border = None
        if any(own):
            if any(border):
                self._refuse("it pads what is padded already", "pad once")
            border, value = (own[0], own[0], own[1], own[1]), 0.0
        steps = value / float(self._scale[0]) + self._type.zero_point
        if not steps.is_integer():
            self._refuse(f"its padding of {value:g} is no integer of its input", "pad with a value "
                         "that the quantizer before it puts out")
        return border, int(steps)

    @take.register
    def _(self, module: nn.Linear) -> None:
        self._require_quantized()
        values, scale = self._weights(module)
        if self._type.shape[:2] != (1, 1):
            self._refuse("its input is a map", "put a Flatten before it")
        if self._flattened is not None:  # PyTorch's order is that of (C, H, W)
            height, width, channels = self._flattened
            ordered = values.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
            values, self._flattened = ordered.reshape(len(values), -1), None
        self._multiply(ir.Dense(self._name(), self._tail, stored(values, scale),
                                np.zeros(len(values), np.int64)), scale)

    def _weights(self, module: nn.Conv2d | nn.Linear) -> tuple[Integers, NDArray[np.float64]]:
        found = quantizer_of(module)
        if found is None:
            self._refuse("its weights are floats", "put a quantizer before them with "
                         "quantize_weights")
        if module.bias is not None:
            self._refuse("it has a bias", "leave that to the batch norm: bias=False")
        if self._type.zero_point:
            self._refuse("its input has a zero point", "give the model's input zero point 0")
        quantizer, latent = found
        values, scale = quantizer.integers(latent.detach())
        return values.numpy(), scale.numpy()

    @take.register
    def _(self, module: nn.Flatten) -> None:
        self._require_quantized()
        if self._type.shape[:2] != (1, 1):
            self._flattened = self._type.shape
            self._append(ir.Flatten(self._name(), self._tail))

    @take.register
    def _(self, module: nn.MaxPool2d) -> None:
        sizes = [(value, value) if isinstance(value, int) else (value[0], value[1])
                 for value in (module.kernel_size, module.stride, module.padding)]
        if module.ceil_mode or module.dilation not in (1, (1, 1)) or module.return_indices:
            self._refuse("it is dilated, of ceil_mode or returns indices", "leave that away")
        kernel, stride, (rows, columns) = sizes
        pool = partial(self._pool, self._name(), kernel, stride, (rows, rows, columns, columns))
        # A maximum of values before a quantizer is that of the integers behind it, which are fewer.
        if self._functions:
            self._pools.append(pool)
        else:
            pool()

    @take.register
    def _(self, module: nn.AvgPool2d) -> None:
        kernel, stride, (rows, columns) = (
            (value, value) if isinstance(value, int) else (value[0], value[1])
            for value in (module.kernel_size, module.stride, module.padding))
        if module.ceil_mode or module.divisor_override or (
                not module.count_include_pad and rows + columns):
            self._refuse("it divides by another number than that of its window's elements",
                         "leave that away")
        self._mean(kernel, stride, (rows, rows, columns, columns))

    @take.register
    def _(self, module: nn.AdaptiveAvgPool2d) -> None:
        if module.output_size not in (1, (1, 1)):
            self._refuse("it puts out more than one position", "use AvgPool2d")
        height, width, _ = self._type.shape
        self._mean((height, width), (1, 1), (0, 0, 0, 0))

    def _mean(self, kernel: tuple[int, int], stride: tuple[int, int],
              padding: tuple[int, int, int, int]) -> None:
        """Append the sums; what a mean has below their units is left to the next quantizer."""
        self._require_quantized()
        self._append(ir.SumPool(self._name(), self._tail, kernel, stride, padding))
        self._scale = self._scale / (kernel[0] * kernel[1])
        self._functions.append(nn.Identity())

    def _pool(self, name: str, kernel: tuple[int, int], stride: tuple[int, int],
              padding: tuple[int, int, int, int]) -> None:
        self._append(ir.MaxPool(name, self._tail, kernel, stride, padding))

    @take.register
    def _(self, module: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        if module.num_features != self._type.shape[2] or module.running_mean is None:
            self._refuse(f"it has {module.num_features} channels or no statistics, its input has "
                         f"{self._type.shape[2]} channels", "train with running statistics")
        if self._flattened is not None:
            self._refuse("it comes behind a Flatten", "put it before")
        falls = (np.zeros(1, np.bool_) if module.weight is None
                 else module.weight.detach().numpy() < 0)
        if self._pools and falls.any():
            self._refuse("it falls in some channels, behind a max pool", "put it before the pool")
        self._functions.append(module)
        self._falls = self._falls ^ falls

    @take.register
    def _(self, module: RPReLU) -> None:
        if module.slope.numel() != self._type.shape[2] or self._flattened is not None:
            self._refuse(f"it has {module.slope.numel()} channels, its input has "
                         f"{self._type.shape[2]}, or it comes behind a Flatten", "mend that")
        if (module.slope < 0).any():
            if self._pools:
                self._refuse("it falls in some channels, behind a max pool", "put it before the "
                             "pool")
            self._monotone = False
        self._functions.append(module)

    @take.register
    def _(self, module: nn.ReLU | nn.ReLU6 | nn.Hardtanh) -> None:
        self._functions.append(module)

    @take.register
    def _(self, module: Sign | ApproximateSign | RSign) -> None:
        self._quantize(module, 1, 2, 0)

    @take.register
    def _(self, module: FixedPoint) -> None:
        signs = module.bits == 1 and module.signed
        self._quantize(module, module.high, 2 if signs else 1, module.fraction)

    def _quantize(self, module: nn.Module, high: int, step: int, fraction: int) -> None:
        """Append the layer that ``module`` and all that waits for it are."""
        functions = (*self._functions, module)
        alike = self._scale.size == 1 and not any(isinstance(one, _BY_CHANNEL) for one in functions)
        rows = 1 if alike else self._type.shape[2]

        def levels(q: Integers) -> NDArray[np.float32]:
            x = reals(q, self._scale, rows)
            for function in functions:
                x = applied(function, x)
            result: NDArray[np.float32] = (x * 2.0 ** fraction).numpy().T
            return result

        name = self._name()
        layer = (self._line(name, module, levels, rows) if isinstance(module, FixedPoint)
                 else None)
        if layer is None:
            layer = self._stairs(name, levels, rows, high, step, fraction)
        self._append(layer)
        self._scale = np.array([2.0 ** -fraction])
        self._falls, self._monotone, self._functions = np.zeros(1, np.bool_), True, []
        for pool in self._pools:
            pool()
        self._pools = []

    def _line(self, name: str, module: FixedPoint,
              levels: Callable[[Integers], NDArray[np.float32]], rows: int) -> ir.Layer | None:
        """``module`` and all that waits for it as one line or two, if that is possible and wanted.
        """
        points = self._points()
        if (module.bits <= _FEW_BITS and self._monotone) or len(points) > MOST_POINTS:
            return None
        values = levels(points[None])
        if not np.isfinite(values).all():
            return None
        x = reals(points[None], self._scale, rows)
        upper = torch.ones(x.shape, dtype=torch.bool)
        for function in self._functions:
            if isinstance(function, RPReLU):
                upper = function.is_above(x)
            x = applied(function, x)
        return Levels(points, values.astype(np.int64), upper.numpy().T, module.low, module.high
                      ).layer(name, self._tail, TensorType(
                          (1, 1, 1), module.bits, module.low < 0, module.fraction))

    def _points(self) -> Integers:
        """All values that the integers may have; sums of K signs are as odd as K is."""
        if self._signs:
            return np.arange(-self._signs, self._signs + 1, 2)
        return np.arange(self._type.low, self._type.high + 1)

    def _stairs(self, name: str, levels: Callable[[Integers], NDArray[np.float32]], rows: int,
                high: int, step: int, fraction: int) -> ir.Layer:
        """The thresholds that a quantizer and all that waits for it are."""
        if not self._monotone:
            self._refuse("what it quantizes rises and falls, and is no two lines of "
                         f"{ir.SLOPE_BITS} bits", "quantize it to fewer bits, or keep the slopes "
                         "before it from being negative")
        stairs = Stairs(levels, (self._type.low, self._type.high),
                        np.broadcast_to(self._falls, rows), high, step)
        reach = stairs.reach()
        if reach is None:
            self._refuse("what it quantizes may be no number", "train the model again")
        return stairs.layer(name, self._tail, *reach, fraction=fraction)

"""Which calls of a program are modules of PyTorch, and what module each is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ..load.aten.graph import Arguments
from ..load.pt2 import Reference, Value, Weight

__all__ = ["MAKERS", "ChannelPadding", "Dims", "Parameters", "tensor"]

Dims: TypeAlias = tuple[int, ...]
"""Sizes of a tensor without the batch."""

_MOMENTUM = 0.1
"""That of PyTorch's batch norms."""


class ChannelPadding(nn.Module):
    """``before`` and ``after`` channels of zeros around ``channels`` ones.

    ``places`` are the zeros around a map, as `torch.nn.functional.pad` has them.
    """

    def __init__(self, before: int, channels: int, after: int, places: Dims) -> None:
        super().__init__()
        self.before, self.channels, self.after, self.places = before, channels, after, places

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) to (N, before + C + after, ...)."""
        return nn.functional.pad(x, (*self.places, self.before, self.after))

    def extra_repr(self) -> str:
        """What the module is called with."""
        return f"{self.before}, {self.channels}, {self.after}, {self.places}"


def tensor(weight: Weight) -> Tensor:
    """The values of ``weight``."""
    return torch.from_numpy(np.array(weight.values, np.float32))


class Parameters:
    """The ``weights`` of a program, by name; what reads one twice gets one parameter."""

    def __init__(self, weights: Mapping[str, Weight]) -> None:
        self._weights = weights
        self._made: dict[str, nn.Parameter] = {}

    def given(self, value: Value) -> nn.Parameter | None:
        """The parameter that is an argument; None where it is left out."""
        if not isinstance(value, Reference):
            return None
        if value.name not in self._made:
            self._made[value.name] = nn.Parameter(self.values(value))
        return self._made[value.name]

    def needed(self, value: Value) -> nn.Parameter:
        """The parameter that is an argument, which cannot be left out."""
        found = self.given(value)
        assert found is not None, "the reader accepts no other"
        return found

    def values(self, value: Value) -> Tensor:
        """The values of a parameter that is an argument."""
        assert isinstance(value, Reference)
        return tensor(self._weights[value.name])


def _convolution(parameters: Parameters, arguments: Arguments, dims: Dims, turned: bool = False
                 ) -> nn.Module:
    weight, bias = parameters.needed(arguments.get("weight")), parameters.given(
        arguments.get("bias"))
    axes, groups = weight.ndim - 2, arguments.integer("groups", 1)

    def each(name: str, default: int) -> tuple[int, ...]:
        values = arguments.integers(name, (default,))
        return values * axes if len(values) == 1 else values

    padding = arguments.get("padding", 0)
    settings = {"stride": each("stride", 1), "dilation": each("dilation", 1), "groups": groups,
                "padding": padding if isinstance(padding, str) else each("padding", 0),
                "bias": bias is not None, "device": "meta"}
    first, second = weight.shape[:2]
    if turned or arguments.flag("transposed", False):
        made = _TRANSPOSED[axes](first, second * groups, weight.shape[2:], **settings,
                                 output_padding=each("output_padding", 0))
    else:
        made = _CONVOLUTIONS[axes](second * groups, first, weight.shape[2:], **settings)
    return _with(made, weight, bias)


_CONVOLUTIONS: Mapping[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d}
_TRANSPOSED: Mapping[int, Callable[..., nn.Module]] = {
    1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
"""By the number of axes of a kernel."""


def _transposed(parameters: Parameters, arguments: Arguments, dims: Dims) -> nn.Module:
    return _convolution(parameters, arguments, dims, True)


def _linear(parameters: Parameters, arguments: Arguments, dims: Dims) -> nn.Module:
    weight, bias = parameters.needed(arguments.get("weight")), parameters.given(
        arguments.get("bias"))
    outputs, inputs = weight.shape
    return _with(nn.Linear(inputs, outputs, bias is not None, "meta"), weight, bias)


def _batch_norm(parameters: Parameters, arguments: Arguments, dims: Dims) -> nn.Module:
    mean, variance = (parameters.values(arguments.get(f"running_{name}"))
                      for name in ("mean", "var"))
    weight, bias = (parameters.given(arguments.get(name)) for name in ("weight", "bias"))
    affine = weight is not None or bias is not None
    kind = nn.BatchNorm2d if len(dims) == 3 else nn.BatchNorm1d
    # A momentum of None, a running mean of all batches, is exported as 0. With 0 the statistics
    # would never follow the weights that are trained; so it is PyTorch's default then.
    momentum = arguments.number("momentum", _MOMENTUM) or _MOMENTUM
    made = kind(len(mean), arguments.number("eps", 1e-5) or 0.0, momentum, affine)
    made.running_mean, made.running_var = mean, variance
    return _with(made, weight if weight is not None else made.weight,
                 bias if bias is not None else made.bias)


def _prelu(parameters: Parameters, arguments: Arguments, dims: Dims) -> nn.Module:
    weight = parameters.needed(arguments.get("weight"))
    return _with(nn.PReLU(weight.numel(), device="meta"), weight, None)


def _with(module: nn.Module, weight: nn.Parameter, bias: nn.Parameter | None) -> nn.Module:
    module.weight = weight
    if bias is not None:
        module.bias = bias
    return module


def _dropout(parameters: Parameters, arguments: Arguments, dims: Dims) -> nn.Module:
    return nn.Dropout(arguments.number("p", 0.5) or 0.0)


def _channel_dropout(parameters: Parameters, arguments: Arguments, dims: Dims) -> nn.Module:
    kind = nn.Dropout1d if len(dims) == 2 else nn.Dropout2d
    return kind(arguments.number("p", 0.5) or 0.0)


def _alpha_dropout(parameters: Parameters, arguments: Arguments, dims: Dims) -> nn.Module:
    return nn.AlphaDropout(arguments.number("p", 0.5) or 0.0)


def _padding(parameters: Parameters, arguments: Arguments, dims: Dims) -> nn.Module | None:
    """None where no channels are added, which is a function like others."""
    around, places = arguments.integers("pad"), 2 * (len(dims) - 1)
    before, after = (*around[places:], 0, 0)[:2]
    return ChannelPadding(before, dims[0], after, around[:places]) if before or after else None


MAKERS: Mapping[str, Callable[[Parameters, Arguments, Dims], nn.Module | None]] = {
    f"aten.{name}": maker for maker, names in (
        (_convolution, ("conv1d.default", "conv1d.padding", "conv2d.default", "conv2d.padding",
                        "convolution.default")),
        (_transposed, ("conv_transpose1d.default", "conv_transpose2d.input")),
        (_linear, ("linear.default",)), (_batch_norm, ("batch_norm.default",)),
        (_prelu, ("prelu.default",)),
        (_dropout, ("dropout.default", "dropout_.default")),
        (_channel_dropout, ("feature_dropout.default",)),
        (_alpha_dropout, ("alpha_dropout.default",)),
        (_padding, ("pad.default", "constant_pad_nd.default"))) for name in names}
"""The modules by operator, of its parameters, its arguments and the sizes of its input."""

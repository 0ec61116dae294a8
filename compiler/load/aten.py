"""From the ATen graph of an exported program to a `FloatNetwork`: one function per operator.

The graph must be a chain. PyTorch's (N, C, H, W) becomes (N, H, W, C), so the first linear layer
after a flatten has its weights permuted. Zero padding moves into the layer that follows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..ir import PenjingError
from .chain import NO_PADDING, Arguments, Chain, Operator, label, refuse
from .floats import (
    FloatArgMax,
    FloatAveragePool,
    FloatConvolution,
    FloatDense,
    FloatFlatten,
    FloatMaxPool,
    FloatNetwork,
    FloatRelu,
    Floats,
    Padding,
    Pair,
)
from .pt2 import Node, Program, one_line, read

SUPPORTED = ("Conv2d, BatchNorm2d, BatchNorm1d, ReLU, ReLU6, Hardtanh(0, x), MaxPool2d, AvgPool2d, "
             "AdaptiveAvgPool2d, mean over height and width, ZeroPad2d, Linear, Flatten, Dropout, "
             "argmax at the end")

_EVAL = "call model.eval() before torch.export.export"


def load(path: str | Path) -> FloatNetwork:
    """The float network in the ``.pt2`` file ``path``; nothing in the file is executed."""
    return convert(read(path), str(path))


def convert(program: Program, origin: str) -> FloatNetwork:
    """The float network that ``program`` computes; ``origin`` names it in errors.

    `PenjingError` names the node or layer that has no exact equivalent.
    """
    try:
        return _convert(program)
    except PenjingError as error:
        raise PenjingError(f"{origin}: {one_line(error)}") from None


def _convert(program: Program) -> FloatNetwork:
    _refuse_training(program)
    chain = Chain(program, SKIPPED)
    for node in program.nodes:
        if node.target not in SKIPPED:
            hint = _HINTS.get(node.target.removeprefix("aten.").partition(".")[0], "replace it")
            chain.take(node, _OPERATORS.get(node.target),
                       f"not supported; {hint}. Supported are {SUPPORTED}")
    chain.finish()
    return FloatNetwork(chain.input_shape, tuple(chain.layers))


def _refuse_training(program: Program) -> None:
    """Say first what is wrong with a program in training mode; odd nodes only follow from it."""
    for node in program.nodes:
        for argument in node.arguments:
            if argument.name in ("training", "train") and argument.value is True:
                raise PenjingError(f"{label(node)}: exported in training mode; {_EVAL}")


def _convolution(chain: Chain, node: Node, arguments: Arguments) -> None:
    chain.require_map(node)
    for name, plain in (("groups", 1), ("dilation", 1), ("transposed", False)):
        values = arguments.get(name, plain)
        if any(value != plain for value in (values if isinstance(values, tuple) else (values,))):
            refuse(node, f"{name} = {values} is not supported yet; use {name} = {plain}")
    reference, weights = chain.weight(node, "weights", arguments.get("weight"))
    if weights.ndim != 4:
        refuse(node, f"only two-dimensional convolutions are supported, not weights of shape "
                      f"{weights.shape}; use Conv2d")
    bias = _bias(chain, node, arguments, len(weights))
    stride = arguments.pair("stride", (1, 1))
    padding = arguments.get("padding", 0)
    if isinstance(padding, str):
        own = _named_padding(node, padding, weights.shape[2:], stride)
    else:
        vertical, horizontal = arguments.pair("padding", (0, 0))
        own = (vertical, vertical, horizontal, horizontal)
    chain.add(FloatConvolution(chain.name(node, reference), weights.transpose(0, 2, 3, 1), bias,
                               stride, chain.take_padding(own)))
    chain.positive = False


def _named_padding(node: Node, padding: str, kernel: tuple[int, ...], stride: Pair) -> Padding:
    if padding == "valid":
        return NO_PADDING
    if padding != "same" or stride != (1, 1):
        refuse(node, f"padding {padding!r:.20} with stride {stride} has no meaning; give numbers")
    vertical, horizontal = kernel[0] - 1, kernel[1] - 1
    return (vertical // 2, vertical - vertical // 2, horizontal // 2, horizontal - horizontal // 2)


def _bias(chain: Chain, node: Node, arguments: Arguments, outputs: int) -> Floats:
    value = arguments.get("bias")
    return np.zeros(outputs) if value is None else chain.weight(node, "bias", value)[1]


def _linear(chain: Chain, node: Node, arguments: Arguments) -> None:
    if len(chain.dims) != 1:
        refuse(node, f"a linear layer takes (N, F), not (N, {', '.join(map(str, chain.dims))}); "
                      f"put a Flatten before it")
    chain.refuse_padding(node)
    reference, weights = chain.weight(node, "weights", arguments.get("weight"))
    if weights.ndim != 2 or weights.shape[1] != chain.dims[0]:
        refuse(node, f"its weights have shape {weights.shape}, its input {chain.dims[0]} features; "
                      f"export the model again")
    bias = _bias(chain, node, arguments, len(weights))
    if chain.order is not None:
        weights = weights.reshape(-1, *chain.order).transpose(0, 2, 3, 1).reshape(len(weights), -1)
        chain.order = None
    chain.add(FloatDense(chain.name(node, reference), weights, bias), (len(weights),))
    chain.positive = False


def _batch_norm(chain: Chain, node: Node, arguments: Arguments) -> None:
    last = chain.layers[-1] if chain.layers else None
    chain.refuse_padding(node)
    if not isinstance(last, FloatConvolution | FloatDense):
        refuse(node, "a batch norm must directly follow a convolution or a linear layer; move it "
                      "there, before activation and pooling")
    channels = len(last.bias)
    values = []
    for name, default in (("weight", 1.0), ("bias", 0.0), ("running_mean", None),
                          ("running_var", None)):
        value = arguments.get(name)
        if value is None and default is None:
            refuse(node, f"it has no {name}; use track_running_stats=True")
        values.append(np.full(channels, default) if value is None
                      else chain.weight(node, name, value)[1])
        if values[-1].shape != (channels,):
            refuse(node, f"its {name} has shape {values[-1].shape}, not ({channels},)")
    gamma, beta, mean, variance = values
    epsilon = arguments.number("eps", 1e-5) or 0.0
    if not (variance + epsilon > 0).all():
        refuse(node, "its running variance is not positive; train the model again")
    scale = gamma / np.sqrt(variance + epsilon)
    weights = last.weights * scale.reshape(-1, *(1,) * (last.weights.ndim - 1))
    chain.layers[-1] = replace(last, weights=weights, bias=(last.bias - mean) * scale + beta)


def _relu(chain: Chain, node: Node, maximum: float | None) -> None:
    # A ReLU keeps zeros, so a padding may wait across it.
    chain.layers.append(FloatRelu(chain.name(node), maximum))
    chain.positive = True


def _clamp(chain: Chain, node: Node, arguments: Arguments) -> None:
    minimum = arguments.number("min_val", arguments.number("min", -1.0))
    maximum = arguments.number("max_val", arguments.number("max", _CLAMP_MAXIMA[node.target]))
    if minimum != 0:
        refuse(node, f"its minimum is {minimum}; only 0 is supported (ReLU, ReLU6, "
                      f"Hardtanh(0, x))")
    if maximum is not None and not 0 < maximum < math.inf:
        refuse(node, f"its maximum is {maximum}; it must be positive and finite")
    _relu(chain, node, maximum)


_CLAMP_MAXIMA: Mapping[str, float | None] = {
    **dict.fromkeys(("aten.hardtanh.default", "aten.hardtanh_.default"), 1.0),
    **dict.fromkeys(("aten.clamp.default", "aten.clamp_.default", "aten.clamp_min.default",
                     "aten.clamp_min_.default"), None),
}


def _pool_window(node: Node, arguments: Arguments) -> tuple[Pair, Pair, Pair]:
    kernel = arguments.pair("kernel_size")
    stride = arguments.pair("stride", kernel)
    if min(*kernel, *stride) < 1:
        refuse(node, f"kernel {kernel} and stride {stride} must be positive")
    return kernel, stride, arguments.pair("padding", (0, 0))


def _ceil_padding(chain: Chain, kernel: Pair, stride: Pair, padding: Padding,
                  ceil: bool) -> Padding:
    """``padding`` with the rows and columns more that torch's ``ceil_mode`` reads past the end."""
    if not ceil:
        return padding
    result = list(padding)
    for axis in (0, 1):
        before, after = padding[2 * axis], padding[2 * axis + 1]
        size = chain.shape[axis]
        count = -(-(size + before + after - kernel[axis]) // stride[axis]) + 1
        if (count - 1) * stride[axis] >= size + before:
            count -= 1  # a window must start inside the map
        needed = (count - 1) * stride[axis] + kernel[axis] - size - before
        result[2 * axis + 1] = max(after, needed)
    return result[0], result[1], result[2], result[3]


def _max_pool(chain: Chain, node: Node, arguments: Arguments) -> None:
    chain.require_map(node)
    kernel, stride, (vertical, horizontal) = _pool_window(node, arguments)
    if arguments.pair("dilation", (1, 1)) != (1, 1):
        refuse(node, "a dilated max pool is not supported; use dilation = 1")
    if chain.padding != NO_PADDING and not chain.positive:
        refuse(node, "zeros padded before it may win against negative values; put a ReLU before "
                      "it or use the padding of MaxPool2d")
    # Where no value is negative a padded zero never wins, and ceil_mode sees the padded map.
    ceil = arguments.flag("ceil_mode", False)
    if ceil and chain.padding != NO_PADDING:
        refuse(node, "ceil_mode after a zero padding is not supported; pad more instead")
    own = _ceil_padding(chain, kernel, stride, (vertical, vertical, horizontal, horizontal), ceil)
    chain.add(FloatMaxPool(chain.name(node), kernel, stride, chain.take_padding(own)))


def _average_pool(chain: Chain, node: Node, arguments: Arguments) -> None:
    chain.require_map(node)
    kernel, stride, (vertical, horizontal) = _pool_window(node, arguments)
    own = (vertical, vertical, horizontal, horizontal)
    if own != NO_PADDING and not arguments.flag("count_include_pad", True):
        refuse(node, "count_include_pad = False with padding divides by another number at the "
                      "border; use count_include_pad = True or no padding")
    if arguments.number("divisor_override") not in (None, kernel[0] * kernel[1]):
        refuse(node, "divisor_override is not supported; scale the next layer's weights instead")
    padding = chain.take_padding(own)
    if _ceil_padding(chain, kernel, stride, padding, arguments.flag("ceil_mode", False)) != padding:
        refuse(node, "ceil_mode divides by another number at the border; pad the map so that the "
                      "windows fit")
    chain.add(FloatAveragePool(chain.name(node), kernel, stride, padding))


def _adaptive_pool(chain: Chain, node: Node, arguments: Arguments) -> None:
    chain.require_map(node)
    chain.refuse_padding(node)
    wanted = arguments.pair("output_size")
    if min(wanted) < 1 or chain.shape[0] % wanted[0] or chain.shape[1] % wanted[1]:
        refuse(node, f"a map of {chain.shape[:2]} has no equal windows for {wanted}; use an output "
                      f"size that divides it, such as 1")
    kernel = (chain.shape[0] // wanted[0], chain.shape[1] // wanted[1])
    chain.add(FloatAveragePool(chain.name(node), kernel, kernel))


def _mean(chain: Chain, node: Node, arguments: Arguments) -> None:
    chain.require_map(node)
    chain.refuse_padding(node)
    axes = {axis % 4 for axis in arguments.integers("dim", ())}
    if axes != {2, 3} or arguments.get("dtype") is not None:
        refuse(node, "only the mean over height and width, x.mean((2, 3)), is supported")
    height, width, channels = chain.shape
    dims = (channels, 1, 1) if arguments.flag("keepdim", False) else (channels,)
    chain.add(FloatAveragePool(chain.name(node), (height, width), (height, width)), dims)


def _pad(chain: Chain, node: Node, arguments: Arguments) -> None:
    chain.require_map(node)
    mode, value = arguments.get("mode", "constant"), arguments.number("value", 0.0) or 0.0
    if mode != "constant" or value != 0:
        refuse(node, f"padding with mode {mode!r:.20} and value {value} is not supported; pad "
                      f"with zeros")
    pads = arguments.integers("pad")
    if len(pads) not in (2, 4) or min(pads) < 0:
        refuse(node, f"its padding {pads} must be 2 or 4 numbers, none negative")
    left, right, top, bottom = pads + (0,) * (4 - len(pads))
    chain.padding = chain.take_padding((top, bottom, left, right))
    chain.dims = chain.padded()


def _reshape(chain: Chain, node: Node, arguments: Arguments) -> None:
    chain.refuse_padding(node)
    sizes = chain.program.sizes.get(node.outputs[0], ())[1:]
    dims = tuple(size for size in sizes if size is not None)
    elements = math.prod(chain.dims)
    if len(dims) != len(sizes) or math.prod(dims) != elements:
        refuse(node, f"it changes the batch: (N, {', '.join(map(str, chain.dims))}) cannot become "
                      f"(N, {', '.join(map(str, sizes))}); keep the first dimension")
    if [d for d in dims if d > 1] != [d for d in chain.dims if d > 1]:
        if len(dims) != 1:
            refuse(node, f"it turns {chain.dims} into {dims}; only flattening to (N, F) is "
                          f"supported")
        height, width, channels = chain.shape
        chain.order = (channels, height, width) if channels > 1 and height * width > 1 else None
        chain.add(FloatFlatten(chain.name(node)))
    elif len(dims) == 1 and chain.shape[:2] != (1, 1):
        chain.add(FloatFlatten(chain.name(node)))  # one channel or one row: the order is the same
    chain.dims = dims


def _identity(chain: Chain, node: Node, arguments: Arguments) -> None:
    pass


def _argmax(chain: Chain, node: Node, arguments: Arguments) -> None:
    chain.refuse_padding(node)
    axis = arguments.get("dim")
    vector = len(chain.dims) == 1 and chain.order is None
    if not (axis in (1, -1) if vector else axis == 1 and chain.is_map()):
        refuse(node, "only the argmax over the channels, x.argmax(1), is supported")
    rest = () if vector else chain.dims[1:]
    keep = arguments.flag("keepdim", False)
    chain.add(FloatArgMax(chain.name(node)), ((1,) if keep else ()) + rest)


RESHAPES = frozenset(f"aten.{name}" for name in (
    "view.default", "reshape.default", "flatten.using_ints", "squeeze.default", "squeeze.dim",
    "squeeze.dims", "unsqueeze.default"))
"""Operators that only change the shape."""
IDENTITIES = frozenset(f"aten.{name}" for name in (
    "dropout.default", "dropout_.default", "feature_dropout.default", "alpha_dropout.default",
    "contiguous.default", "clone.default", "detach.default", "detach_.default", "alias.default"))
"""Operators that put out their input."""
SKIPPED = frozenset(("aten.sym_size.int", "aten._assert_tensor_metadata.default",
                     "aten._assert_scalar.default"))
"""Nodes that compute no tensor."""

_OPERATORS: Mapping[str, Operator] = {
    **dict.fromkeys(("aten.conv2d.default", "aten.conv2d.padding", "aten.convolution.default"),
                    _convolution),
    "aten.linear.default": _linear,
    "aten.batch_norm.default": _batch_norm,
    **dict.fromkeys(("aten.relu.default", "aten.relu_.default"),
                    lambda chain, node, arguments: _relu(chain, node, None)),
    **dict.fromkeys(("aten.relu6.default", "aten.relu6_.default"),
                    lambda chain, node, arguments: _relu(chain, node, 6.0)),
    **dict.fromkeys(_CLAMP_MAXIMA, _clamp),
    "aten.max_pool2d.default": _max_pool,
    "aten.avg_pool2d.default": _average_pool,
    "aten.adaptive_avg_pool2d.default": _adaptive_pool,
    "aten.mean.dim": _mean,
    "aten.pad.default": _pad,
    "aten.constant_pad_nd.default": _pad,
    "aten.argmax.default": _argmax,
    **dict.fromkeys(RESHAPES, _reshape),
    **dict.fromkeys(IDENTITIES, _identity),
}

_DECOMPOSED = "save the program as torch.export.export returns it, without run_decompositions()"
_HINTS: Mapping[str, str] = {
    "softmax": "remove it: the class of the largest logit stays the same",
    "log_softmax": "remove it: the class of the largest logit stays the same",
    "add": "residual networks are not supported yet: use a chain of layers",
    "cat": "branching networks are not supported yet: use a chain of layers",
    "conv1d": "use Conv2d with a kernel of height 1",
    "add_": _EVAL,
    "max_pool2d_with_indices": _DECOMPOSED,
    "_native_batch_norm_legit_no_training": _DECOMPOSED,
    "addmm": _DECOMPOSED,
    "permute": _DECOMPOSED,
}

"""PyTorch programs: loading them, running them, and running integer networks with PyTorch.

A file is read by `pt2`, never by torch's own loader, which unpickles. Its operators run here only
after `aten` has accepted each of them.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from functools import singledispatch
from pathlib import Path

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.nn import functional

from .. import ir
from ..ir import Integers, PenjingError
from . import aten, pt2
from .floats import FloatNetwork, Floats

EXACT_BITS = 53
"""Integers below ``2**53`` are exact in float64."""

_BATCH_ELEMENTS = 1 << 26


def load(path: str | Path) -> FloatNetwork:
    """The float network in the ``.pt2`` file ``path``; nothing in the file is executed."""
    return aten.load(path)


def from_program(program: ExportedProgram) -> FloatNetwork:
    """The float network that an exported ``program`` computes."""
    return aten.convert(_parse(program), "program")


def from_module(module: torch.nn.Module, input_shape: tuple[int, ...]) -> FloatNetwork:
    """The float network that ``module``, in eval mode, computes on (H, W, C) or (F,) inputs."""
    if any(part.training for part in module.modules()):
        raise PenjingError("model: it is in training mode; call model.eval() first")
    if len(input_shape) not in (1, 3):
        raise PenjingError(f"model: the input shape must be (H, W, C) or (F,), not {input_shape}")
    example = torch.zeros(1, *(input_shape[i] for i in (2, 0, 1)[:len(input_shape)])
                          if len(input_shape) == 3 else input_shape)
    with _quiet():
        try:
            program = torch.export.export(module, (example,))
        except Exception as error:  # torch.export raises a wide family of exceptions
            raise PenjingError(f"model: torch.export cannot trace it ({pt2.one_line(error):.200}); "
                               f"mend the model until torch.export.export accepts it") from None
    return from_program(program)


def _parse(source: str | Path | ExportedProgram) -> pt2.Program:
    if not isinstance(source, ExportedProgram):
        return pt2.read(source)
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(source, buffer)
    return pt2.parse(buffer.getvalue(), "program")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's warnings and log lines off the user's terminal."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def run_float(source: str | Path | ExportedProgram, x: Floats, batch: int = 256) -> Floats:
    """The output of the program ``source`` for reals ``x`` (N, H, W, C) or (N, F), by PyTorch.

    The program's own operators run in float32, ``batch`` images at a time. The result is (N, F) or,
    for a map, (N, H, W, C).
    """
    program = _parse(source)
    origin = "program" if isinstance(source, ExportedProgram) else str(source)
    network = aten.convert(program, origin)
    height, width, channels = network.input_shape
    if x.ndim < 2 or x[:1].size != height * width * channels or (
            x.ndim == 4 and x.shape[1:] != (height, width, channels)):
        raise PenjingError(f"input: the program takes (N, H, W, C) with "
                           f"{(height, width, channels)}, not an array of shape {x.shape}")
    if not np.isfinite(x).all():
        raise PenjingError("input: it holds NaN or infinite values; remove them")
    dims = program.sizes[program.input][1:]
    images = torch.from_numpy(x.astype(np.float32)).reshape(len(x), height, width, channels)
    images = images.permute(0, 3, 1, 2).reshape(len(x), *dims)  # type: ignore[arg-type]
    with torch.no_grad(), _quiet():
        weights = {name: torch.from_numpy(weight.values.astype(np.float32))
                   for name, weight in program.weights.items()}
        # Padding may blow up a small input, so the maps bound the batch too.
        most = max(math.prod(shape) for shape in network.shapes.values())
        batch = max(1, min(batch, _BATCH_ELEMENTS // most))
        try:
            output = torch.cat([_run(program, weights, images[start:start + batch].contiguous())
                                for start in range(0, len(images), batch)])
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise PenjingError(f"{origin}: PyTorch cannot run it ({pt2.one_line(error):.200}); "
                               f"export the model again") from None
    return (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).numpy().astype(np.float64)


def _run(program: pt2.Program, weights: Mapping[str, torch.Tensor],
         x: torch.Tensor) -> torch.Tensor:
    """Interpret ``program``, which `aten` has accepted, for one batch of any size."""
    tensors = {**weights, program.input: x}
    for node in program.nodes:
        if node.target in aten.SKIPPED:
            continue
        values = {a.name: tensors[a.value.name] if isinstance(a.value, pt2.Reference) else a.value
                  for a in node.arguments}
        first = next(iter(values.values()))
        assert isinstance(first, torch.Tensor)
        if node.target in aten.IDENTITIES:
            result = first
        elif node.target in aten.RESHAPES:  # the recorded sizes but for the batch
            sizes = program.sizes[node.outputs[0]][1:]
            result = first.reshape(len(first), *sizes)  # type: ignore[arg-type]
        else:
            result = _operator(node)(
                *(values[a.name] for a in node.arguments if not a.keyword),
                **{a.name: values[a.name] for a in node.arguments if a.keyword})
        tensors[node.outputs[0]] = result
    return tensors[program.output]


def _operator(node: pt2.Node) -> torch._ops.OpOverload:
    _, name, overload = node.target.split(".")
    operator = getattr(getattr(torch.ops.aten, name), overload)
    assert isinstance(operator, torch._ops.OpOverload)
    return operator


def execute_integers(network: ir.Network, x: Integers, batch: int = 64) -> Integers:
    """The output of the integer ``network`` for ``x`` (N, H, W, C), by PyTorch in float64.

    An oracle that shares no code with the golden model. Exact, since every sum stays below
    ``2**53``; a layer whose sums might not is refused.
    """
    kind = network.input_type
    if x.dtype.kind not in "iu" or x.ndim != 4 or x.shape[1:] != kind.shape:
        raise PenjingError(f"input: the network takes integers (N, H, W, C) with {kind.shape}, not "
                           f"{x.dtype} of shape {x.shape}")
    if x.size and (x.min() < kind.low or x.max() > kind.high):
        raise PenjingError(f"input: values must lie within {kind.low} and {kind.high}")
    for layer in network.layers:
        _check_exact(network, layer)
    parts = []
    with torch.no_grad():
        for start in range(0, max(len(x), 1), batch):
            images = x[start:start + batch].astype(np.float64).transpose(0, 3, 1, 2)
            tensors = {network.input: torch.from_numpy(np.ascontiguousarray(images))}
            for layer in network.layers:
                tensors[layer.name] = _execute(
                    layer, *(tensors[name] for name in layer.inputs))
            parts.append(tensors[network.layers[-1].name].permute(0, 2, 3, 1))
    return torch.cat(parts).numpy().astype(np.int64)


def _check_exact(network: ir.Network, layer: ir.Layer) -> None:
    if not isinstance(layer, ir.MultiplyAccumulate):
        return
    source = network.source_type(layer)
    weights = np.abs(layer.weights.values).reshape(len(layer.bias), -1).sum(1)
    most = int((weights * max(-source.low, source.high) + np.abs(layer.bias)).max())
    if most >= 1 << EXACT_BITS:
        raise PenjingError(f"layer {layer.name}: its sums may reach {most.bit_length()} bits, more "
                           f"than PyTorch computes exactly; narrow the weights or activations")


def _tensor(values: Integers) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float64))


def _padded(x: torch.Tensor, padding: tuple[int, int, int, int], fill: float) -> torch.Tensor:
    top, bottom, left, right = padding
    return functional.pad(x, (left, right, top, bottom), value=fill)


@singledispatch
def _execute(layer: ir.Layer, *inputs: torch.Tensor) -> torch.Tensor:
    """``layer``'s output for integers (N, C, H, W) held in float64."""
    raise PenjingError(f"layer {layer.name}: PyTorch cannot run {layer.kind}")


@_execute.register
def _(layer: ir.Convolution, x: torch.Tensor) -> torch.Tensor:
    weights = _tensor(layer.weights.values.transpose(0, 3, 1, 2))
    return functional.conv2d(_padded(x, layer.padding, layer.pad_value), weights,
                             _tensor(layer.bias), layer.stride, groups=layer.groups)


@_execute.register
def _(layer: ir.Depthwise, x: torch.Tensor) -> torch.Tensor:
    return functional.conv2d(
        _padded(x, layer.padding, layer.pad_value), _tensor(layer.weights.values[:, None]),
        _tensor(layer.bias), layer.stride, groups=x.shape[1])


@_execute.register
def _(layer: ir.Add, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return x + other


@_execute.register
def _(layer: ir.Dense, x: torch.Tensor) -> torch.Tensor:
    result = functional.linear(x.flatten(1), _tensor(layer.weights.values), _tensor(layer.bias))
    return result[:, :, None, None]


@_execute.register
def _(layer: ir.MaxPool, x: torch.Tensor) -> torch.Tensor:
    return functional.max_pool2d(_padded(x, layer.padding, -torch.inf), layer.kernel, layer.stride)


@_execute.register
def _(layer: ir.AveragePool, x: torch.Tensor) -> torch.Tensor:
    total = functional.avg_pool2d(_padded(x, layer.padding, 0), layer.kernel, layer.stride,
                                  divisor_override=1).to(torch.int64) << layer.spare
    counted = _padded(torch.ones_like(x), layer.padding, int(layer.count_padding))
    count = functional.avg_pool2d(counted, layer.kernel, layer.stride,
                                  divisor_override=1).to(torch.int64)
    if layer.rounding is ir.Rounding.HALF_AWAY:
        rounded = torch.div(2 * total.abs() + count, 2 * count, rounding_mode="floor")
        return (total.sign() * rounded).to(torch.float64)
    return torch.div(2 * total + count, 2 * count, rounding_mode="floor").to(torch.float64)


@_execute.register
def _(layer: ir.ShiftRequantize, x: torch.Tensor) -> torch.Tensor:
    # Scaling by a power of two is exact; half a step is added only where there is one to lose.
    scaled = x * 2.0 ** -layer.shift
    return torch.clamp(torch.floor(scaled + 0.5) if layer.shift > 0 else scaled, *layer.bounds)


@_execute.register
def _(layer: ir.SlopeRequantize, x: torch.Tensor) -> torch.Tensor:
    below, above = (x * _tensor(layer.multipliers[:, side, None, None])
                    + _tensor(layer.offsets[:, side, None, None]) for side in (0, 1))
    exact = torch.where(x < _tensor(layer.breakpoints[:, None, None]), below, above)
    scaled = exact * 2.0 ** -layer.shift
    return torch.clamp(torch.floor(scaled + 0.5) if layer.shift else scaled, *layer.bounds)


@_execute.register
def _(layer: ir.Threshold, x: torch.Tensor) -> torch.Tensor:
    reached = x[..., None] >= _tensor(layer.thresholds)[:, None, None]
    falling = _tensor(layer.falling)[:, None, None, None] == 1
    count = (reached != falling).sum(-1).to(torch.float64)
    return layer.base + layer.step * count


@_execute.register
def _(layer: ir.Clamp, x: torch.Tensor) -> torch.Tensor:
    return torch.clamp(x, *layer.bounds)


@_execute.register
def _(layer: ir.Repeat, x: torch.Tensor) -> torch.Tensor:
    return x.repeat_interleave(layer.times, 1)


@_execute.register
def _(layer: ir.Rewiring, x: torch.Tensor) -> torch.Tensor:
    channels, height, width = x.shape[1:]
    raster = x.permute(0, 2, 3, 1).reshape(len(x), *layer.new_shape((height, width, channels)))
    return raster.permute(0, 3, 1, 2)


@_execute.register
def _(layer: ir.ArgMax, x: torch.Tensor) -> torch.Tensor:
    return x.argmax(1, keepdim=True).to(torch.float64)

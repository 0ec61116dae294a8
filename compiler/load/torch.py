"""PyTorch programs: loading them, and running them.

A file is read by `pt2`, never by torch's own loader, which unpickles. Its operators run here only
after `aten` or `pt2e` has accepted each of them.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from ..ir import PenjingError
from . import aten, pt2
from .aten.graph import references
from .floats import FloatArgMax, FloatNetwork, Floats
from .refusal import one_line

_BATCH_ELEMENTS = 1 << 26


def load(path: str | Path) -> FloatNetwork:
    """The float network in the ``.pt2`` file ``path``; nothing in the file is executed."""
    return aten.load(path)


def from_program(program: ExportedProgram) -> FloatNetwork:
    """The float network that an exported ``program`` computes."""
    return aten.convert(parse(program), "program")


def from_module(module: torch.nn.Module, input_shape: tuple[int, ...]) -> FloatNetwork:
    """The float network that ``module``, in eval mode, computes.

    Its inputs are (H, W, C), (L, C), of a network along one axis, or (F,).
    """
    return from_program(exported(module, input_shape))


def exported(module: torch.nn.Module, input_shape: tuple[int, ...]) -> ExportedProgram:
    """``module``, in eval mode, as a program that takes one input of a shape as `from_module` has.
    """
    if any(part.training for part in module.modules()):
        raise PenjingError("model: it is in training mode; call model.eval() first")
    if len(input_shape) not in (1, 2, 3):
        raise PenjingError(f"model: the input shape must be (H, W, C), (L, C) or (F,), not "
                           f"{input_shape}")
    return traced(module, torch.zeros(1, input_shape[-1], *input_shape[:-1]))


def traced(module: torch.nn.Module, example: torch.Tensor) -> ExportedProgram:
    """``module`` as a program that takes what ``example`` (N, ...) is like."""
    with _quiet():
        try:
            return torch.export.export(module, (example,))
        except Exception as error:  # torch.export raises a wide family of exceptions
            raise PenjingError(f"model: torch.export cannot trace it ({one_line(error):.200}); "
                               f"mend the model until torch.export.export accepts it") from None


def stored(program: ExportedProgram) -> bytes:
    """The content of a ``.pt2`` file that holds ``program``."""
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(program, buffer)
    return buffer.getvalue()


def parse(source: str | Path | ExportedProgram, result: str | None = None) -> pt2.Program:
    """The graph and weights of ``source``; of several outputs, the one called ``result``."""
    if isinstance(source, ExportedProgram):
        return pt2.parse(stored(source), "program", result)
    return pt2.read(source, result)


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


def run_float(source: str | Path | ExportedProgram, x: Floats, batch: int = 256,
              result: str | None = None) -> Floats:
    """The output of the program ``source`` for reals ``x`` (N, H, W, C) or (N, F), by PyTorch.

    The program's own operators run in float32, ``batch`` images at a time, those that are left to
    the host too. The result is (N, F), (N, L, C) or, for a map, (N, H, W, C).
    """
    program = parse(source, result)
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
    # Padding may blow up a small input, so the maps bound the batch too.
    most = max(math.prod(shape) for shape in network.shapes.values())
    batch = max(1, min(batch, _BATCH_ELEMENTS // most))
    output = np.concatenate([
        run_program(program, origin, images[start:start + batch].numpy(),
                    (program.output,))[program.output]
        for start in range(0, len(images), batch)])
    if output.ndim > 2:
        rows, columns, channels = network.shapes[network.output]
        is_line = output.ndim == 3 and not isinstance(network.layers[-1], FloatArgMax)
        if not network.channels_last:
            output = output.reshape(len(x), channels, rows, columns).transpose(0, 2, 3, 1)
        output = output.reshape(len(x), *(() if is_line else (rows,)), columns, channels)
    return output.astype(np.float64)


def run_program(program: pt2.Program, origin: str, x: NDArray[Any],
                names: Collection[str]) -> dict[str, NDArray[Any]]:
    """The tensors ``names`` of ``program``, which was accepted, for one batch ``x`` of any size.

    The program's own operators run, on floats in float32, as far as it takes.
    """
    # It defines the operators of quantized programs.
    import torch.ao.quantization.fx._decomposed

    weights = {name: torch.from_numpy(weight.values.astype(
        np.float32 if weight.values.dtype.kind == "f" else weight.values.dtype))
        for name, weight in program.weights.items()}
    with running(origin):
        tensors = _run(program, weights, torch.from_numpy(x).contiguous(), names)
    return {name: tensor.numpy() for name, tensor in tensors.items()}


@contextlib.contextmanager
def running(origin: str) -> Iterator[None]:
    """Let what PyTorch says of operators from the file ``origin`` be one line; no gradients."""
    with torch.no_grad(), _quiet():
        try:
            yield
        except PenjingError:
            raise
        except (RuntimeError, TypeError, ValueError, LookupError, AssertionError) as error:
            raise PenjingError(f"{origin}: PyTorch cannot run it ({one_line(error):.200}); "
                               f"export the model again") from None


def _run(program: pt2.Program, weights: Mapping[str, torch.Tensor], x: torch.Tensor,
         names: Collection[str]) -> dict[str, torch.Tensor]:
    """Interpret ``program`` until it has made the tensors ``names``."""
    tensors = {**weights, program.input: x}
    constants = set(weights)
    missing = set(names) - set(tensors)

    def value_of(value: pt2.Value) -> object:
        if isinstance(value, tuple):
            return [value_of(item) for item in value]
        if isinstance(value, pt2.ElementKind):
            return getattr(torch, value.name)
        return tensors[value.name] if isinstance(value, pt2.Reference) else value

    for node in program.nodes:
        if not missing:
            break
        if node.target in aten.SKIPPED:
            continue
        values = {a.name: value_of(a.value) for a in node.arguments}
        first = next(iter(values.values()))
        if all(one.name in constants for a in node.arguments for one in references(a.value)):
            constants.update(node.outputs)
        if node.target in aten.IDENTITIES:
            made: Any = first
        elif node.target in aten.RESHAPES and node.outputs[0] not in constants:
            # The recorded sizes but for the batch.
            assert isinstance(first, torch.Tensor)
            sizes = program.sizes[node.outputs[0]][1:]
            made = first.reshape(len(first), *sizes)  # type: ignore[arg-type]
        else:
            made = operator(node.target)(
                *(values[a.name] for a in node.arguments if not a.keyword),
                **{a.name: values[a.name] for a in node.arguments if a.keyword})
        outputs = (made,) if isinstance(made, torch.Tensor) else tuple(made)
        tensors.update(zip(node.outputs, outputs, strict=True))
        missing.difference_update(node.outputs)
    return {name: tensors[name] for name in names}


def operator(target: str) -> torch._ops.OpOverload:
    """PyTorch's operator ``target``, such as ``aten.conv2d.default``, which must be accepted."""
    namespace, name, overload = target.split(".")
    found = getattr(getattr(getattr(torch.ops, namespace), name), overload)
    assert isinstance(found, torch._ops.OpOverload)
    return found

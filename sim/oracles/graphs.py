"""Between the integers of a network and the tensors of the graph that it was read from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compiler.ir import Integers, PenjingError, Tail
from ...compiler.load.onnx import Import, Layout
from . import Answers


def feed(imported: Import, x: Integers) -> NDArray[Any]:
    """``x`` (N, H, W, C) as the graph's input: its axes in order, as float32 if it takes reals."""
    layout, source = imported.input, imported.network.input_type
    ordered = x.transpose(0, *(axis + 1 for axis in layout.order)).reshape(len(x), *layout.dims)
    if not imported.float_input:
        return ordered
    return np.float32(source.step) * (ordered - source.zero_point).astype(np.float32)


def answers(imported: Import, values: Mapping[str, NDArray[Any]]) -> Answers:
    """What the network would put out where the graph's tensors have the ``values``, by name."""
    outputs = _integers(imported.output, values[imported.result], imported.worth)
    final = None
    if imported.answer is not None:
        name, layout = imported.answer
        final = _maps(layout, values[name])
    inner = {layer: _integers(layout, values[name], worth)
             for layer, (name, layout, worth) in imported.inner.items()}
    return Answers(outputs, final, inner)


def _integers(layout: Layout, values: NDArray[Any], worth: Tail | None) -> Integers:
    """The integers (N, H, W, C) that ``values`` are, or stand for as ``worth`` says."""
    found = _maps(layout, values)
    if worth is not None:
        found = np.rint((found.astype(np.float64) - worth.offsets) / worth.scales)
    return found.astype(np.int64)


def _maps(layout: Layout, values: NDArray[Any]) -> NDArray[Any]:
    """``values`` of a tensor of the graph as (N, H, W, C)."""
    if values.size != len(values) * math.prod(layout.shape):
        raise PenjingError(f"its framework puts out {values.shape[1:]} an image, the network "
                           f"{layout.shape}; export the model again")
    back = [layout.order.index(axis) + 1 for axis in range(3)]
    return values.reshape(len(values), *layout.split).transpose(0, *back)

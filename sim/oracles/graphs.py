"""Between the integers of a network and the tensors of the graph that it was read from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compiler.ir import Integers, PenjingError
from ...compiler.load.onnx import Import


def feed(imported: Import, x: Integers) -> NDArray[Any]:
    """``x`` (N, H, W, C) as the graph's input: its axes in order, as float32 if it takes reals."""
    layout, source = imported.input, imported.network.input_type
    ordered = x.transpose(0, *(axis + 1 for axis in layout.order)).reshape(len(x), *layout.dims)
    if not imported.float_input:
        return ordered
    return np.float32(source.step) * (ordered - source.zero_point).astype(np.float32)


def integers(imported: Import, outputs: NDArray[Any]) -> Integers:
    """What the network puts out (N, H, W, C) where the graph's result is ``outputs``."""
    layout = imported.output
    if outputs.size != len(outputs) * math.prod(layout.shape):
        raise PenjingError(f"its framework puts out {outputs.shape[1:]} an image, the network "
                           f"{layout.shape}; export the model again")
    split = outputs.reshape(len(outputs), *layout.split)
    if imported.output_scale is not None:
        split = np.rint(split.astype(np.float64) / imported.output_scale) + imported.output_zero
    back = [layout.order.index(axis) + 1 for axis in range(3)]
    return split.transpose(0, *back).astype(np.int64)

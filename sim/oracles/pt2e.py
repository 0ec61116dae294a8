"""PyTorch as an oracle for programs that PT2E quantized: it runs the program's own operators.

They multiply and round floats; the integer network multiplies exactly, by a fixed-point number. A
layer may differ by `ALLOWED_STEPS`, where a float is not exact next to a half.
"""

from __future__ import annotations

from pathlib import Path

from ...compiler.ir import Integers
from ...compiler.load import torch as pytorch

ALLOWED_STEPS = 1
"""The largest difference of an output that the two roundings explain."""


def run(path: str | Path, x: Integers) -> Integers:
    """What PyTorch computes with the program ``path`` for the integers ``x`` (N, H, W, C).

    It gets the reals that they stand for. The result is (N, H, W, C), the integers that the integer
    network puts out: those before a last dequantization or softmax.
    """
    return pytorch.run_quantized(path, x)

"""PyTorch as an oracle for programs that PT2E quantized: it runs the program's own operators.

They multiply and round floats; the integer network multiplies exactly, by a fixed-point number. A
layer may differ by `ALLOWED_STEPS`, where a float is not exact next to a half.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...compiler.ir import Integers
from ...compiler.load import pt2, pt2e
from ...compiler.load import torch as pytorch
from . import Answers
from .graphs import answers, feed

ALLOWED_STEPS = 1
"""The largest difference of an output that the two roundings explain."""

_BATCH = 64
_BATCH_ELEMENTS = 1 << 26


def run(path: str | Path, x: Integers) -> Integers:
    """What PyTorch computes with the program ``path`` for the integers ``x`` (N, H, W, C).

    It gets the reals that they stand for. The result is (N, H, W, C), the integers that the integer
    network puts out, even where the program goes on with reals.
    """
    return np.concatenate([found.outputs for found in batches(path, x)])


def batches(path: str | Path, x: Integers, result: str | None = None) -> Iterator[Answers]:
    """The same and more, some images at a time: also what it computes at last, and in between.

    Of several outputs, that called ``result`` is computed.
    """
    program = pt2.read(path, result)
    imported = pt2e.convert(program, str(path), "net")
    # Some of the graph's tensors are none of the program's, which has it otherwise.
    made = {name for node in program.nodes for name in node.outputs}
    imported = replace(imported, inner={layer: found for layer, found in imported.inner.items()
                                        if found[0] in made})
    network, given = imported.network, feed(imported, x)
    # Padding may blow up a small input, so the maps bound the batch too.
    most = max(math.prod(network.type_of(layer.name).shape) for layer in network.layers)
    batch = max(1, min(_BATCH, _BATCH_ELEMENTS // most))
    for start in range(0, len(given), batch):
        yield answers(imported, pytorch.run_program(
            program, str(path), given[start:start + batch], tuple(imported.tensors)))

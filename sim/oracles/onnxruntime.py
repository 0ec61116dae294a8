"""ONNX Runtime as an oracle for networks that came from ``.onnx`` files.

ONNX multiplies and rounds floats; the integer network multiplies exactly, by a fixed-point number.
A layer may differ by `ALLOWED_STEPS`, and in accumulators not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ...compiler.ir import Integers, PenjingError
from ...compiler.load import onnx
from ...compiler.load.refusal import one_line
from . import Answers
from .graphs import answers, feed

ALLOWED_STEPS = 1
"""The largest difference of an output that the two roundings explain."""

_BATCH = 64


def run(path: str | Path, x: Integers) -> Integers:
    """What ONNX Runtime computes with the file ``path`` for the integers ``x`` (N, H, W, C).

    A model that takes reals gets ``scale * (x - zero_point)``. The result is (N, H, W, C), the
    integers that the integer network puts out, even where the model goes on with reals.
    """
    return np.concatenate([found.outputs for found in batches(path, x)])


def batches(path: str | Path, x: Integers, result: str | None = None) -> Iterator[Answers]:
    """The same and more, some images at a time: also what it computes at last, and in between.

    Of several outputs, that called ``result`` is computed.
    """
    imported, model = onnx.open_model(path, result)
    session = _session(path, model)
    given = _feed(imported, session.get_inputs()[0].type, x)
    for start in range(0, len(given), _BATCH):
        values = _run(path, session, given[start:start + _BATCH])
        yield answers(imported, dict(zip(imported.tensors, values, strict=True)))


def _session(path: str | Path, model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # As the file says: fused operators multiply uint8 by int8, which saturates on some processors.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        raise _refusal(path, error) from None


def _refusal(path: str | Path, error: Exception) -> PenjingError:
    return PenjingError(f"{path}: ONNX Runtime cannot run it ({one_line(error):.300}); export it "
                        f"again")


def _feed(imported: onnx.Import, kind: str, x: Integers) -> NDArray[Any]:
    """``x`` as the graph's input, which is of type ``kind``."""
    ordered = feed(imported, x)
    if not imported.float_input:
        return ordered.astype(kind.removeprefix("tensor(").removesuffix(")"))
    width = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(kind, np.float32)
    return ordered.astype(width)


def _run(path: str | Path, session: onnxruntime.InferenceSession,
         feed: NDArray[Any]) -> list[NDArray[Any]]:
    """The outputs for ``feed``, image by image where the model takes no batch."""
    entry = session.get_inputs()[0]
    try:
        if entry.shape[0] != 1:
            try:
                whole: list[NDArray[Any]] = session.run(None, {entry.name: feed})
                if all(values.ndim and len(values) == len(feed) for values in whole):
                    return whole
            except Exception:  # a Reshape to a batch of 1, say
                if len(feed) == 1:
                    raise
        single = [session.run(None, {entry.name: image[None]}) for image in feed]
        return [np.concatenate(values) for values in zip(*single, strict=True)]
    except Exception as error:
        raise _refusal(path, error) from None

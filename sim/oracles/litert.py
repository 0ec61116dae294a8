"""LiteRT's reference kernels as an oracle for networks that came from ``.tflite`` files.

It runs `OpResolverType.BUILTIN_REF`, not LiteRT's default kernels (XNNPACK), which round otherwise.
It shares no code with the golden model.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from ...compiler.ir import Integers, PenjingError, TailFunction
from ...compiler.load import tflite
from ...compiler.load.refusal import one_line

_LAST_TILE = 2
"""The last version of TILE by which the reference kernels can be called."""
_VERSION_FIELD = 8  # of OperatorCode, in its table of fields
_BETA_FIELD = 4  # of SoftmaxOptions
_LARGE_BETA = 1e30
"""A beta that makes a step of the least scale there is large enough."""


def run(path: str | Path, x: Integers, result: str | None = None
        ) -> tuple[Integers, NDArray[Any] | None]:
    """The logits and, where the host goes on, its answers for integers ``x`` (N, H, W, C).

    Both are (N, H, W, C) too. A file that takes reals gets those that stand for ``x``; of several
    outputs, that called ``result`` is told. There are no answers where a step of the logits is so
    small that LiteRT aborts at a SOFTMAX, or where that is of int16.
    """
    model = tflite.choose(tflite.read(path), result)
    ends, graph = tflite.ends(model), tflite.graph_of(model)
    tail = ends.ending.tail
    aborts = tail is not None and tail.function is TailFunction.INT8_SOFTMAX and (
        tail.scales[0] <= tflite.LEAST_SOFTMAX_STEP)
    # A softmax of int16 is told in another way than the host does it.
    alike = model.tensors[ends.ending.answer].kind != "INT16"
    wanted = [ends.ending.logits] + ([] if tail is None or aborts or not alike else
                                     [ends.ending.answer])
    try:
        interpreter = Interpreter(
            model_content=_content(path, aborts),
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True)  # not only the last one is looked at
        interpreter.allocate_tensors()
        entry = interpreter.get_input_details()[0]
        frames: NDArray[np.generic] = _ordered(x, graph.entry_order).reshape(
            len(x), *entry["shape"])
        if entry["dtype"] == np.float32:
            frames = np.float32(ends.scale) * (frames - ends.zero_point).astype(np.float32)
        results: list[list[NDArray[np.generic]]] = []
        for frame in frames.astype(entry["dtype"]):
            interpreter.set_tensor(entry["index"], frame)
            interpreter.invoke()
            results.append([interpreter.get_tensor(index).copy() for index in wanted])
    except (ValueError, RuntimeError) as error:
        raise PenjingError(f"{path}: LiteRT cannot run it ({one_line(error):.200}); convert the "
                           f"network again") from None
    end = graph.values[ends.ending.logits]
    logits, *answers = (_maps(np.stack(values)) for values in zip(*results, strict=True))
    if end.order is not None:
        back = np.argsort(end.order)
        logits, *answers = (_ordered(values, back).reshape(len(x), *end.shape)
                            for values in (logits, *answers))
    return logits.astype(np.int64), answers[0] if answers else None


def _content(path: str | Path, any_beta: bool) -> bytes:
    """The file's bytes, in which each TILE is of a version that the reference kernels know.

    The third is the same kernel, of more types; only its number is not registered. With `any_beta`,
    what a SOFTMAX makes does not matter: its beta becomes one with which LiteRT computes it.
    """
    data = bytearray(Path(path).read_bytes())
    model = schema.Model.GetRootAs(data, 0)
    for n in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(n)
        if code.BuiltinCode() == schema.BuiltinOperator.TILE and code.Version() > _LAST_TILE:
            _put(data, "<i", code._tab, _VERSION_FIELD, _LAST_TILE)
    graph = model.Subgraphs(0)
    for n in range(graph.OperatorsLength()):
        operator = graph.Operators(n)
        if any_beta and operator.BuiltinOptionsType() == schema.BuiltinOptions.SoftmaxOptions:
            _put(data, "<f", operator.BuiltinOptions(), _BETA_FIELD, _LARGE_BETA)
    return bytes(data)


def _put(data: bytearray, kind: str, table: Any, field: int, value: float) -> None:
    """Write ``value`` where a ``table`` of the flatbuffer has that ``field``."""
    struct.pack_into(kind, data, table.Pos + table.Offset(field), value)


def _ordered(x: NDArray[Any], order: Integers | None) -> NDArray[Any]:
    """The elements of each image of ``x``, taken in that ``order``."""
    return x if order is None else x.reshape(len(x), -1)[:, order]


def _maps(values: NDArray[Any]) -> NDArray[Any]:
    """(N, 1, …) of one to three more dimensions as (N, H, W, C)."""
    sizes = values.shape[2:]
    return values.reshape(len(values), *[1] * (3 - len(sizes)), *sizes)

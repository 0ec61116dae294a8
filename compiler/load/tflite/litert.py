"""LiteRT's reference kernels, as an oracle that shares no code with this project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from ...ir import Integers, PenjingError


def run(path: str | Path, x: Integers, tensor: int | None = None) -> Integers:
    """What the file ``path`` computes for each frame of integers ``x``, or its ``tensor``.

    Not LiteRT's default kernels (XNNPACK), which round otherwise.
    """
    try:
        interpreter = Interpreter(
            str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=tensor is not None)
        interpreter.allocate_tensors()
        entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        index = end["index"] if tensor is None else tensor
        outputs = []
        for frame in x:
            values = frame.reshape(entry["shape"]).astype(entry["dtype"])
            interpreter.set_tensor(entry["index"], values)
            interpreter.invoke()
            outputs.append(interpreter.get_tensor(index).copy())
    except (ValueError, RuntimeError) as error:
        raise PenjingError(f"{path}: LiteRT cannot run it ({error!s:.200}); convert the network "
                           f"again") from None
    return np.stack(outputs).astype(np.int64)

"""Between integers and the floats by which PyTorch computes the same."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import ir
from ..ir import Integers, Weights


def reals(q: Integers, scale: NDArray[np.float64], rows: int) -> Tensor:
    """What integers (rows, n), or (1, n), stand for: (n, rows).

    One of them is worth ``scale``, (rows,) or (1,).
    """
    worth = np.broadcast_to(scale, rows)[:, None]
    values = (np.broadcast_to(q, (rows, q.shape[1])) * worth).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(values.T))


def applied(module: nn.Module, x: Tensor) -> Tensor:
    """What ``module`` makes of ``x`` (n, channels), even if it is one that takes maps."""
    if isinstance(module, nn.BatchNorm2d):
        result: Tensor = module(x[:, :, None, None])
        return result[:, :, 0, 0]
    return module(x)


def stored(values: Integers, scale: NDArray[np.float64]) -> Weights:
    """``values`` in as few bits as hold them, worth ``scale`` if that is one power of two."""
    mantissa, exponent = np.frexp(scale)
    single = scale.size == 1 and mantissa[0] == 0.5 and abs(exponent[0]) < ir.MAX_FRACTION
    return Weights.narrowest(values, 1 - int(exponent[0]) if single else 0)
